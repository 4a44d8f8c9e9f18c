//! One machine: a network namespace, a disk, and systemd as process 1 of namespaces of its own.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tokio::process::{Child, Command};

use super::network::{attach, iptables};
use super::program::{installed, ours, output, run};
use super::support::eventually::eventually;

/// Where every machine's obs-websocket listens.
pub const OBS_PORT: &str = "4455";

pub struct Machine {
    name: String,
    address: Ipv4Addr,
    folder: PathBuf,
    /// What its disk lies over: overlayfs's `lowerdir`.
    layers: String,
    /// The boot script, which lasts as long as the machine.
    power: Option<Child>,
}

impl Machine {
    /// A machine that is off, with an empty disk over `image`.
    pub async fn build(name: &str, address: Ipv4Addr, image: &Path, folder: &Path) -> Self {
        attach(name, address).await;
        // As the VMs' security group has it: OBS's WebSocket is reached through SSH, or not at all.
        let obs = ["-p", "tcp", "--dport", OBS_PORT];
        let from_outside = [&["-A", "INPUT", "!", "-i", "lo"][..], &obs, &["-j", "DROP"]].concat();
        iptables(name, &from_outside).await;
        Self {
            name: name.to_owned(),
            address,
            folder: folder.join(name),
            layers: format!("{}:{}", image.display(), installed("root")),
            power: None,
        }
    }

    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    pub fn is_on(&self) -> bool {
        self.power.is_some()
    }

    pub fn boot(&mut self) {
        let child = Command::new(ours("machine/boot"))
            .arg(&self.name)
            .arg(&self.folder)
            .arg(&self.layers)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        self.power = Some(child);
    }

    /// Pulls the plug: nothing is written, nobody says goodbye.
    pub async fn unplug(&mut self) {
        if let Some(mut power) = self.power.take() {
            power.kill().await.unwrap();
        }
    }

    /// Runs a command on it as root, as somebody at its console would, and gives its standard output.
    pub async fn run(&self, words: &[&str]) -> String {
        let init = eventually("the machine has booted", super::LIMIT, async || {
            init_of(self.power.as_ref().expect("the machine is on"))
        })
        .await;
        let init = init.to_string();
        let within = [&["--target", &init, "--all", "--"], words].concat();
        run("nsenter", &within).await
    }

    /// Runs a program of this side's in its network, where `localhost` is the machine.
    pub async fn in_its_network(&self, words: &[&str]) -> Output {
        let net = format!("--net=/run/netns/{}", self.name);
        let within = [&[net.as_str(), "--"], words].concat();
        output("nsenter", &within).await
    }

    /// Sends a signal to OBS.
    pub async fn signal_obs(&self, signal: &str) {
        self.run(&["pkill", signal, "-x", "obs"]).await;
    }

    /// Drops every packet from and to it. Nothing is refused, nobody is told.
    pub async fn partition(&self) {
        iptables(&self.name, &["-I", "INPUT", "!", "-i", "lo", "-j", "DROP"]).await;
        iptables(&self.name, &["-I", "OUTPUT", "!", "-o", "lo", "-j", "DROP"]).await;
    }
}

/// Process 1 of the machine, as it is numbered here: the only child of the boot script once that is done.
fn init_of(power: &Child) -> Option<u32> {
    let script = power.id()?;
    let children = std::fs::read_to_string(format!("/proc/{script}/task/{script}/children")).ok()?;
    let child: u32 = children.trim().parse().ok()?;
    let name = std::fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
    (name.trim() == "systemd").then_some(child)
}
