//! Alerts on the wire.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Iso, Ms};
use crate::actors::news::{Alert, Level};

/// The latest alerts. They are not durable: a restart forgets them, and begins to number anew.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertsReply {
    /// Oldest first.
    pub alerts: Vec<AlertView>,
    /// What to ask for as `after` to get what is newer.
    pub next: u64,
    /// When this coordinator was started: numbers from before it mean nothing.
    pub started_at: Ms,
    /// The coordinator's clock.
    pub now: Ms,
}

/// One alert.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertView {
    /// From 1, in the order in which they rang.
    pub number: u64,
    /// `critical warning info`
    pub level: &'static str,
    /// Same condition, same source.
    #[schema(example = "vm-failover-finals")]
    pub source_id: String,
    pub title: String,
    pub message: String,
    /// `null` if it is about no competition.
    pub competition_id: Option<String>,
    /// `null` if it is about no VM.
    pub vm_id: Option<String>,
    pub created_at: Iso,
    pub timestamp: Ms,
}

/// As on the wire.
#[must_use]
pub fn level_word(level: Level) -> &'static str {
    match level {
        Level::Critical => "critical",
        Level::Warning => "warning",
        Level::Info => "info",
    }
}

impl AlertView {
    #[must_use]
    pub fn of(number: u64, alert: Alert) -> Self {
        Self {
            number,
            level: level_word(alert.level),
            source_id: alert.source,
            title: alert.title,
            message: alert.message,
            competition_id: alert.show.map(|show| show.to_string()),
            vm_id: alert.vm.map(|vm| vm.to_string()),
            created_at: Iso(alert.at),
            timestamp: Ms::from(alert.at),
        }
    }
}
