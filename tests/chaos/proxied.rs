//! A network that is slow, drips, goes mute or resets, between the program and its VMs: each channel on its own, each
//! direction. No actor hangs on it, deadlines hold, and the verdict is the right one: a channel that is cut is no studio
//! that is lost.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use understudy::domain::ids::ShowId;
use understudy::rehearsal::stage::Stage;

use crate::LIMIT;
use crate::process::{Launch, Process};
use crate::report::Report;
use crate::scene::{self, is_on_air, key, moves, never_two_publishers, on_air, until_on_air};
use crate::support::eventually::eventually;
use crate::support::proxy::{Direction, Proxy, Way};
use understudy::sim::world::WorldConfig;

/// A way to a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Channel {
    Probe,
    Obs,
    Ssh,
}

const ALL: [Channel; 3] = [Channel::Probe, Channel::Obs, Channel::Ssh];

/// Proxies stand on the VM's own address, this much above its port.
const ABOVE: u16 = 10_000;
/// Longer than every deadline by which a failure is told: with the defaults 3 s of silence, 2 s for a call.
const LONG: Duration = Duration::from_secs(9);

/// What is done to a show's VM.
struct Trouble {
    name: &'static str,
    channels: &'static [Channel],
    direction: Option<Direction>,
    way: Way,
}

const fn trouble(
    name: &'static str,
    channels: &'static [Channel],
    direction: Option<Direction>,
    way: Way,
) -> Trouble {
    Trouble {
        name,
        channels,
        direction,
        way,
    }
}

/// A pool whose VMs are all reached through proxies.
struct Detour {
    stage: Arc<Stage>,
    process: Process,
    proxies: BTreeMap<(std::net::IpAddr, Channel), Proxy>,
}

impl Detour {
    async fn set(warm: u32, via: &str) -> Self {
        let stage = scene::set(WorldConfig::for_test(warm, 0), |_| {}).await;
        let ports = stage.world.config().ports;
        let port = |channel| match channel {
            Channel::Probe => ports.status,
            Channel::Obs => ports.obs,
            Channel::Ssh => ports.ssh,
        };
        // Through SSH, the studio is where the machine itself has it.
        let obs = if via == "ssh" {
            ports.obs
        } else {
            ports.obs + ABOVE
        };
        let mut proxies = BTreeMap::new();
        for instance in stage.world.instances() {
            let ip = instance.private_ip.expect("a running instance has an address");
            for channel in ALL {
                let target = SocketAddr::new(ip, port(channel));
                let listen = SocketAddr::new(ip, port(channel) + ABOVE);
                proxies.insert((ip, channel), Proxy::start(listen, target).await);
            }
        }
        let launch = Launch {
            environment: vec![
                key("VM__SERVICE_PORT", &(ports.status + ABOVE).to_string()),
                key("VM__SSH_PORT", &(ports.ssh + ABOVE).to_string()),
                key("VM__OBS_PORT", &obs.to_string()),
                key("OBS__VIA", via),
            ],
            ..Launch::default()
        };
        let process = Process::start(&stage, launch).await;
        process.until_count("available", u64::from(warm)).await;
        Self {
            stage,
            process,
            proxies,
        }
    }

    async fn apply(&self, show: &ShowId, trouble: &Trouble) {
        let instance = scene::instance(&self.process, show.as_str()).await;
        let instance = self.stage.world.instance(&instance).expect("it is in the cloud");
        let ip = instance.private_ip.expect("it has an address");
        for channel in trouble.channels {
            let proxy = &self.proxies[&(ip, *channel)];
            match trouble.direction {
                None => proxy.set(trouble.way),
                Some(direction) => proxy.set_one(direction, trouble.way),
            }
        }
    }

    fn heal(&self) {
        for proxy in self.proxies.values() {
            proxy.set(Way::Open);
        }
    }

    /// Puts a show on air for each trouble, and then all of them in trouble at once.
    async fn in_trouble(&self, troubles: &[Trouble]) -> Vec<ShowId> {
        let mut shows = Vec::new();
        for number in 0..troubles.len() {
            shows.push(on_air(&self.stage, &self.process, &format!("show-{number}")).await);
        }
        for (show, trouble) in shows.iter().zip(troubles) {
            self.apply(show, trouble).await;
        }
        shows
    }
}

/// Troubles that take no studio off the air. Each is on one channel alone, or slow.
const HARMLESS: &[Trouble] = &[
    trouble(
        "slow everywhere, 200 ms each way",
        &ALL,
        None,
        Way::Delayed(Duration::from_millis(200)),
    ),
    trouble("show server mute", &[Channel::Probe], None, Way::Mute),
    trouble(
        "show server dripping",
        &[Channel::Probe],
        None,
        Way::Dripping(Duration::from_millis(50)),
    ),
    trouble("SSH mute, and OBS with it", &[Channel::Ssh], None, Way::Mute),
    trouble(
        "SSH mute towards the VM",
        &[Channel::Ssh],
        Some(Direction::There),
        Way::Mute,
    ),
    trouble(
        "SSH mute from the VM",
        &[Channel::Ssh],
        Some(Direction::Back),
        Way::Mute,
    ),
    trouble("SSH reset, again and again", &[Channel::Ssh], None, Way::Reset),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_way_to_a_vm_that_fails_is_no_studio_that_is_lost() {
    let shows = HARMLESS.len();
    let detour = Detour::set(u32::try_from(shows).unwrap() + 1, "ssh").await;
    let shows = detour.in_trouble(HARMLESS).await;
    // The trouble itself: nothing is to happen for so long.
    tokio::time::sleep(LONG).await;
    let mut report = Report::new("proxied-harmless", "A bad network to one VM (OBS through SSH)");
    for (show, trouble) in shows.iter().zip(HARMLESS) {
        let (finished, current) = moves(&detour.process, show.as_str()).await.expect("it answers");
        assert!(
            finished.is_empty() && current.is_null(),
            "{}: {finished:#?} {current}",
            trouble.name
        );
        // Its bytes go on, whatever is known of that here.
        let stream = understudy::rehearsal::stage::stream_key(show);
        assert_eq!(
            detour.stage.world.ingest().publishers(&stream).len(),
            1,
            "{}",
            trouble.name
        );
        report.line(&format!(
            "{} for {LONG:?}: not moved, on air all the time",
            trouble.name
        ));
    }
    detour.heal();
    // Whatever was cut is there again: a studio that crashes now is noticed and replaced.
    for show in &shows {
        eventually(
            &format!("the studio of {show} answers again"),
            LIMIT,
            async || {
                let instance = scene::instance(&detour.process, show.as_str()).await;
                let pool = detour.process.client.get("/api/admin/vm-pool").await;
                let vms = pool.done()?["vms"].as_array()?.clone();
                let vm = vms.into_iter().find(|vm| vm["instanceId"] == instance.as_str())?;
                (vm["services"]["obs"] == true && vm["services"]["node"] == true).then_some(())
            },
        )
        .await;
        until_on_air(&detour.stage, &detour.process, show).await;
    }
    never_two_publishers(&detour.stage);
    report.line("healed: every channel is connected again by itself");
    report.passed();
}

/// Troubles after which a show must be on air elsewhere, and what the program is to call them.
const FATAL: &[(Trouble, &str)] = &[
    (
        trouble("OBS mute", &[Channel::Obs], None, Way::Mute),
        "studio-lost",
    ),
    (
        trouble(
            "OBS mute from the VM",
            &[Channel::Obs],
            Some(Direction::Back),
            Way::Mute,
        ),
        "studio-lost",
    ),
    (trouble("everything mute", &ALL, None, Way::Mute), "machine-lost"),
    (
        trouble(
            "everything mute from the VM",
            &ALL,
            Some(Direction::Back),
            Way::Mute,
        ),
        "machine-lost",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_studio_that_cannot_be_reached_directly_is_replaced_and_fenced() {
    let count = u32::try_from(FATAL.len()).unwrap();
    let detour = Detour::set(count * 2, "direct").await;
    let mut shows = Vec::new();
    for (number, _) in FATAL.iter().enumerate() {
        shows.push(on_air(&detour.stage, &detour.process, &format!("show-{number}")).await);
    }
    for (show, (trouble, _)) in shows.iter().zip(FATAL) {
        detour.apply(show, trouble).await;
    }
    let mut report = Report::new("proxied-fatal", "A VM that cannot be reached (OBS direct)");
    for (show, (trouble, cause)) in shows.iter().zip(FATAL) {
        let moved = eventually(&format!("{show} moved: {}", trouble.name), LIMIT, async || {
            let (finished, _) = moves(&detour.process, show.as_str()).await?;
            finished.into_iter().next()
        })
        .await;
        assert_eq!(moved["cause"], *cause, "{}: {moved}", trouble.name);
        assert_eq!(moved["ending"], "on-air", "{}: {moved}", trouble.name);
        until_on_air(&detour.stage, &detour.process, show).await;
        report.line(&format!(
            "{}: {cause}, fenced by {}, off air {} ms",
            trouble.name, moved["fence"], moved["timeline"]["offAirMs"]
        ));
    }
    for show in &shows {
        assert_eq!(is_on_air(&detour.stage, &detour.process, show).await, Ok(()));
    }
    never_two_publishers(&detour.stage);
    report.passed();
}
