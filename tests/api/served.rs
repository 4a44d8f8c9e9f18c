//! A coordinator with its gateway on a free port of loopback, over a simulated world.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use understudy::actors::coordinator::Coordinator;
use understudy::actors::root::Node;
use understudy::api::{self, AuthMode, Options, ServeError};
use understudy::config::Config;
use understudy::domain::state::State;
use understudy::domain::vm::Status;
use understudy::rehearsal::stage::{Setting, Stage};
use understudy::sim::world::WorldConfig;

/// Limit on anything that is waited for. A quick world is done long before; a loaded machine is not.
pub const LIMIT: Duration = Duration::from_secs(30);
/// Between two looks at a state that nobody announces.
pub const LOOK: Duration = Duration::from_millis(10);

pub struct Served {
    pub address: SocketAddr,
    pub coordinator: Coordinator,
    pub stage: Stage,
    node: Node,
    http: reqwest::Client,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), ServeError>>,
}

/// Nobody is asked who they are; everything else as by default.
pub fn open() -> Options {
    Options {
        auth: AuthMode::Open,
        cors_origins: vec!["*".to_owned()],
        ..Options::default()
    }
}

/// A simulated world with so many running and stopped machines, and a pool that keeps none warm.
pub async fn stage(warm: u32, cold: u32) -> Stage {
    let mut base = Config::default();
    base.pool.warm_count = 0;
    base.pool.max_instances = 1_000;
    base.pool.max_concurrent = 1_000;
    base.pool.health_check_interval = Duration::from_secs(5);
    base.cloud.sweep_interval = Duration::from_secs(1);
    let world = WorldConfig::for_test(warm, cold);
    Stage::set(Setting { world, base }).await.unwrap()
}

impl Served {
    /// So many running and stopped machines; the pool keeps none warm on its own account, so that nothing
    /// starts unasked. Ready when every running one is available.
    pub async fn with(warm: u32, cold: u32) -> Self {
        Self::with_options(warm, cold, open()).await
    }

    pub async fn with_options(warm: u32, cold: u32, options: Options) -> Self {
        // Each holds a configuration or two, and is within every test's own future.
        let stage = Box::pin(stage(warm, cold)).await;
        let served = Box::pin(Self::over(stage, options)).await;
        served.until_available(warm as usize).await;
        served
    }

    /// Over a stage as it is, right after it began to listen.
    pub async fn over(stage: Stage, options: Options) -> Self {
        let node = stage.coordinator(|_| None).await.unwrap();
        Self::by(node, stage, options).await
    }

    /// By a tree that was put together elsewhere.
    pub async fn by(node: Node, stage: Stage, options: Options) -> Self {
        let coordinator = node.coordinator();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(api::serve(options, coordinator.clone(), [listener], async {
            let _ = stopped.await;
        }));
        let http = reqwest::Client::builder().timeout(LIMIT).build().unwrap();
        Self {
            address,
            coordinator,
            stage,
            node,
            http,
            stop,
            serving,
        }
    }

    /// Ends serving as a signal would, and the tree after it.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        self.serving.await.unwrap().unwrap();
        self.node.stop().await.unwrap();
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url(path))
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str) -> Answer {
        send(self.request(Method::POST, path)).await
    }

    pub async fn post_json(&self, path: &str, body: &Value) -> Answer {
        send(self.request(Method::POST, path).json(body)).await
    }

    pub async fn put_json(&self, path: &str, body: &Value) -> Answer {
        send(self.request(Method::PUT, path).json(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        send(self.request(Method::DELETE, path)).await
    }

    /// Waits until the ledger says so.
    pub async fn until<T>(&self, what: &str, look: impl Fn(&State) -> Option<T>) -> T {
        let wait = async {
            loop {
                if let Some(found) = look(&self.coordinator.state()) {
                    return found;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(LIMIT, wait)
            .await
            .unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}"))
    }

    pub async fn until_available(&self, count: usize) {
        // Also with none: the first look at the cloud has then been folded in.
        let ready = async {
            while !self.coordinator.readiness().initialized {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(LIMIT, ready)
            .await
            .expect("the pool is not initialized in time");
        let what = format!("{count} VMs available");
        self.until(&what, |state| {
            (state.count(Status::Available) >= count).then_some(())
        })
        .await;
    }

    /// Some VM with this status.
    pub fn a_vm(&self, status: Status) -> String {
        let state = self.coordinator.state();
        let vm = state.with_status(status).next();
        vm.unwrap_or_else(|| panic!("no VM is {status}")).id.to_string()
    }
}

/// What came back, read as JSON.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    #[track_caller]
    pub fn is(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{:#}", self.body);
        self.body
    }

    /// An error in the one shape, with this status and code.
    #[track_caller]
    pub fn refuses(self, status: u16, code: &str) -> Value {
        assert_eq!(self.body["code"], code, "{:#}", self.body);
        assert!(self.body["error"].is_string(), "{:#}", self.body);
        self.is(status)
    }
}

pub async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.unwrap();
    let body = if status == StatusCode::NO_CONTENT || text.is_empty() {
        Value::Null
    } else {
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{status}: {error}: {text}"))
    };
    Answer {
        status: status.as_u16(),
        headers,
        body,
    }
}
