//! The venue's ingest, nginx with its RTMP module: the witness for who publishes, and what.
//!
//! A publisher is given a stream name of its own, the key and its address (the answer to `on_publish`). So the
//! ingest takes a second publisher of the same show instead of refusing it, and its bytes are seen apart.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Form;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::post;
use serde::Deserialize;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::LIMIT;
use super::network::{HERE, VENUE, attach};
use super::support::eventually::eventually;

const NAMESPACE: &str = "venue";
const STATISTICS_PORT: u16 = 8080;
/// Where this side is asked for the name of a publisher's stream.
const NAMES_PORT: u16 = 9000;
/// Pause between two looks at the statistics.
const LOOK_EVERY: Duration = Duration::from_millis(40);

/// One connection that publishes, by the ingest's number for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Publisher {
    client: u64,
    address: Ipv4Addr,
}

/// A look that found more bytes of a publisher than the one before: they came between the two.
#[derive(Debug, Clone, Copy)]
struct Rise {
    after: Instant,
    by: Instant,
    bytes: u64,
}

#[derive(Default)]
struct Seen {
    /// Rises of every publisher there ever was, in order.
    rises: BTreeMap<Publisher, Vec<Rise>>,
    /// Connections that publish now.
    now: Vec<Publisher>,
}

pub struct Ingest {
    seen: Arc<Mutex<Seen>>,
    watcher: JoinHandle<()>,
    _nginx: Child,
}

impl Ingest {
    pub async fn start(folder: &Path) -> Self {
        attach(NAMESPACE, VENUE).await;
        name_publishers().await;
        let configuration = folder.join("nginx.conf");
        std::fs::write(&configuration, nginx_configuration(folder)).unwrap();
        let nginx = Command::new("ip")
            .args(["netns", "exec", NAMESPACE, "nginx", "-e", "stderr", "-c"])
            .arg(&configuration)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(LIMIT)
            .build()
            .unwrap();
        eventually("the ingest answers", LIMIT, async || statistics(&http).await).await;
        let seen = Arc::<Mutex<Seen>>::default();
        let watcher = tokio::spawn(watch(http, Arc::clone(&seen)));
        Self {
            seen,
            watcher,
            _nginx: nginx,
        }
    }

    /// What OBS is told to stream to.
    pub fn server_url() -> String {
        format!("rtmp://{VENUE}/live")
    }

    /// What players are told to play: the show's stream as it comes from this machine.
    pub fn player_url(key: &str, from: Ipv4Addr) -> String {
        format!("{}/{}", Self::server_url(), stream_name(key, from))
    }

    /// Who publishes now.
    pub fn publishers(&self) -> Vec<Ipv4Addr> {
        let seen = self.seen.lock().unwrap();
        seen.now.iter().map(|one| one.address).collect()
    }

    /// Bytes that have come from this machine, over all of its connections.
    pub fn bytes_from(&self, address: Ipv4Addr) -> u64 {
        let seen = self.seen.lock().unwrap();
        let of = seen.rises.iter().filter(|(one, _)| one.address == address);
        of.filter_map(|(_, rises)| rises.last())
            .map(|rise| rise.bytes)
            .sum()
    }

    /// Waits until this machine publishes and more and more comes from it.
    pub async fn until_published_by(&self, address: Ipv4Addr) {
        let mut first = None;
        eventually(&format!("{address} publishes"), LIMIT, async || {
            self.check();
            let bytes = self.bytes_from(address);
            let first = *first.get_or_insert(bytes);
            (self.publishers().contains(&address) && bytes > first).then_some(())
        })
        .await;
    }

    /// Between the last bytes from one machine and the first from another: at least this long, at most that long.
    pub fn gap(&self, from: Ipv4Addr, to: Ipv4Addr) -> (Duration, Duration) {
        let seen = self.seen.lock().unwrap();
        let of = |address: Ipv4Addr| {
            let publishers = seen.rises.iter().filter(move |(one, _)| one.address == address);
            publishers.flat_map(|(_, rises)| rises.iter().copied())
        };
        let last = of(from).max_by_key(|rise| rise.by).expect("it has published");
        let first = of(to).min_by_key(|rise| rise.by).expect("it has published");
        (
            first.after.saturating_duration_since(last.by),
            first.by.saturating_duration_since(last.after),
        )
    }

    /// Every case in which bytes of one publisher came while another was publishing. Empty is what must be.
    pub fn overlaps(&self) -> Vec<String> {
        self.check();
        let seen = self.seen.lock().unwrap();
        let mut found = Vec::new();
        for (one, rises) in &seen.rises {
            let (Some(first), Some(last)) = (rises.first(), rises.last()) else {
                continue;
            };
            for (other, others) in seen.rises.iter().filter(|(other, _)| *other != one) {
                let within = |rise: &&Rise| rise.after >= first.by && rise.by <= last.after;
                let count = others.iter().filter(within).count();
                if count > 0 {
                    found.push(format!(
                        "{other:?} sent {count} times while {one:?} was publishing"
                    ));
                }
            }
        }
        found
    }

    /// Fails if watching the ingest has.
    fn check(&self) {
        assert!(
            !self.watcher.is_finished(),
            "nobody watches the ingest any more; see the panic above"
        );
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

fn stream_name(key: &str, from: Ipv4Addr) -> String {
    format!("{key}-{from}")
}

fn nginx_configuration(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
user root;
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{ listen {VENUE}:{STATISTICS_PORT}; location / {{ rtmp_stat all; }} }}
}}
rtmp {{
  server {{
    listen {VENUE}:1935;
    notify_method post;
    application live {{ live on; wait_key on; wait_video on; drop_idle_publisher 10s; on_publish http://{HERE}:{NAMES_PORT}/; }}
  }}
}}
"
    )
}

/// What nginx-rtmp tells of somebody who wants to publish.
#[derive(Deserialize)]
struct Wish {
    name: String,
    addr: Ipv4Addr,
}

/// Answers `on_publish` from now on: the name that the ingest keeps the stream under.
async fn name_publishers() {
    let answer = async |Form(wish): Form<Wish>| {
        let name = stream_name(&wish.name, wish.addr);
        (StatusCode::FOUND, [(header::LOCATION, name)]).into_response()
    };
    let listener = tokio::net::TcpListener::bind(SocketAddr::from((HERE, NAMES_PORT)));
    let listener = listener.await.unwrap();
    let routes = Router::new().route("/", post(answer));
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
}

async fn watch(http: reqwest::Client, seen: Arc<Mutex<Seen>>) {
    let mut before = Instant::now();
    let mut known: BTreeMap<Publisher, u64> = BTreeMap::new();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let asked = Instant::now();
        let statistics = statistics(&http).await.expect("the ingest answers");
        let answered = Instant::now();
        let found = publishers(&statistics);
        let mut seen = seen.lock().unwrap();
        for (publisher, bytes) in &found {
            if known.insert(publisher.clone(), *bytes).unwrap_or(0) < *bytes {
                let rise = Rise {
                    after: before,
                    by: answered,
                    bytes: *bytes,
                };
                seen.rises.entry(publisher.clone()).or_default().push(rise);
            }
        }
        seen.now = found.into_iter().map(|(publisher, _)| publisher).collect();
        before = asked;
    }
}

async fn statistics(http: &reqwest::Client) -> Option<String> {
    let url = format!("http://{VENUE}:{STATISTICS_PORT}/");
    http.get(url).send().await.ok()?.text().await.ok()
}

/// Who publishes by the ingest's statistics, with the bytes of each.
fn publishers(statistics: &str) -> Vec<(Publisher, u64)> {
    let mut found = Vec::new();
    for stream in statistics.split("<stream>").skip(1) {
        let bytes = element(stream, "bytes_in").expect("every stream has its bytes");
        for client in stream.split("<client>").skip(1) {
            let (client, _) = client.split_once("</client>").expect("it ends");
            if client.contains("<publishing/>") {
                let publisher = Publisher {
                    client: element(client, "id").unwrap().parse().unwrap(),
                    address: element(client, "address").unwrap().parse().unwrap(),
                };
                found.push((publisher, bytes.parse().unwrap()));
            }
        }
    }
    found
}

fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}
