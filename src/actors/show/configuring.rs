//! What a show's studio is made from: taken into the ledger, and made on its VM.
//!
//! Making it is what restoring a capture is: a show that was configured has a studio that is not its own yet, and the
//! same step that mends one after a move makes it, before the show can go on air and again if it is interrupted.

use std::sync::Arc;

use super::{Message, State};
use crate::actors::coordinator::{Apply, CommandError};
use crate::actors::mailbox::ActorRef;
use crate::domain::configuration::Configuration;
use crate::domain::show::{Event as Fact, Phase};

/// A configuration that is known to fit its template.
#[derive(Clone)]
pub(in crate::actors) struct SetUp {
    pub configuration: Configuration,
    /// Nothing was said of the stream key: the one that the show has stays.
    pub keep_key: bool,
    pub apply: Apply,
}

impl State {
    pub(super) async fn set_up(&mut self, me: &ActorRef<Message>, ask: SetUp) -> Result<(), CommandError> {
        let show = self.show();
        let make = match (ask.apply, &show.phase) {
            (_, Phase::Idle) | (Apply::Later, _) => false,
            (Apply::OffAir | Apply::Now, Phase::OffAir) | (Apply::Now, Phase::OnAir) => true,
            (Apply::OffAir, Phase::OnAir) => {
                return Err(self.not_now(
                    "say `\"apply\": \"now\"` to change it on air, or `\"later\"` for its next VM",
                ));
            }
            (Apply::OffAir | Apply::Now, Phase::FailingOver(_) | Phase::Releasing { .. }) => {
                return Err(self.not_now("try again when that has ended"));
            }
        };
        let mut configuration = ask.configuration;
        if ask.keep_key {
            let known = show.configuration.as_ref();
            configuration.stream_key = known.and_then(|known| known.stream_key.clone());
        }
        let known = show.configuration.as_deref() == Some(&configuration);
        if known && ask.apply != Apply::Now && (!make || show.made.is_some()) {
            // As it is already: what a producer changed since is not undone by saying it again.
            return Ok(());
        }
        let configuration = Arc::new(configuration);
        let show = self.commit(vec![Fact::SetUp { configuration, make }]).await?;
        let here = matches!(show.phase, Phase::OffAir | Phase::OnAir);
        if here && show.unrestored && show.studio.is_none() {
            // It is still to be made, whatever it was asked for. What is being read or made now is of what was.
            self.capturing = None;
            self.mending = None;
            self.mend_studio(me, &show);
        } else if show.phase == Phase::Idle {
            self.linger(me);
        }
        Ok(())
    }

    fn not_now(&self, advice: &'static str) -> CommandError {
        CommandError::WrongPhase {
            show: self.id.clone(),
            phase: self.show().phase.as_str(),
            advice,
        }
    }
}
