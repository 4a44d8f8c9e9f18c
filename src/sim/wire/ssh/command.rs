//! Runs commands on a simulated machine, and waits as they do. What they do is [`crate::sim::model::shell`]'s business.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpSocket;

use super::super::machine::Shared;
use crate::sim::model::shell::{self, Connect, Host, Output, Reached, Run};

/// Runs one command line to its end.
pub(super) async fn run(machine: &Arc<Shared>, line: &str) -> Output {
    let address = machine.address();
    let begun = machine.change(|model, now| shell::run(&mut Host { model, address, now }, line));
    match begun {
        Run::Ended(output) => output,
        Run::Until { at, output } => {
            tokio::time::sleep_until(machine.clock().instant(at)).await;
            output
        }
        Run::Connect(connect) => connect.ended(reach(machine, &connect).await),
        Run::Sum(mut sum) => loop {
            let summed = machine.ask(|model, now| sum.step(&mut Host { model, address, now }));
            if let Some(output) = summed {
                return output;
            }
            tokio::task::yield_now().await;
        },
    }
}

/// Opens a TCP connection from the machine's own address, on loopback alone.
async fn reach(machine: &Shared, connect: &Connect) -> Reached {
    if !connect.to.ip().is_loopback() {
        return Reached::NetworkUnreachable;
    }
    let attempt = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(IpAddr::V4(machine.address()), 0))?;
        socket.connect(connect.to).await
    };
    match tokio::time::timeout(connect.limit, attempt).await {
        Ok(Ok(_)) => Reached::Connected,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => Reached::Refused,
        Ok(Err(_)) => Reached::NoRoute,
        Err(_) => Reached::TimedOut,
    }
}
