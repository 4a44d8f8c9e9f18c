//! The network between the coordinator, the machines and the venue: a bridge, and a namespace for each.

use std::net::Ipv4Addr;

use super::program::run;

/// What all of it is in. The addresses are private ones (RFC 1918), and exist within the test's namespaces only.
pub const CIDR: &str = "10.44.0.0/24";
/// Where the coordinator, the cloud and the test itself are.
pub const HERE: Ipv4Addr = Ipv4Addr::new(10, 44, 0, 1);
/// Where the venue's ingest is. Instances get the addresses from .4 on.
pub const VENUE: Ipv4Addr = Ipv4Addr::new(10, 44, 0, 2);

const BRIDGE: &str = "studio";

/// Makes the bridge and puts this side on it.
pub async fn make_bridge() {
    let folder = std::env::var("UNDERSTUDY_STUDIO_CGROUP");
    assert!(
        folder.is_ok(),
        "start this with `make test-studio`: it needs namespaces of its own"
    );
    ip(&["link", "add", BRIDGE, "type", "bridge"]).await;
    ip(&["address", "add", &format!("{HERE}/24"), "dev", BRIDGE]).await;
    ip(&["link", "set", BRIDGE, "up"]).await;
}

/// Makes a network namespace with one interface, on the bridge.
pub async fn attach(name: &str, address: Ipv4Addr) {
    ip(&["netns", "add", name]).await;
    ip(&[
        "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name,
    ])
    .await;
    ip(&["link", "set", name, "master", BRIDGE, "up"]).await;
    ip(&["-n", name, "link", "set", "lo", "up"]).await;
    ip(&[
        "-n",
        name,
        "address",
        "add",
        &format!("{address}/24"),
        "dev",
        "eth0",
    ])
    .await;
    ip(&["-n", name, "link", "set", "eth0", "up"]).await;
    ip(&["-n", name, "route", "add", "default", "via", &HERE.to_string()]).await;
}

/// Runs iptables in a network namespace.
pub async fn iptables(name: &str, rule: &[&str]) {
    let within = [&["netns", "exec", name, "iptables", "--wait"], rule].concat();
    ip(&within).await;
}

async fn ip(words: &[&str]) {
    run("ip", words).await;
}
