//! A coordinator with its API over machines in memory, without sockets and in paused time: the same input does the same
//! thing again.

use std::error::Error;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::LengthLimitError;
use serde_json::Value;
use tower::ServiceExt as _;
use understudy::actors::clock::Clock;
use understudy::actors::context::World as Surroundings;
use understudy::actors::root::Node;
use understudy::api::{AuthMode, Options, Sockets, gateway::Gateway, router};
use understudy::assembly;
use understudy::config::{Address, Config, operations};
use understudy::domain::invariants::violations;
use understudy::domain::studio::Secret;
use understudy::domain::vm::Status;
use understudy::infra::cloud::guarded::Guarded;
use understudy::infra::ledger::Ledger;
use understudy::infra::template::Templates;
use understudy::infra::vault::Vault;
use understudy::sim::direct::world::BUCKET;
use understudy::sim::direct::{World, WorldConfig};

/// Longer than anything may take that is asked for; in virtual time. The longest is a command on a VM.
const PATIENCE: Duration = Duration::from_secs(3_600);
const LOOK: Duration = Duration::from_millis(20);
/// Largest answer: whole pools and the OpenAPI document are far below.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Limit of the guard around the cloud, as in production.
const CLOUD_LIMIT: Duration = Duration::from_secs(105);
/// Everything is sealed under it: the same input gives the same journal.
const VAULT_KEY: [u8; 32] = [7; 32];
pub const OPERATOR: &str = "0123456789abcdef-token";
const AS_OPERATOR: HeaderValue = HeaderValue::from_static("Bearer 0123456789abcdef-token");

/// The same for every input, and dear to read.
static TEMPLATES: LazyLock<Arc<Templates>> =
    LazyLock::new(|| Arc::new(Templates::load(None).expect("the built-in template")));

pub struct Stage {
    _world: World,
    node: Node,
    routes: Router,
    _sockets: Sockets,
    vms: Vec<String>,
}

/// Plays on a stage of its own, and takes it down.
pub fn play<T>(scene: impl AsyncFnOnce(&Stage) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime on this thread");
    runtime.block_on(async {
        let stage = Stage::set().await;
        let played = scene(&stage).await;
        stage.check().await;
        stage.node.stop().await.expect("a ledger in memory closes");
        played
    })
}

impl Stage {
    async fn set() -> Self {
        let world = World::start(WorldConfig::default()).expect("a world");
        let config = configuration(&world);
        let vault = Arc::new(Vault::with_key(&VAULT_KEY).expect("a key"));
        let parts = world.parts(&vault);
        let surroundings = Surroundings {
            cloud: Arc::new(Guarded::new(parts.cloud, CLOUD_LIMIT)),
            probe: parts.probe,
            obs: Some(parts.obs),
            ssh: Some(parts.ssh),
            archive: Some(parts.archive),
            vault,
            templates: Arc::clone(&TEMPLATES),
        };
        let operations = operations::load(&config).expect("the built-in operations");
        let node = Node::start(
            Clock::starting_at(world.clock().now()),
            Ledger::in_memory(),
            assembly::options(&config, operations),
            surroundings,
            |_| None,
        )
        .await
        .expect("a tree");
        let options = Options {
            auth: AuthMode::Required,
            admin_token: Some(Secret::new(OPERATOR)),
            ..Options::default()
        };
        let (routes, sockets) = router(&Gateway::new(options, node.coordinator()));
        let mut stage = Self {
            _world: world,
            node,
            routes,
            _sockets: sockets,
            vms: Vec::new(),
        };
        stage.until_ready().await;
        stage
    }

    /// Until everybody is known and somebody is there to be assigned.
    async fn until_ready(&mut self) {
        let (coordinator, sim) = (self.node.coordinator(), self._world.config());
        let (all, warm) = ((sim.warm + sim.cold) as usize, sim.warm as usize);
        let ready = async {
            loop {
                let state = coordinator.state();
                if state.vms().count() == all && state.count(Status::Available) == warm {
                    break;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(PATIENCE, ready)
            .await
            .expect("no VM became available");
        let state = coordinator.state();
        let mut vms: Vec<_> = state.vms().collect();
        vms.sort_by_key(|vm| (vm.status() != Status::Available, vm.id.clone()));
        self.vms = vms.iter().map(|vm| vm.id.to_string()).collect();
    }

    /// The text with `VM-1`, `VM-2` and so on as the ids of the pool's VMs, which follow from the world's seed: first
    /// those that are available.
    pub fn named(&self, text: &str) -> String {
        let numbered = self.vms.iter().zip(1..);
        numbered.fold(text.to_owned(), |text, (id, number)| {
            text.replace(&format!("VM-{number}"), id)
        })
    }

    /// The whole answer to a request, of an operator unless it says who asks.
    pub async fn ask(&self, mut request: Request<Body>) -> (StatusCode, Vec<u8>) {
        let headers = request.headers_mut();
        headers.entry(header::AUTHORIZATION).or_insert(AS_OPERATOR);
        let answer = async {
            let Ok(response) = self.routes.clone().oneshot(request).await;
            let (head, body) = response.into_parts();
            (head.status, whole(body).await)
        };
        tokio::time::timeout(PATIENCE, answer)
            .await
            .expect("a request was never answered")
    }

    /// Whatever was asked, the coordinator lives, and its state is sound.
    async fn check(&self) {
        assert!(self.node.is_standing(), "the tree has fallen");
        let alive = Request::get("/healthz").body(Body::empty()).expect("a request");
        assert_eq!(self.ask(alive).await.0, StatusCode::OK);
        assert_eq!(violations(&self.node.coordinator().state()), Vec::<String>::new());
    }
}

/// Nothing of an answer that breaks off, as that of a file may.
async fn whole(body: Body) -> Vec<u8> {
    match to_bytes(body, ANSWER_BYTES_MAX).await {
        Ok(body) => body.to_vec(),
        Err(error) => {
            let is_endless = error.source().is_some_and(<dyn Error>::is::<LengthLimitError>);
            assert!(!is_endless, "an answer is longer than {ANSWER_BYTES_MAX} bytes");
            Vec::new()
        }
    }
}

fn configuration(world: &World) -> Config {
    let sim = world.config();
    let mut config = Config::default();
    config.pool.project.clone_from(&sim.project);
    config.cloud.address = Address::Private;
    config.vm.service_port = sim.ports.status;
    config.vm.obs_port = sim.ports.obs;
    config.vm.ssh_port = sim.ports.ssh;
    config.obs.password.clone_from(&sim.obs_password);
    config.archive.bucket = Some(BUCKET.to_owned());
    config.ssh.allow_free_commands = true;
    config
}

/// What must hold of every answer: nothing of ours broke, and a refusal says why.
pub fn judge(what: &str, status: StatusCode, body: &[u8]) {
    assert_ne!(
        status,
        StatusCode::INTERNAL_SERVER_ERROR,
        "{what}: {}",
        String::from_utf8_lossy(body)
    );
    if status.is_client_error() || status.is_server_error() {
        let told = serde_json::from_slice::<Value>(body)
            .ok()
            .and_then(|json| json["error"].as_str().map(str::to_owned));
        assert!(
            told.is_some_and(|told| !told.is_empty()),
            "{what}: {status} says no reason"
        );
    }
}
