//! Everything sealed is sealed under the present key when a coordinator starts: what an older version wrote in the clear,
//! and what is from before the key was changed. So an old line of the key file is needed for one more start only.

use std::sync::Arc;

use anyhow::Context as _;

use crate::domain::configuration::Configuration;
use crate::domain::event::Event;
use crate::domain::sealed::Sealed;
use crate::domain::show::{self, Show};
use crate::domain::studio::Studio;
use crate::domain::time::Timestamp;
use crate::domain::vm::{self, Vm};
use crate::infra::ledger::Ledger;
use crate::infra::vault::Vault;

/// Seals the stream keys of shows' studios and configurations, and of what shows left on VMs. What cannot be opened is
/// told, and stays as it is.
///
/// # Errors
/// The ledger could not take it.
pub async fn all(ledger: &Ledger, vault: &Vault, now: Timestamp) -> anyhow::Result<()> {
    let state = ledger.state();
    let of_shows = state.shows().flat_map(|show| {
        let events = of_show(show, vault);
        events.into_iter().map(|event| Event::show(&show.id, event))
    });
    let of_vms = state.vms().filter_map(|vm| {
        let event = of_vm(vm, vault)?;
        Some(Event::vm(&vm.id, event))
    });
    for event in of_shows.chain(of_vms) {
        let sealed = ledger.commit(now, vec![event]).await;
        sealed.context("sealing stream keys under the present key")?;
    }
    Ok(())
}

fn of_show(show: &Show, vault: &Vault) -> Vec<show::Event> {
    let owner = format!("show {}", show.id);
    let mut events = Vec::new();
    // Without a VM it has none.
    if let (Some(studio), Some(_)) = (&show.studio, &show.vm)
        && let Some(stream) = &studio.stream
        && let Some(key) = &stream.key
        && let Some(renewed) = renewed(key, vault, &owner)
    {
        let mut studio = Studio::clone(studio);
        if let Some(stream) = &mut studio.stream {
            stream.key = Some(renewed);
        }
        events.push(show::Event::Captured {
            studio: Arc::new(studio),
        });
    }
    if let Some(configuration) = &show.configuration
        && let Some(key) = &configuration.stream_key
        && let Some(renewed) = renewed(key, vault, &owner)
    {
        let configuration = Configuration {
            stream_key: Some(renewed),
            ..Configuration::clone(configuration)
        };
        events.push(show::Event::SetUp {
            configuration: Arc::new(configuration),
            make: false,
        });
    }
    events
}

fn of_vm(vm: &Vm, vault: &Vault) -> Option<vm::Event> {
    let left = vm.leftover.as_ref()?;
    let owner = format!("show {}, which left it on {}", left.show, vm.id);
    let anew = |key: &Sealed| renewed(key, vault, &owner).unwrap_or_else(|| key.clone());
    let keys: Vec<Sealed> = left.keys.iter().map(anew).collect();
    (keys != left.keys).then_some(vm::Event::Resealed { keys })
}

/// It under the present key, if it is not yet and can be opened.
fn renewed(key: &Sealed, vault: &Vault, owner: &str) -> Option<Sealed> {
    match vault.renewed(key) {
        Ok(Some(renewed)) => {
            tracing::info!("a stream key of {owner} is sealed under the present key");
            Some(renewed)
        }
        Ok(None) => None,
        Err(locked) => {
            tracing::error!(%locked, "a stream key of {owner} cannot be read: it could not be sealed anew");
            None
        }
    }
}
