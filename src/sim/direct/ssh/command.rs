//! Runs commands on a machine, and waits as they do.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use tokio::time::{sleep, sleep_until};

use crate::sim::direct::machine::Shared;
use crate::sim::direct::network::{Closed, Link, Network};
use crate::sim::direct::process::Process;
use crate::sim::model::machine::Service;
use crate::sim::model::shell::{self, Connect, Host, Output, Reached, Run, words};

/// Runs one command line to its end.
///
/// # Errors
/// [`Closed`]: it may have been run, and may go on.
pub(super) async fn run(link: &Link, line: &str) -> Result<Output, Closed> {
    let line = line.to_owned();
    let begun = link.call(move |machine| begin(machine, &line)).await?;
    let machine = link.machine();
    let output = match begun.ok_or(Closed)? {
        // Its answer came with the one to the request.
        Run::Ended(output) => return Ok(output),
        Run::Until { at, output } => {
            sleep_until(machine.surroundings().clock.instant(at)).await;
            output
        }
        Run::Connect(connect) => connect.ended(reach(machine, &connect).await),
        Run::Sum(mut sum) => loop {
            let address = machine.address();
            let step = |model: &mut _, now| sum.step(&mut Host { model, address, now });
            if let Some(output) = machine.change(step) {
                break output;
            }
            tokio::task::yield_now().await;
        },
    };
    link.hear().await?;
    Ok(output)
}

/// `None` if the SSH server goes for that.
fn begin(machine: &Shared, line: &str) -> Option<Run> {
    let address = machine.address();
    let words = words::split(line).unwrap_or_default();
    machine.change(|model, now| {
        let arrived = model.command_arrived(&words, now);
        arrived.then(|| shell::run(&mut Host { model, address, now }, line))
    })
}

/// Connects from the machine: to itself, or to the venue's ingest.
async fn reach(machine: &Arc<Shared>, connect: &Connect) -> Reached {
    let surroundings = machine.surroundings();
    let is_itself =
        [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(machine.address())].contains(&connect.to.ip());
    if is_itself {
        let port = Some(connect.to.port());
        let mut services = Service::ALL.into_iter();
        let service = services.find(|service| surroundings.ports.of(*service) == port);
        return match service.map(|service| Network::dial_within(Process::default(), machine, service)) {
            Some(Ok(_)) => Reached::Connected,
            Some(Err(_)) | None => Reached::Refused,
        };
    }
    let is_ingest = connect.to == surroundings.ingest.address();
    if !is_ingest || !machine.inspect(|model, _| model.is_reachable()) {
        sleep(connect.limit).await;
        return Reached::TimedOut;
    }
    surroundings.dice.trip().await;
    surroundings.dice.trip().await;
    if surroundings.ingest.is_up() {
        Reached::Connected
    } else {
        Reached::Refused
    }
}
