//! Where clients are told to connect, in a pool whose machines have a public and a private address.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use understudy::actors::clock::Clock;
use understudy::actors::context::World;
use understudy::actors::root::Node;
use understudy::assembly;
use understudy::config::ObsVia;
use understudy::domain::ids::InstanceId;
use understudy::domain::instance::{Instance, Launch, PowerChange};
use understudy::domain::vm::Status;
use understudy::infra::cloud::rest::RestCloud;
use understudy::infra::cloud::{Cloud, Error, StateChange, rest};
use understudy::infra::ledger::{self, Ledger};
use understudy::infra::template::Templates;
use understudy::infra::vault::Vault;
use understudy::infra::{obs, probe};

use crate::served::{Served, open, stage};
use crate::support::socketio::Script;

/// The simulated cloud, with public addresses that are not the private ones. Nothing listens on them: whoever
/// connects to one fails.
struct Facing(RestCloud);

fn public_of(private: IpAddr) -> IpAddr {
    match private {
        IpAddr::V4(private) => {
            let [_, _, c, d] = private.octets();
            Ipv4Addr::new(127, 254, c, d).into()
        }
        IpAddr::V6(_) => private,
    }
}

fn facing(mut instance: Instance) -> Instance {
    if instance.public_ip.is_some() {
        instance.public_ip = instance.private_ip.map(public_of);
    }
    instance
}

#[async_trait]
impl Cloud for Facing {
    async fn list(&self) -> Result<Vec<Instance>, Error> {
        Ok(self.0.list().await?.into_iter().map(facing).collect())
    }

    async fn describe(&self, instance: &InstanceId) -> Result<Option<Instance>, Error> {
        Ok(self.0.describe(instance).await?.map(facing))
    }

    async fn launch(&self, launch: &Launch) -> Result<Instance, Error> {
        self.0.launch(launch).await.map(facing)
    }

    async fn change(&self, instance: &InstanceId, change: PowerChange) -> Result<StateChange, Error> {
        self.0.change(instance, change).await
    }

    async fn tag(&self, instance: &InstanceId, tags: &[(String, String)]) -> Result<(), Error> {
        self.0.tag(instance, tags).await
    }
}

/// A pool that is reached at private addresses, as `cloud.address = "private"` has it.
async fn served(warm: u32) -> Served {
    let mut stage = stage(warm, 0).await;
    // There is no SSH in this world.
    stage.config.obs.via = ObsVia::Direct;
    let config = &stage.config;
    let cloud = rest::Config::new(stage.world.cloud_url(), config.pool.project.clone());
    let vault = Arc::new(Vault::ephemeral().unwrap());
    let world = World {
        cloud: Arc::new(Facing(RestCloud::new(cloud).unwrap())),
        probe: Arc::new(probe::HttpProbe::new().unwrap()),
        obs: Some(Arc::new(obs::ObwsConnector::new(Arc::clone(&vault)))),
        ssh: None,
        vault,
        archive: None,
        templates: Arc::new(Templates::load(None).unwrap()),
    };
    let ledger = Ledger::open(ledger::Options::new(config.ledger.path.clone())).unwrap();
    let options = assembly::options(config, understudy::config::operations::load(config).unwrap());
    let node = Node::start(Clock::system(), ledger, options, world, |_| None)
        .await
        .unwrap();
    let served = Served::by(node, stage, open()).await;
    served.until_available(warm as usize).await;
    served
}

/// Both addresses of a VM, as texts.
fn addresses(served: &Served, vm: &Value) -> (String, String) {
    let state = served.coordinator.state();
    let vm = state
        .vms()
        .find(|known| known.id.as_str() == vm.as_str().unwrap())
        .unwrap();
    let private = vm.instance.private_ip.unwrap();
    assert_ne!(vm.instance.public_ip, vm.instance.private_ip);
    (public_of(private).to_string(), format!("{private}:3003"))
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_private_pool_clients_are_sent_to_the_private_address_and_the_public_one_is_told_as_such() {
    let served = served(2).await;
    let mut script = Script::connected(&served.url(""), &json!({})).await;
    let assigned = served.post("/api/competitions/finals/vm/assign").await.is(200);
    let vm = &assigned["vmId"];
    let (public, private) = addresses(&served, vm);
    let told = script.event("vmAssigned").await;
    let view = served.get("/api/competitions/finals/vm").await.is(200);
    let record = served
        .get(&format!("/api/admin/vm-pool/{}", vm.as_str().unwrap()))
        .await
        .is(200);
    for (what, body) in [
        ("the answer", &assigned),
        ("the event", &told),
        ("the view", &view),
        ("the record", &record),
    ] {
        assert_eq!(body["vmAddress"], *private, "{what}: {body:#}");
        assert_eq!(body["publicIp"], *public, "{what}: {body:#}");
    }
    let again = served.post("/api/competitions/finals/vm/assign").await.is(400);
    assert_eq!(again["publicIp"], *public);
    let checked = served
        .post_json("/api/admin/vm-pool/health-check", &json!({"vmId": vm}))
        .await
        .is(200);
    assert_eq!(checked["results"][0]["publicIp"], *public);
    let status = served.get("/api/vm/finals/status").await.is(200);
    assert_eq!(status["online"], true);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_was_stopped_keeps_its_private_address_and_sends_nobody_there() {
    let served = served(1).await;
    let vm = served.a_vm(Status::Available);
    let path = format!("/api/admin/vm-pool/{vm}");
    served.post(&format!("{path}/stop")).await.is(200);
    served
        .until("it is off", |state| {
            (state.count(Status::Stopped) == 1).then_some(())
        })
        .await;
    let record = served.get(&path).await.is(200);
    assert!(record["privateIp"].is_string(), "{record:#}");
    assert_eq!(
        (&record["vmAddress"], &record["publicIp"]),
        (&Value::Null, &Value::Null)
    );
    served.stop().await;
}
