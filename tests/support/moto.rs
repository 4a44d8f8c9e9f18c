//! A real EC2 API that nobody here wrote: moto, in another process.
//!
//! Deliberately does not use the SDK under test: it speaks the query protocol itself, so a mistake in the adapter
//! cannot hide behind the same mistake here.
//!
//! Facts about moto 5.2: transitions are instant; `ClientToken` is ignored; images are not checked; a terminated
//! instance can be started again; pages count reservations. **It makes up public addresses that belong to
//! somebody: never connect to one.** Private addresses come from the subnet, so a subnet in 127.0.0.0/8
//! ([`Moto::subnet`]) makes them loopback addresses.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use understudy::infra::cloud::{MANAGED_BY, TAG_MANAGED_BY, TAG_PROJECT};

use super::eventually::eventually;

/// An image that moto knows: an Ubuntu. (Listing its thousands of images takes it a second each time.)
pub const IMAGE: &str = "ami-785db401";

/// One for each test that shares a server.
const REGIONS: [&str; 28] = [
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
    "ca-central-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eu-central-1",
    "eu-north-1",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-south-1",
    "sa-east-1",
    "af-south-1",
    "ap-east-1",
    "ap-northeast-3",
    "ap-south-2",
    "ap-southeast-3",
    "ca-west-1",
    "eu-central-2",
    "eu-south-1",
    "eu-south-2",
    "il-central-1",
    "me-central-1",
    "me-south-1",
];

/// Sends a request; gives what is answered. Panics unless it succeeds.
pub async fn succeeds(action: &str, request: RequestBuilder) -> String {
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert!(status.is_success(), "{action}: {status}: {text}");
    text
}

/// Python and moto need half a second to start, many times that when every core is compiling.
const START_DEADLINE: Duration = Duration::from_secs(60);
const CALL_DEADLINE: Duration = Duration::from_secs(60);

/// Runs the server given as `$0` until it ends or standard input does. The test holds the other end of that, and
/// however the test ends, it lets go: no server is left behind.
const GUARD: &str = r#"
exec 3<&0
"$0" -H 127.0.0.1 -p 0 </dev/null 3<&- &
server=$!
{ cat <&3 >/dev/null; kill -9 "$server" 2>/dev/null; } &
wait "$server"
"#;

/// An EC2 region of a moto server, in which nobody else does anything.
pub struct Moto {
    server: Arc<Server>,
    region: &'static str,
    http: reqwest::Client,
}

/// An instance as the server describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    pub instance_id: String,
    /// In EC2's spelling.
    pub state: String,
    /// `None` for what has none any more.
    pub private_ip: Option<Ipv4Addr>,
    /// Everything that is said about it, as XML.
    pub xml: String,
}

/// An instance to run without the adapter.
#[derive(Default)]
pub struct NewInstance<'a> {
    pub subnet_id: Option<&'a str>,
    pub private_ip: Option<Ipv4Addr>,
    pub tags: Vec<(&'a str, &'a str)>,
}

impl<'a> NewInstance<'a> {
    /// With the tags that make it the pool's.
    pub fn of_pool(project: &'a str, name: &'a str) -> Self {
        Self {
            tags: vec![
                (TAG_PROJECT, project),
                (TAG_MANAGED_BY, MANAGED_BY),
                ("Name", name),
            ],
            ..Self::default()
        }
    }
}

impl Moto {
    /// A server of its own, which ends with the value.
    pub async fn start() -> Self {
        Self::of(Arc::new(Server::start().await), REGIONS[0])
    }

    /// A region that no other test of this process uses, on a server that they share. Starting a server takes
    /// seconds of processor time; this costs them once.
    pub async fn region_of_its_own() -> Self {
        // Never dropped; its guard ends it with the process.
        static SERVER: OnceCell<Arc<Server>> = OnceCell::const_new();
        static TAKEN: AtomicUsize = AtomicUsize::new(0);
        let region = REGIONS
            .get(TAKEN.fetch_add(1, Ordering::Relaxed))
            .expect("a region is left");
        let server = SERVER.get_or_init(async || Arc::new(Server::start().await)).await;
        Self::of(Arc::clone(server), region)
    }

    fn of(server: Arc<Server>, region: &'static str) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(CALL_DEADLINE)
            .build()
            .unwrap();
        Self { server, region, http }
    }

    pub fn region(&self) -> &'static str {
        self.region
    }

    pub fn endpoint(&self) -> &str {
        &self.server.endpoint
    }

    /// One call of EC2's query protocol; gives the XML. Panics unless it succeeds.
    pub async fn call(&self, action: &str, parameters: &[(String, String)]) -> String {
        let mut body = format!("Action={action}&Version=2016-11-15");
        for (key, value) in parameters {
            body.push_str(&format!("&{}={}", percent_encoded(key), percent_encoded(value)));
        }
        let request = self
            .request(Method::POST, "ec2", "")
            .header("Content-Type", "application/x-www-form-urlencoded");
        succeeds(action, request.body(body)).await
    }

    /// A request to one of its services, at this path.
    pub fn request(&self, method: Method, service: &str, path: &str) -> RequestBuilder {
        // moto finds service and region in here and does not check the signature.
        let region = self.region;
        let credential = format!("AWS4-HMAC-SHA256 Credential=test/20260101/{region}/{service}/aws4_request");
        let signed = format!("{credential}, SignedHeaders=host, Signature=none");
        let url = format!("{}{path}", self.endpoint());
        self.http.request(method, url).header("Authorization", signed)
    }

    /// A network of its own with one subnet; both have the given block. Use one in 127.0.0.0/8 (`127.44.0.0/16`),
    /// and different ones where tests that run at the same time listen on the addresses. The first instance
    /// gets the fourth address of the block.
    pub async fn subnet(&self, cidr_block: &str) -> String {
        let vpc = self
            .call("CreateVpc", &parameters(&[("CidrBlock", cidr_block)]))
            .await;
        let vpc_id = element(&vpc, "vpcId");
        let subnet = self
            .call(
                "CreateSubnet",
                &parameters(&[("VpcId", vpc_id), ("CidrBlock", cidr_block)]),
            )
            .await;
        element(&subnet, "subnetId").to_owned()
    }

    /// Runs one instance, as somebody else would, and gives its id.
    pub async fn run(&self, new: &NewInstance<'_>) -> String {
        let mut asked = parameters(&[("ImageId", IMAGE), ("MinCount", "1"), ("MaxCount", "1")]);
        if let Some(subnet_id) = new.subnet_id {
            asked.push(("SubnetId".to_owned(), subnet_id.to_owned()));
        }
        if let Some(private_ip) = new.private_ip {
            asked.push(("PrivateIpAddress".to_owned(), private_ip.to_string()));
        }
        if !new.tags.is_empty() {
            asked.push((
                "TagSpecification.1.ResourceType".to_owned(),
                "instance".to_owned(),
            ));
        }
        for (position, (key, value)) in (1..).zip(&new.tags) {
            asked.push((
                format!("TagSpecification.1.Tag.{position}.Key"),
                (*key).to_owned(),
            ));
            asked.push((
                format!("TagSpecification.1.Tag.{position}.Value"),
                (*value).to_owned(),
            ));
        }
        element(&self.call("RunInstances", &asked).await, "instanceId").to_owned()
    }

    /// Starts an instance behind the adapter's back.
    pub async fn start_instance(&self, instance_id: &str) {
        self.call("StartInstances", &parameters(&[("InstanceId.1", instance_id)]))
            .await;
    }

    /// Stops an instance behind the adapter's back.
    pub async fn stop_instance(&self, instance_id: &str) {
        self.call("StopInstances", &parameters(&[("InstanceId.1", instance_id)]))
            .await;
    }

    /// Terminates an instance behind the adapter's back.
    pub async fn terminate_instance(&self, instance_id: &str) {
        self.call(
            "TerminateInstances",
            &parameters(&[("InstanceId.1", instance_id)]),
        )
        .await;
    }

    /// Takes a tag away behind the adapter's back.
    pub async fn delete_tag(&self, instance_id: &str, key: &str) {
        self.call(
            "DeleteTags",
            &parameters(&[("ResourceId.1", instance_id), ("Tag.1.Key", key)]),
        )
        .await;
    }

    /// The state, in EC2's spelling.
    pub async fn state(&self, instance_id: &str) -> String {
        let description = self.description(instance_id).await;
        let (_, state) = description.split_once("<instanceState>").unwrap();
        element(state, "name").to_owned()
    }

    /// The value of a tag, if the instance has it.
    pub async fn tag(&self, instance_id: &str, key: &str) -> Option<String> {
        let description = self.description(instance_id).await;
        let (_, tag) = description.split_once(&format!("<key>{key}</key>"))?;
        Some(element(tag, "value").to_owned())
    }

    /// How many instances there are, terminated ones included.
    pub async fn instance_count(&self) -> usize {
        let all = self
            .call("DescribeInstances", &parameters(&[("MaxResults", "1000")]))
            .await;
        all.matches("<instanceId>").count()
    }

    /// Every instance, terminated ones included.
    pub async fn instances(&self) -> Vec<Described> {
        let all = self
            .call("DescribeInstances", &parameters(&[("MaxResults", "1000")]))
            .await;
        all.split("<instancesSet>").skip(1).map(described).collect()
    }

    async fn description(&self, instance_id: &str) -> String {
        self.call("DescribeInstances", &parameters(&[("InstanceId.1", instance_id)]))
            .await
    }
}

/// Reads the one instance of a reservation. What the machine is comes after its network interfaces, which have
/// addresses and states of their own.
fn described(reservation: &str) -> Described {
    let (xml, _) = reservation.split_once("</instancesSet>").unwrap();
    let (_, machine) = xml.split_once("<instanceId>").unwrap();
    let (instance_id, machine) = machine.split_once("</instanceId>").unwrap();
    let (_, state) = machine.split_once("<instanceState>").unwrap();
    let private_ip = machine
        .contains("<privateIpAddress>")
        .then(|| element(machine, "privateIpAddress").parse().unwrap());
    Described {
        instance_id: instance_id.to_owned(),
        state: element(state, "name").to_owned(),
        private_ip,
        xml: xml.to_owned(),
    }
}

/// A running moto_server.
struct Server {
    guard: Child,
    guard_stdin: Option<ChildStdin>,
    endpoint: String,
    /// Keeps the server's output until the end.
    _folder: TempDir,
}

impl Server {
    /// Starts on a free port of 127.0.0.1 and waits until requests are accepted.
    async fn start() -> Self {
        let path = server_path();
        let folder = tempfile::tempdir().unwrap();
        let output_path = folder.path().join("output");
        let output = File::create(&output_path).unwrap();
        let mut guard = Command::new("/bin/sh")
            .args(["-c", GUARD])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let guard_stdin = guard.stdin.take();
        let mut server = Self {
            guard,
            guard_stdin,
            endpoint: String::new(),
            _folder: folder,
        };
        server.endpoint = server.announced_endpoint(&output_path).await;
        server
    }

    /// The server takes a port that the system chose, and says which. Reading that instead of choosing one here
    /// leaves no moment in which another process could take it.
    async fn announced_endpoint(&mut self, output_path: &Path) -> String {
        eventually("moto_server says where it listens", START_DEADLINE, async || {
            let output = fs::read_to_string(output_path).unwrap();
            let ended = self.guard.try_wait().unwrap();
            assert!(ended.is_none(), "moto_server ended with {ended:?}:\n{output}");
            // The line is complete once its end is there.
            let (_, rest) = output.split_once("Running on ")?;
            let (endpoint, _) = rest.split_once('\n')?;
            Some(endpoint.trim().to_owned())
        })
        .await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.guard_stdin.take());
        // Ends at once: the guard kills the server when its input ends, and has nothing else to wait for.
        let _ = self.guard.wait();
    }
}

/// `UNDERSTUDY_MOTO_SERVER`, or where `scripts/moto-venv` puts it.
fn server_path() -> PathBuf {
    let path = match std::env::var_os("UNDERSTUDY_MOTO_SERVER") {
        Some(path) => PathBuf::from(path),
        None => {
            let cache = match std::env::var_os("UNDERSTUDY_CACHE") {
                Some(cache) => PathBuf::from(cache),
                None => {
                    PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/understudy")
                }
            };
            cache.join("moto-venv/bin/moto_server")
        }
    };
    assert!(
        path.is_file(),
        "moto is not installed: there is no {}. Run scripts/moto-venv, or set UNDERSTUDY_MOTO_SERVER to a moto_server",
        path.display()
    );
    path
}

fn parameters(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// Text of the first element of that name.
fn element<'a>(xml: &'a str, name: &str) -> &'a str {
    xml.split_once(&format!("<{name}>"))
        .and_then(|(_, rest)| rest.split_once(&format!("</{name}>")))
        .map(|(text, _)| text)
        .unwrap_or_else(|| panic!("no {name} in {xml}"))
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
