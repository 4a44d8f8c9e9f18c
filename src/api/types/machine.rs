//! How a VM's services and its machine are, as clients read it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ssh::ExecReply;
use crate::actors::coordinator::CommandError;
use crate::domain::service::Standing;
use crate::domain::system_info::{SystemInfo, Usage, human_bytes, human_uptime};

/// The service to restart.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestartBody {
    /// `xvfb`, `obs-headless`, `show-server` or `nimble`.
    pub service: String,
}

/// How a service is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceView {
    pub service: &'static str,
    /// Its systemd unit on the VMs.
    pub unit: String,
    pub active: bool,
    /// `ActiveState/SubState` of systemd, `pm2/online`, or `not-found`.
    pub status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
}

/// How the restart of a service went, and how the service is since.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestartReply {
    #[serde(flatten)]
    pub result: ExecReply,
    pub service: &'static str,
    /// `null` if that could not be found out.
    pub active: Option<bool>,
    /// `unknown` if that could not be found out.
    pub status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Why `status` is `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_error: Option<String>,
}

impl RestartReply {
    #[must_use]
    pub fn new(result: ExecReply, service: &'static str, standing: Result<Standing, CommandError>) -> Self {
        let (active, status, pid, status_error) = match standing {
            Ok(standing) => (Some(standing.active), standing.status, standing.pid, None),
            Err(error) => (None, "unknown".to_owned(), None, Some(error.to_string())),
        };
        Self {
            result,
            service,
            active,
            status,
            pid,
            status_error,
        }
    }
}

/// The services of a VM.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServicesReply {
    pub vm_id: String,
    pub services: Vec<ServiceView>,
}

/// How a machine is: in words, and in numbers. What it did not say is absent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SystemInfoReply {
    pub vm_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "up 4 days, 1 hour")]
    pub uptime: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<UsageText>,
    /// Of the root file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<UsageText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "12.5%")]
    pub cpu: Option<String>,
    pub numbers: SystemNumbers,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageText {
    #[schema(example = "7.6Gi")]
    pub total: String,
    pub used: String,
    pub free: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SystemNumbers {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<UsageBytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<UsageBytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// Mean number of runnable processes over 1, 5 and 15 minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<[f64; 3]>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageBytes {
    pub total: u64,
    pub used: u64,
    /// What may still be taken.
    pub free: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_percent: Option<f64>,
}

impl From<Usage> for UsageText {
    fn from(usage: Usage) -> Self {
        Self {
            total: human_bytes(usage.total),
            used: human_bytes(usage.used),
            free: human_bytes(usage.free),
        }
    }
}

impl From<Usage> for UsageBytes {
    fn from(usage: Usage) -> Self {
        Self {
            total: usage.total,
            used: usage.used,
            free: usage.free,
            used_percent: usage.used_percent().map(tenth),
        }
    }
}

fn tenth(percent: f64) -> f64 {
    (percent * 10.0).round() / 10.0
}

impl SystemInfoReply {
    #[must_use]
    pub fn new(vm_id: String, info: SystemInfo) -> Self {
        Self {
            vm_id,
            uptime: info.uptime.map(human_uptime),
            memory: info.memory.map(Into::into),
            disk: info.disk.map(Into::into),
            cpu: info.cpu_percent.map(|percent| format!("{:.1}%", percent)),
            numbers: SystemNumbers {
                uptime_seconds: info.uptime.map(|uptime| uptime.as_secs_f64()),
                memory: info.memory.map(Into::into),
                disk: info.disk.map(Into::into),
                cpu_percent: info.cpu_percent.map(tenth),
                cpus: info.cpus,
                load: info.load,
            },
            hostname: info.hostname,
        }
    }
}
