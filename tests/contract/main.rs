//! The contract of the simulated world, kept by both of its fronts: what the coordinator asks of a cloud and of machines,
//! answered alike by real servers on loopback (`wire`) and in memory in paused time (`direct`).
//!
//! A contract is a function over a [`ground::Ground`]; [`on_both_fronts!`] makes a test of it for each front. Where the two
//! differ, the wire is right: it was compared with the real components.

mod cloud;
mod ground;
mod obs;
mod probe;
mod ssh;
#[path = "../support/mod.rs"]
mod support;

/// Tests each of these contracts on a world of its own, of the shape given, on the wire and directly.
macro_rules! on_both_fronts {
    ($($contract:ident($shape:expr);)*) => {
        mod wire {
            use $crate::ground::shape;

            $(#[tokio::test]
            async fn $contract() {
                super::$contract(&$crate::ground::Ground::wire($shape).await).await;
            })*
        }

        mod direct {
            use $crate::ground::shape;

            $(#[tokio::test(start_paused = true)]
            async fn $contract() {
                super::$contract(&$crate::ground::Ground::direct($shape)).await;
            })*
        }
    };
}
pub(crate) use on_both_fronts;
