//! Whom a step strikes: targets as they are written, and what is said of one that is none.

use super::error::{Mistake, suggestion};
use super::form::{Form, Source};
use super::{Machines, Shows, Which};
use crate::config::nearest;

const TARGETS: &str = "\"show:NAME\" or \"show:*\" (the VM a show is on), \"vm:spare\", \"vm:*\", \"zone:NAME\", \
    \"zone-of:SHOW\", \"cloud\", \"ingest\", \"vm-actor:SHOW\", \"show-actor:SHOW\" or \"coordinator\"";

/// A target before it is known whether it goes with what happens there.
pub(super) enum Target {
    Machines(Machines),
    Cloud,
    Ingest,
    VmActor(Which),
    ShowActor(Which),
    Coordinator,
}

/// What the steps may name.
pub(super) struct Known<'s> {
    zones: &'s [String],
    shows: &'s Shows,
}

impl<'s> Known<'s> {
    pub(super) fn new(zones: &'s [String], shows: &'s Shows) -> Self {
        Self { zones, shows }
    }

    /// Reads a step's target; what is wrong with it is noted.
    pub(super) fn target(&self, form: &mut Form<'_>, source: &mut Source) -> Option<Target> {
        let allowed = TARGETS;
        let (line, text) = form.need(source, "target", allowed, |given| {
            given.text().map(|text| (given.line, text))
        })?;
        match self.of(text) {
            Ok(target) => Some(target),
            Err(why) => {
                let (key, given) = (form.key("target"), text.to_owned());
                source.wrong(line, Mistake::Target { key, given, why });
                None
            }
        }
    }

    fn of(&self, text: &str) -> Result<Target, String> {
        let (kind, which) = text.split_once(':').unwrap_or((text, ""));
        Ok(match (kind, which) {
            ("cloud", "") => Target::Cloud,
            ("ingest", "") => Target::Ingest,
            ("coordinator", "") => Target::Coordinator,
            ("vm", "spare") => Target::Machines(Machines::Spare),
            ("vm", "*") => Target::Machines(Machines::All),
            ("zone", zone) => Target::Machines(Machines::Zone(self.zone(zone)?)),
            ("zone-of", _) => match self.which(kind, which)? {
                Which::One(show) => Target::Machines(Machines::ZoneOf(show)),
                Which::Every => return Err("it must be the zone of one show: \"zone-of:SHOW\"".to_owned()),
            },
            ("show", _) => Target::Machines(Machines::OfShow(self.which(kind, which)?)),
            ("vm-actor", _) => Target::VmActor(self.which(kind, which)?),
            ("show-actor", _) => Target::ShowActor(self.which(kind, which)?),
            _ => return Err(format!("it must be {TARGETS}")),
        })
    }

    fn zone(&self, name: &str) -> Result<String, String> {
        let known = self.zones.iter().find(|known| *known == name);
        known
            .cloned()
            .ok_or_else(|| none("zone", name, "zone", self.zones))
    }

    /// A show can be named only where shows have names: how many there are otherwise is for whoever plays it.
    fn which(&self, kind: &str, name: &str) -> Result<Which, String> {
        if name == "*" {
            return Ok(Which::Every);
        }
        let Shows::Named(parts) = self.shows else {
            return Err(format!(
                "without [[show]] no show has a name: it must be \"{kind}:*\", or the shows must be named"
            ));
        };
        let known = parts.iter().find(|part| part.show.as_str() == name);
        known.map(|part| Which::One(part.show.clone())).ok_or_else(|| {
            let names: Vec<String> = parts.iter().map(|part| part.show.to_string()).collect();
            none("show", name, kind, &names)
        })
    }
}

/// Nothing has this name; the one like it as it would be written.
fn none(what: &str, name: &str, kind: &str, known: &[String]) -> String {
    let nearest = nearest(name, known.iter().map(String::as_str)).map(|name| format!("{kind}:{name}"));
    let suggestion = suggestion(nearest.as_deref(), known);
    format!("there is no {what} {name:?}{suggestion}")
}
