//! What must hold, in words that stay the same from run to run.

pub const INVARIANTS: &str = "the state is sound (invariants 1 and 4)";
pub const ONE_PUBLISHER: &str = "at most one publisher of a show (invariant 1)";
pub const PUBLISHER: &str = "who publishes is the show's VM of its epoch (invariant 1)";
pub const ACKNOWLEDGED: &str = "what was acknowledged is in the journal (invariant 2)";
pub const ON_AIR: &str = "a VM on air is not stopped by the pool (invariant 4)";
pub const UNKNOWN: &str = "nothing unknown is touched (invariant 5)";
pub const KEPT: &str = "a recording leaves its VM only for the archive";
pub const REPLAY: &str = "the journal replayed is the state in memory (invariant 8)";
pub const LIVENESS: &str = "every show that could be on air is, and nothing waits for ever (invariant 7)";

pub const PROGRESS: &str = "time goes on (invariant 7)";
