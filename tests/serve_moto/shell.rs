//! What happens to a command that comes over SSH.
//!
//! The SSH servers are real, the machines they lead to are not: a `pkill` must find the simulated studio, and no
//! process of the machine that runs the test. So the servers look for programs in a folder of ours first, where
//! `sudo`, `pkill` and `pgrep` are scripts that ask the test. Everything else is what it always is.

use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use understudy::sim::model::fault::Fault;
use understudy::sim::wire::MachineHandle;

/// Does without asking for a password what the rest of its line says, as on the pool's image.
const SUDO: &str = "#!/bin/bash
while [[ $1 == -* ]]; do shift; done
exec \"$@\"
";

/// As on an image where that was forgotten. sudo ends with 1 then, which is also pkill's word for \"none found\".
const SUDO_WITH_PASSWORD: &str = "#!/bin/bash
echo 'sudo: a password is required' >&2
exit 1
";

/// The second word of `SSH_CONNECTION` but one is the address that was called: the machine's (ssh(1)).
const ASK: &str = "#!/bin/bash
read -r _ _ machine _ <<<\"$SSH_CONNECTION\"
exec 3<>/dev/tcp/@IP@/@PORT@ || exit 3
echo \"$machine ${0##*/} $*\" >&3
read -r status <&3
exit \"$status\"
";

#[derive(Default)]
struct Machines {
    by_address: Mutex<HashMap<Ipv4Addr, MachineHandle>>,
    commands: Mutex<Vec<String>>,
}

/// The programs, and the one who answers for them.
pub struct Shell {
    folder: TempDir,
    machines: Arc<Machines>,
    server: JoinHandle<()>,
}

impl Shell {
    pub async fn start(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let machines = Arc::new(Machines::default());
        let server = tokio::spawn({
            let machines = Arc::clone(&machines);
            async move {
                while let Ok((connection, _)) = listener.accept().await {
                    tokio::spawn(answer(connection, Arc::clone(&machines)));
                }
            }
        });
        let shell = Self {
            folder: tempfile::tempdir().unwrap(),
            machines,
            server,
        };
        let ask = ASK
            .replace("@IP@", &address.ip().to_string())
            .replace("@PORT@", &address.port().to_string());
        shell.install("sudo", SUDO);
        shell.install("pkill", &ask);
        shell.install("pgrep", &ask);
        shell
    }

    /// From now on sudo wants a password, which nobody can type.
    pub fn require_password(&self) {
        self.install("sudo", SUDO_WITH_PASSWORD);
    }

    /// Where the programs are.
    pub fn programs(&self) -> &Path {
        self.folder.path()
    }

    /// Commands given to this machine's address are this machine's from now on.
    pub fn lead_to(&self, machine: &MachineHandle) {
        let mut by_address = self.machines.by_address.lock().unwrap();
        by_address.insert(machine.address(), machine.clone());
    }

    /// What was asked so far: address, program, arguments.
    pub fn commands(&self) -> Vec<String> {
        self.machines.commands.lock().unwrap().clone()
    }

    /// Replaces a program in one step: one that is being executed cannot be written to.
    fn install(&self, name: &str, script: &str) {
        let path: PathBuf = self.folder.path().join(name);
        let new = path.with_extension("new");
        fs::write(&new, script).unwrap();
        make_executable(&new);
        fs::rename(&new, &path).unwrap();
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn make_executable(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

async fn answer(connection: TcpStream, machines: Arc<Machines>) {
    let mut connection = BufReader::new(connection);
    let mut line = String::new();
    if connection.read_line(&mut line).await.is_err() {
        return;
    }
    let status = machines.run(line.trim_end());
    // Whoever asked may have been hung up on meanwhile.
    let _ = connection.write_all(format!("{status}\n").as_bytes()).await;
}

impl Machines {
    /// Carries a command out and gives its exit status.
    fn run(&self, line: &str) -> u32 {
        self.commands.lock().unwrap().push(line.to_owned());
        let mut words = line.split(' ');
        let address: Option<Ipv4Addr> = words.next().and_then(|word| word.parse().ok());
        let machine = address.and_then(|address| self.by_address.lock().unwrap().get(&address).cloned());
        let Some(machine) = machine else { return 3 };
        let is_there = machine.view().studio_alive;
        match words.collect::<Vec<_>>().as_slice() {
            ["pgrep", "-x", "obs"] => {}
            ["pkill", "-KILL", "-x", "obs"] => machine.fault(Fault::StudioCrash),
            // As both programs end when they do not understand their arguments.
            _ => return 2,
        }
        u32::from(!is_there)
    }
}
