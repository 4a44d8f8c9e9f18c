//! What each target does with its input, and what must hold whatever that is.
//!
//! Nothing here knows of libFuzzer: `tests/corpus.rs` plays the corpora through the same functions in every test run.

pub mod configuration;
pub mod journal;
pub mod lines;
pub mod machine_output;
pub mod operations;
pub mod packets;
pub mod requests;
pub mod show_server;
pub mod stage;
pub mod studio;
pub mod template;

use std::sync::LazyLock;

use tokio::runtime::{Builder, Runtime};

/// For real sockets. Everything runs on the thread that libFuzzer watches.
pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime on this thread")
});
