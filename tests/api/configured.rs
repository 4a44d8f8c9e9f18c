//! What the configuration says, over the gateway as `understudy serve` starts it.

use serde_json::{Value, json};
use understudy::actors::root::Node;
use understudy::cli::gateway::Gateway;
use understudy::config::Config;
use understudy::rehearsal::stage::{Setting, Stage};
use understudy::sim::wire::Ports;
use understudy::sim::world::WorldConfig;

use crate::served::{LIMIT, LOOK};

/// A coordinator with its gateway, both from one configuration.
struct Configured {
    stage: Stage,
    gateway: Gateway,
    node: Node,
}

impl Configured {
    async fn start(world: WorldConfig, mut base: Config) -> Self {
        base.server.listen.set_port(0);
        let stage = Stage::set(Setting { world, base }).await.unwrap();
        let gateway = Gateway::bind(&stage.config).unwrap();
        let node = stage
            .coordinator(|coordinator| Some(gateway.spec(coordinator)))
            .await
            .unwrap();
        Self { stage, gateway, node }
    }

    /// What is answered, as text and as JSON.
    async fn get(&self, path: &str) -> (String, Value) {
        let http = reqwest::Client::builder().timeout(LIMIT).build().unwrap();
        let url = format!("http://{}{path}", self.gateway.address());
        let text = http.get(url).send().await.unwrap().text().await.unwrap();
        let json = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        (text, json)
    }

    async fn stop(self) {
        self.gateway.close(LIMIT).await;
        self.node.stop().await.unwrap();
    }
}

const CONFIG: &str = "/api/admin/vm-pool/config";

#[tokio::test(flavor = "multi_thread")]
async fn what_launches_use_is_shown_as_it_is_configured_and_of_secrets_only_that_they_are() {
    let mut base = Config::default();
    base.cloud.security_group_id = Some("sg-0a1b2c3d".into());
    base.cloud.subnet_id = Some("subnet-0a1b2c3d".into());
    base.cloud.key_pair_name = Some("crew".into());
    let configured = Configured::start(WorldConfig::for_test(0, 0), base).await;
    let (text, shown) = configured.get(CONFIG).await;
    for (field, expected) in [
        ("securityGroupId", json!("sg-0a1b2c3d")),
        ("subnetId", json!("subnet-0a1b2c3d")),
        ("keyPairName", json!("crew")),
        ("obsPasswordConfigured", json!(true)),
        ("sshKeyConfigured", json!(true)),
    ] {
        assert_eq!(shown[field], expected, "{field}");
    }
    let config = &configured.stage.config;
    let key = config.ssh.key_path.as_ref().unwrap().display().to_string();
    for secret in [config.obs.password.as_ref().unwrap().expose(), &key] {
        assert!(!text.contains(secret), "{text}");
    }
    configured.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_configured_is_shown_as_missing_and_the_key_pair_by_its_default() {
    let world = WorldConfig {
        obs_password: None,
        ..WorldConfig::for_test(0, 0)
    };
    let configured = Configured::start(world, Config::default()).await;
    let (_, shown) = configured.get(CONFIG).await;
    assert_eq!(
        (&shown["securityGroupId"], &shown["subnetId"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(shown["keyPairName"], "understudy-sim-key-pair");
    assert_eq!(shown["obsPasswordConfigured"], false);
    configured.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ports_of_a_vms_services_are_those_configured() {
    let world = WorldConfig {
        ports: Ports {
            status: 3103,
            obs: 4555,
            ssh: 2322,
        },
        ..WorldConfig::for_test(1, 0)
    };
    let configured = Configured::start(world, Config::default()).await;
    let services = async {
        loop {
            let (_, pool) = configured.get("/api/admin/vm-pool").await;
            let services = &pool["vms"][0]["services"];
            if services["nodeServer"].is_object() && services["obsWebsocket"].is_object() {
                return services.clone();
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let services = tokio::time::timeout(LIMIT, services)
        .await
        .expect("the services are not seen in time");
    assert_eq!(services["nodeServer"]["port"], 3103);
    assert_eq!(services["obsWebsocket"]["port"], 4555);
    configured.stop().await;
}
