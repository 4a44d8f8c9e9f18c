//! A real OpenSSH server on loopback, for as long as a test needs it.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use tempfile::TempDir;
use tokio::net::TcpStream;

use understudy::infra::ssh::{Config, Connector, Endpoint, Error, RusshConnector, Session};

use super::PLENTY;
use super::eventually::LOOK_INTERVAL;
use super::ssh::pinning;

const SSHD: &str = "/usr/sbin/sshd";
/// Directory that sshd insists on having as root.
const PRIVILEGE_SEPARATION: &str = "/run/sshd";

/// A server with its own host key and one authorised client key, which dies with this value.
pub struct Sshd {
    folder: TempDir,
    address: SocketAddr,
    /// What every command finds in its environment.
    environment: String,
    extra: Vec<String>,
    /// Who may log in.
    user: String,
    child: Option<Child>,
}

/// A user whose processes take signals from OpenSSH, as those of root do not.
const ORDINARY: &str = "ordinary";

impl Sshd {
    /// Starts a server with an Ed25519 host key.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts a server with further lines in its configuration.
    pub async fn start_with(extra: &[&str]) -> Self {
        let free = TcpListener::bind("127.44.9.1:0").unwrap();
        let mut server = Self::prepare(free.local_addr().unwrap());
        server.extra = extra.iter().map(|&line| line.to_owned()).collect();
        generate_key(&server.client_key(), "ed25519");
        server.authorize(&server.path("client_key.pub"));
        drop(free);
        server.run().await;
        server
    }

    /// Starts a server at this address for the owner of the key pair whose public half is given. Commands find
    /// the programs of a folder before the system's.
    pub async fn start_at(address: SocketAddr, public_key: &Path, programs: &Path) -> Self {
        let mut server = Self::prepare(address);
        let path = format!(" PATH={}:/usr/local/bin:/usr/bin:/bin", programs.display());
        server.environment.push_str(&path);
        server.authorize(public_key);
        server.run().await;
        server
    }

    /// Starts a server whose user is not root, also for a test that is: such a user is then known to this server
    /// alone, which sees a list of users of its own (mount_namespaces(7)).
    pub async fn start_for_an_ordinary_user() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let free = TcpListener::bind("127.44.9.1:0").unwrap();
        let mut server = Self::prepare(free.local_addr().unwrap());
        generate_key(&server.client_key(), "ed25519");
        server.authorize(&server.path("client_key.pub"));
        if server.user == "root" {
            ORDINARY.clone_into(&mut server.user);
            let folder = server.folder.path();
            let mut users = std::fs::read_to_string("/etc/passwd").unwrap();
            users.push_str(&format!(
                "{ORDINARY}:*:61234:61234::{}:/bin/sh\n",
                folder.display()
            ));
            std::fs::write(folder.join("passwd"), users).unwrap();
            std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
        }
        drop(free);
        server.run().await;
        server
    }

    fn prepare(address: SocketAddr) -> Self {
        assert!(
            Path::new(SSHD).exists(),
            "{SSHD} is missing: install the package openssh-server (apt-get install openssh-server)"
        );
        // Without rights there is nothing to make: sshd says itself what it misses.
        let _ = std::fs::create_dir_all(PRIVILEGE_SEPARATION);
        let folder = tempfile::tempdir().unwrap();
        generate_key(&folder.path().join("host_key"), "ed25519");
        Self {
            folder,
            address,
            // A bash that sshd starts reads the user's own .bashrc, which may do anything, unless it believes
            // that it runs inside another shell (bash(1), SHLVL).
            environment: "SHLVL=2".to_owned(),
            extra: Vec::new(),
            user: user(),
            child: None,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The user who may log in: whoever runs the test, unless it was started for another.
    pub fn user(&self) -> String {
        self.user.clone()
    }

    /// Private key that is let in.
    pub fn client_key(&self) -> PathBuf {
        self.folder.path().join("client_key")
    }

    /// A path beside the server's own files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The host's public key as `algorithm base64`.
    pub fn host_key(&self) -> String {
        let line = std::fs::read_to_string(self.folder.path().join("host_key.pub")).unwrap();
        let mut fields = line.split(' ');
        format!("{} {}", fields.next().unwrap(), fields.next().unwrap())
    }

    /// How to get in: the first key that the server shows is pinned, in a file of this server.
    pub fn config(&self) -> Config {
        pinning(&self.user(), self.client_key(), self.folder.path())
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            address: self.address,
            host: "i-0123456789abcdef0".to_owned(),
            connect_deadline: PLENTY,
        }
    }

    pub fn connector(&self) -> RusshConnector {
        RusshConnector::new(self.config())
    }

    /// Connects as a process does that has just started.
    pub async fn connect(&self) -> Result<Arc<dyn Session>, Error> {
        self.connector().connect(&self.endpoint()).await
    }

    pub async fn connect_with(&self, change: impl FnOnce(&mut Config)) -> Result<Arc<dyn Session>, Error> {
        let mut config = self.config();
        change(&mut config);
        RusshConnector::new(config).connect(&self.endpoint()).await
    }

    /// Gives the host another key of a kind that `ssh-keygen -t` knows. It takes effect with the next start.
    pub fn replace_host_key(&self, kind: &str) {
        std::fs::remove_file(self.folder.path().join("host_key")).unwrap();
        generate_key(&self.folder.path().join("host_key"), kind);
    }

    /// Lets this public key in, and no other.
    pub fn authorize(&self, public_key: &Path) {
        std::fs::copy(public_key, self.folder.path().join("authorized_keys")).unwrap();
    }

    /// Adds a line to the configuration. It takes effect with the next start.
    pub fn configure(&mut self, line: &str) {
        self.extra.push(line.to_owned());
    }

    /// Starts the server again, on the same address.
    pub async fn restart(&mut self) {
        self.kill();
        self.run().await;
    }

    /// Kills the server and everyone logged in.
    pub fn kill(&mut self) {
        self.signal("KILL");
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }

    /// Stops server and sessions where they are. Connections stay open, and nothing is answered.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// The commands' home is the server's own folder: a shell that reads its user's start-up files may take long
    /// over them, and being killed in the middle it may leave something behind in the real home.
    async fn run(&mut self) {
        let folder = self.folder.path().display();
        let mut config = format!(
            "HostKey {folder}/host_key\n\
             SetEnv HOME={folder} {}\n\
             AuthorizedKeysFile {folder}/authorized_keys\n\
             ListenAddress {}\n\
             PidFile none\n\
             StrictModes no\n\
             UsePAM no\n\
             UseDNS no\n\
             PasswordAuthentication no\n",
            self.environment, self.address
        );
        // It may be given once.
        if !self.extra.iter().any(|line| line.starts_with("Subsystem")) {
            config.push_str("Subsystem sftp internal-sftp\n");
        }
        for line in &self.extra {
            config.push_str(line);
            config.push('\n');
        }
        let config_path = self.folder.path().join("sshd_config");
        std::fs::write(&config_path, config).unwrap();
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let child = self
            .program()
            .args(["-D", "-e", "-f"])
            .arg(&config_path)
            .process_group(0)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let (address, log) = (self.address, self.folder.path().join("log"));
        let what = format!("sshd listens; its log is {}", log.display());
        let listens = async {
            while TcpStream::connect(address).await.is_err() {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        };
        tokio::time::timeout(PLENTY, listens).await.expect(&what);
    }

    fn program(&self) -> Command {
        if self.user != ORDINARY {
            return Command::new(SSHD);
        }
        let script = r#"mount --bind "$0" /etc/passwd && exec "$@""#;
        let mut program = Command::new("unshare");
        program.args(["--mount", "sh", "-c", script]);
        program.arg(self.path("passwd")).arg(SSHD);
        program
    }

    /// Every session is a process of its own, in a group of its own, so they are found by their parents.
    fn signal(&self, name: &str) {
        let Some(child) = &self.child else { return };
        let mut pids = vec![child.id()];
        let mut next = 0;
        while next < pids.len() {
            pids.extend(children(pids[next]));
            next += 1;
        }
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        // A session may have ended meanwhile, so success is not asked for.
        let _ = Command::new("/bin/sh")
            .arg("-c")
            .arg(format!("kill -{name} {} 2>/dev/null", pids.join(" ")))
            .status();
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The processes whose parent is `pid`, from the fourth field of `/proc/<pid>/stat` (proc(5)).
fn children(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(candidate) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        // The second field is the name in parentheses and may contain anything.
        let parent = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(1));
        if parent.and_then(|text| text.parse().ok()) == Some(pid) {
            found.push(candidate);
        }
    }
    found
}

/// The user who runs the test: the only one that a server without rights can let in.
pub fn user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The error that a connection was refused with.
pub fn refusal(answer: Result<Arc<dyn Session>, Error>) -> Error {
    match answer {
        Ok(_) => panic!("connected"),
        Err(error) => error,
    }
}

/// Makes a key pair without a passphrase.
pub fn generate_key(path: &Path, kind: &str) {
    generate(path, &["-t", kind, "-N", ""]);
}

/// Runs `ssh-keygen -f path` with further arguments.
pub fn generate(path: &Path, arguments: &[&str]) {
    let output = Command::new("ssh-keygen")
        .args(["-q", "-C", "test"])
        .args(arguments)
        .arg("-f")
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .expect("ssh-keygen is missing: install the package openssh-client");
    assert!(output.status.success(), "{output:?}");
}
