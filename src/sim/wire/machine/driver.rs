//! Makes one machine's sockets follow its model.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::shared::Shared;
use crate::domain::time::Timestamp;
use crate::sim::model::earliest;
use crate::sim::model::machine::{Front, Power, Service};
use crate::sim::wire::exchange::Exchange;
use crate::sim::wire::port::{Port, Serve};
use crate::sim::wire::publish::{Target, publish};

/// Pause before an address that cannot be bound is tried again.
const BIND_RETRY: Duration = Duration::from_millis(250);

/// The services that listen.
const SERVED: [Service; 3] = [Service::Status, Service::Studio, Service::Ssh];

/// What the driver has to do next.
struct Plan {
    version: u64,
    address: Ipv4Addr,
    fronts: [(Service, Front); 3],
    publish: Option<(u64, Option<Target>)>,
    deadline: Option<Timestamp>,
    closed: bool,
}

fn plan(shared: &Shared) -> Plan {
    let now = shared.now();
    let mut state = shared.state();
    state.model.advance(now);
    state.settle(now);
    let model = &state.model;
    let front = |service| {
        let front = match model.front(service, now) {
            Front::Dark if model.power() == Power::Off && !shared.config().dark_when_off => Front::Closed,
            front @ (Front::Dark | Front::Closed | Front::Unanswered | Front::Open) => front,
        };
        (service, front)
    };
    let studio = model.studio();
    let plan = Plan {
        version: state.version,
        address: state.address,
        fronts: SERVED.map(front),
        publish: studio
            .output()
            .publish()
            .map(|p| (p.attempt, Target::of(studio.service()))),
        deadline: model.next_deadline(now),
        closed: state.closed,
    };
    drop(state);
    shared.changes.send_replace(plan.version);
    plan
}

/// Makes ports and the stream follow the model until the machine is closed.
pub(super) async fn drive(shared: Arc<Shared>) {
    let serves = SERVED.map(|service| {
        let shared = Arc::clone(&shared);
        Arc::new(move |stream| shared.serve(service, stream)) as Serve
    });
    let mut ports: [Port; 3] = Default::default();
    let mut connected: Option<Ipv4Addr> = None;
    let mut stream: Option<(u64, JoinHandle<()>)> = None;
    loop {
        let plan = plan(&shared);
        if plan.closed {
            break;
        }
        let listening = match &shared.config().exchange {
            Some(exchange) => {
                follow_address(&shared, exchange, &mut connected, plan.address);
                Ok(())
            }
            None => follow_ports(&shared, &mut ports, &serves, &plan).await,
        };
        let retry_at = listening.err().map(|error| {
            tracing::warn!(address = %plan.address, %error, "a simulated machine cannot listen");
            shared.now() + BIND_RETRY
        });
        follow_stream(&shared, &mut stream, &plan);
        shared.applied.send_replace(plan.version);
        match earliest(plan.deadline, retry_at) {
            Some(deadline) => {
                let deadline = shared.clock().instant(deadline);
                // Woken early or on time, both are a reason to look.
                let _ = tokio::time::timeout_at(deadline, shared.wake.notified()).await;
            }
            None => shared.wake.notified().await,
        }
    }
    if let Some((_, task)) = stream {
        task.abort();
    }
    for port in &mut ports {
        port.close().await;
    }
    if let (Some(exchange), Some(address)) = (&shared.config().exchange, connected) {
        exchange.disconnect(address, &shared);
    }
}

fn follow_address(
    shared: &Arc<Shared>,
    exchange: &Exchange,
    connected: &mut Option<Ipv4Addr>,
    address: Ipv4Addr,
) {
    if *connected != Some(address) {
        if let Some(left) = connected.replace(address) {
            exchange.disconnect(left, shared);
        }
        exchange.connect(address, shared);
    }
}

async fn follow_ports(
    shared: &Shared,
    ports: &mut [Port; 3],
    serves: &[Serve; 3],
    plan: &Plan,
) -> io::Result<()> {
    let mut outcome = Ok(());
    for ((port, serve), (service, front)) in ports.iter_mut().zip(serves).zip(plan.fronts) {
        if let Some(number) = shared.config().ports.of(service) {
            let address = SocketAddr::from((plan.address, number));
            outcome = outcome.and(port.follow(front, address, serve).await);
        }
    }
    outcome
}

fn follow_stream(shared: &Arc<Shared>, stream: &mut Option<(u64, JoinHandle<()>)>, plan: &Plan) {
    let wanted = plan.publish.as_ref().map(|(attempt, _)| *attempt);
    if stream.as_ref().map(|(attempt, _)| *attempt) == wanted {
        return;
    }
    if let Some((_, task)) = stream.take() {
        task.abort();
    }
    if let Some((attempt, target)) = plan.publish.clone() {
        let task = tokio::spawn(publish(Arc::clone(shared), attempt, plan.address, target));
        *stream = Some((attempt, task));
    }
}
