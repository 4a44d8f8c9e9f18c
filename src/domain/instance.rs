//! What the cloud says about a machine, in our words.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::ids::InstanceId;
use super::time::Timestamp;

/// Life of a cloud instance, as EC2 names it
/// (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    Pending,
    Running,
    Stopping,
    Stopped,
    ShuttingDown,
    Terminated,
}

impl InstanceState {
    /// EC2's own spelling.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
        }
    }

    /// EC2's numeric code of the state.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
            Self::Stopping => 64,
            Self::Stopped => 80,
        }
    }

    /// The machine is off and cannot be publishing anything.
    #[must_use]
    pub fn is_off(self) -> bool {
        match self {
            Self::Stopped | Self::Terminated => true,
            Self::Pending | Self::Running | Self::Stopping | Self::ShuttingDown => false,
        }
    }
}

/// One instance as the cloud last described it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    pub instance_id: InstanceId,
    /// The `Name` tag, if there is one.
    pub name: Option<String>,
    pub state: InstanceState,
    pub public_ip: Option<IpAddr>,
    pub private_ip: Option<IpAddr>,
    pub public_dns: Option<String>,
    pub private_dns: Option<String>,
    pub instance_type: Option<String>,
    pub launch_time: Option<Timestamp>,
    pub availability_zone: Option<String>,
    pub subnet_id: Option<String>,
    pub vpc_id: Option<String>,
    pub tags: BTreeMap<String, String>,
}

/// The cloud's word on one machine of the pool. That a list leaves a machine out is no word: a list may be
/// incomplete, and shows only what carries the pool's tags. What is missing is asked for by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sighting {
    /// It is there, with the pool's tags.
    Listed(Instance),
    /// It is there, but its tags no longer say that it is the pool's.
    Untagged(Instance),
    /// Asked for by its id, the cloud does not know it.
    NotFound,
}

impl Sighting {
    /// The instance, if there is one.
    #[must_use]
    pub fn instance(&self) -> Option<&Instance> {
        match self {
            Self::Listed(instance) | Self::Untagged(instance) => Some(instance),
            Self::NotFound => None,
        }
    }

    /// The state of the instance; `None` if the cloud does not know it.
    #[must_use]
    pub fn state(&self) -> Option<InstanceState> {
        self.instance().map(|instance| instance.state)
    }
}

/// What may be asked of a running or stopped instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerChange {
    Start,
    Stop,
    /// Stop without waiting for the operating system: the fence of last resort.
    ForceStop,
    Reboot,
    Terminate,
}

/// A new instance to launch. Image, network and key are the adapter's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// Makes a repeated request return the first one's instance where the cloud supports it.
    pub token: String,
    pub name: String,
    pub instance_type: Option<String>,
    /// Further tags; the pool's own (`Name`, `Project`, `ManagedBy`) win.
    pub tags: BTreeMap<String, String>,
}
