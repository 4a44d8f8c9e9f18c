//! Leaves the pool as it was found, whatever happened.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{LOOK, Live, Operation};
use crate::domain::ids::VmId;
use crate::rehearsal::scenario::Command;

/// Limit on the show being released: its VM is cleaned then.
const RELEASE: Duration = Duration::from_secs(120);
/// Limit on every VM being ready again: one that failed proves itself first.
const READY: Duration = Duration::from_secs(180);
/// Tries of what is refused.
const TRIES: u32 = 5;

impl Live<'_> {
    /// Mends what was broken, gives back what was given, and waits until every VM is as it was. Returns what could not be
    /// done, for people to do.
    pub(super) async fn clean_up(&self) -> Vec<String> {
        let mut left = Vec::new();
        let broken: Vec<(VmId, Operation)> = self.notes().broken.clone().into_iter().collect();
        let mut unmended = BTreeMap::new();
        for (vm, operation) in broken {
            if let Err(error) = self.insist(&vm, operation).await {
                unmended.insert(vm, error);
            }
        }
        if let Err(error) = self.give_back().await {
            left.push(format!(
                "show {} is not released: {error:#}; release it with `understudy release {}`",
                self.show(),
                self.show()
            ));
        }
        let touched: Vec<VmId> = self.notes().touched.iter().cloned().collect();
        for vm in touched {
            // What could not be mended may have been, by its release or by its own means.
            if let Err(error) = self.ready_again(&vm).await {
                left.push(format!("{vm} is not as it was: {error:#}"));
                let why = unmended.get(&vm);
                left.extend(why.map(|why| format!("{vm} could not be mended: {why:#}")));
            }
        }
        left
    }

    async fn insist(&self, vm: &VmId, operation: Operation) -> anyhow::Result<()> {
        let mut tries = 1;
        loop {
            match self.pool.operate(vm, operation).await {
                Ok(()) => return Ok(()),
                Err(error) if tries >= TRIES => return Err(error),
                Err(_) => tokio::time::sleep(LOOK * tries).await,
            }
            tries += 1;
        }
    }

    async fn give_back(&self) -> anyhow::Result<()> {
        self.until("the show released", RELEASE, async || {
            // Refused while the show is in a phase that does not allow it, and done if it has nothing.
            let _ = self.pool.control().command(self.show(), Command::Release).await;
            let standing = self.pool.control().standing(self.show()).await.ok()?;
            standing
                .is_none_or(|standing| standing.vm.is_none())
                .then_some(())
        })
        .await
    }

    /// Every VM that it had was ready before.
    async fn ready_again(&self, vm: &VmId) -> anyhow::Result<()> {
        let mut started = false;
        let wait = async {
            loop {
                let vms = self.pool.vms().await.unwrap_or_default();
                let status = vms
                    .into_iter()
                    .find(|known| known.vm == *vm)
                    .map(|known| known.status);
                match status.as_deref() {
                    Some("available") => return,
                    Some("stopped") if !started => {
                        started = self.pool.operate(vm, Operation::Start).await.is_ok();
                    }
                    // Somebody real has it by now, or it is on its way.
                    Some("assigned" | "in_use") => return,
                    Some(_) | None => {}
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let in_time = tokio::time::timeout(READY, wait).await;
        in_time.map_err(|_| anyhow::anyhow!("not ready again within {} s", READY.as_secs()))
    }
}
