//! A producer who works in a machine's OBS with a client that is not ours: obsws-python.

use serde_json::Value;

use super::machine::Machine;
use super::program::{installed, ours};

/// The password of every machine's obs-websocket, as its image has it.
pub const OBS_PASSWORD: &str = "correct horse";

/// Makes a studio for a show that streams to this server with this key.
pub async fn build_studio(machine: &Machine, server: &str, key: &str) {
    run(machine, &["build", server, key]).await;
}

/// What the studio is.
pub async fn read_studio(machine: &Machine) -> Value {
    serde_json::from_str(&run(machine, &["read"]).await).unwrap()
}

async fn run(machine: &Machine, words: &[&str]) -> String {
    let (python, script) = (installed("venv/bin/python"), ours("producer.py"));
    let command = [&[python.as_str(), &script], words].concat();
    let output = machine.in_its_network(&command).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "producer.py {words:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}
