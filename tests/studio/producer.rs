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

/// Sets the bit rate of what is streamed and recorded from the next start on, in kbit/s.
pub async fn set_bit_rate(machine: &Machine, kbit_s: u32) {
    run(machine, &["bitrate", &kbit_s.to_string()]).await;
}

pub async fn start_recording(machine: &Machine) {
    run(machine, &["record"]).await;
}

/// Ends the recording; its file is complete when this returns.
pub async fn stop_recording(machine: &Machine) {
    run(machine, &["stop-recording"]).await;
}

async fn run(machine: &Machine, words: &[&str]) -> String {
    let (python, script) = (installed("venv/bin/python"), ours("producer.py"));
    let command = [&[python.as_str(), &script], words].concat();
    let output = machine.in_its_network(&command).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "producer.py {words:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}
