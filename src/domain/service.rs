//! The services of a VM and what systemd says of them.

use super::unix::UnitName;

/// What runs on a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// The virtual display.
    Display,
    Obs,
    ShowServer,
    Nimble,
}

impl Service {
    pub const ALL: [Self; 4] = [Self::Display, Self::Obs, Self::ShowServer, Self::Nimble];

    /// The name that clients use, whatever its unit is called on a VM.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Display => "xvfb",
            Self::Obs => "obs-headless",
            Self::ShowServer => "show-server",
            Self::Nimble => "nimble",
        }
    }

    /// The operation that restarts it.
    #[must_use]
    pub fn restart_operation(self) -> &'static str {
        match self {
            Self::Display => "RESTART_DISPLAY",
            Self::Obs => "RESTART_OBS",
            Self::ShowServer => "RESTART_SHOW_SERVER",
            Self::Nimble => "RESTART_NIMBLE",
        }
    }
}

/// What the services are called on the VMs of this installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Units {
    pub display: UnitName,
    pub obs: UnitName,
    pub show_server: UnitName,
    pub nimble: UnitName,
    /// The show server's process where it runs under PM2.
    pub pm2_process: String,
}

impl Units {
    #[must_use]
    pub fn of(&self, service: Service) -> &UnitName {
        match service {
            Service::Display => &self.display,
            Service::Obs => &self.obs,
            Service::ShowServer => &self.show_server,
            Service::Nimble => &self.nimble,
        }
    }

    /// The service that clients, or the VMs, call this.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Service> {
        Service::ALL
            .into_iter()
            .find(|service| service.as_str() == name || self.of(*service).as_str() == name)
    }
}

/// How a service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub active: bool,
    /// `active/running` as systemd has it (`ActiveState/SubState`), `pm2/online` under PM2, `not-found` if there is
    /// neither.
    pub status: String,
    pub pid: Option<u32>,
}

/// The words that make systemd say how these units are, for [`standings`].
pub fn show_command<'a>(units: impl IntoIterator<Item = &'a UnitName>) -> Vec<String> {
    let options = [
        "systemctl",
        "show",
        "--no-pager",
        "--property=LoadState,ActiveState,SubState,MainPID",
    ];
    let units = units.into_iter().map(|unit| unit.as_str().to_owned());
    options.into_iter().map(str::to_owned).chain(units).collect()
}

/// What `systemctl show` said: a block per unit, in the order in which they were asked for, with an empty line between.
/// Its properties come in an order of its own. What it left out is unknown.
#[must_use]
pub fn standings(printed: &str) -> Vec<Standing> {
    let text = printed.replace("\r\n", "\n");
    text.trim_end()
        .split("\n\n")
        .filter(|block| !block.trim().is_empty())
        .map(standing)
        .collect()
}

fn standing(block: &str) -> Standing {
    let property = |name: &str| {
        block
            .lines()
            .find_map(|line| line.split_once('=').filter(|(key, _)| *key == name))
            .map(|(_, value)| value.trim())
    };
    let (active, sub) = (
        property("ActiveState").unwrap_or("unknown"),
        property("SubState").unwrap_or("unknown"),
    );
    let status = match property("LoadState") {
        Some(missing @ ("not-found" | "masked")) => missing.to_owned(),
        Some(_) | None => format!("{active}/{sub}"),
    };
    Standing {
        active: active == "active",
        status,
        // systemd says 0 for none.
        pid: property("MainPID")
            .and_then(|pid| pid.parse().ok())
            .filter(|pid| *pid > 0),
    }
}

/// What `pm2 pid NAME` said: the process id, or nothing or 0 where there is none.
#[must_use]
pub fn under_pm2(printed: &str) -> Option<Standing> {
    let pid: u32 = printed
        .split_whitespace()
        .last()?
        .parse()
        .ok()
        .filter(|pid| *pid > 0)?;
    Some(Standing {
        active: true,
        status: "pm2/online".to_owned(),
        pid: Some(pid),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// systemd 252 on Debian 12, for a unit that runs, one that failed and one that is not there.
    const SHOWN: &str = "MainPID=1204\nLoadState=loaded\nActiveState=active\nSubState=running\n\n\
                         MainPID=0\nLoadState=loaded\nActiveState=failed\nSubState=failed\n\n\
                         MainPID=0\nLoadState=not-found\nActiveState=inactive\nSubState=dead\n";

    #[test]
    fn each_unit_is_read_from_its_own_block() {
        let all = standings(SHOWN);
        let expected = [
            (true, "active/running", Some(1_204)),
            (false, "failed/failed", None),
            (false, "not-found", None),
        ];
        assert_eq!(all.len(), 3);
        for (standing, (active, status, pid)) in all.iter().zip(expected) {
            assert_eq!(
                (standing.active, standing.status.as_str(), standing.pid),
                (active, status, pid)
            );
        }
    }

    #[test]
    fn nothing_is_made_of_what_is_missing() {
        assert_eq!(standings(""), []);
        assert_eq!(
            standings("ActiveState=activating")[0].status,
            "activating/unknown"
        );
        assert!(!standings("nonsense")[0].active);
    }

    #[test]
    fn pm2_says_a_process_id_or_nothing_of_use() {
        assert_eq!(under_pm2("48151\n").unwrap().pid, Some(48_151));
        for none in ["", "0\n", "\n", "[PM2] Spawning PM2 daemon\n"] {
            assert_eq!(under_pm2(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_service_is_found_by_the_clients_name_and_by_its_units() {
        let units = Units {
            display: UnitName::known("xvfb"),
            obs: UnitName::known("obs@main"),
            show_server: UnitName::known("show-server"),
            nimble: UnitName::known("nimble"),
            pm2_process: "obs-vm-server".to_owned(),
        };
        assert_eq!(units.find("obs-headless"), Some(Service::Obs));
        assert_eq!(units.find("obs@main"), Some(Service::Obs));
        assert_eq!(units.find("sshd"), None);
        let command = show_command(Service::ALL.map(|service| units.of(service)));
        assert_eq!(command[4..], ["xvfb", "obs@main", "show-server", "nimble"]);
    }
}
