//! What people are told about a VM's SSH: that it is lost while a show counts on it, that it is back, and at once
//! that somebody else answers in its place.

use super::State;
use crate::actors::news::Level;
use crate::domain::vm::Vm;
use crate::infra::ssh;

/// What can be done about another host key.
const OTHER_KEY: &str = "If the machine was installed anew on purpose, take its line out of the file of known host keys; \
                         if not, somebody may be answering in its place: take it out of the pool.";

/// What can be done about a host certificate that is not believed.
const BAD_CERTIFICATE: &str = "Give the machine a certificate of a trusted authority for its instance id or address; if it had a \
                               good one, somebody may be answering in its place: take it out of the pool.";

impl State {
    /// Once per trouble: it is said again only when it has become worse.
    pub(super) fn tell_of_lost_shell(&mut self, vm: &Vm, error: &ssh::Error) {
        let (level, message) = match error {
            ssh::Error::HostKeyChanged { .. } | ssh::Error::HostKeyUnknown { .. } => {
                (Level::Critical, format!("{}: {error}. {OTHER_KEY}", self.id))
            }
            ssh::Error::HostCertificate { .. } => (
                Level::Critical,
                format!("{}: {error}. {BAD_CERTIFICATE}", self.id),
            ),
            // The next try tells whether it is lost.
            ssh::Error::Closed => return,
            _ if vm.occupancy.tenant().is_none() => return,
            other => (
                Level::Warning,
                format!(
                    "{}: no SSH: {other}. Its show stays on air; it cannot be fenced over SSH, nor its studio be reached \
                     through it. It is tried again until it answers.",
                    self.id
                ),
            ),
        };
        let is_told = match self.shell_alert {
            None => false,
            Some(told) => told == level || told == Level::Critical,
        };
        if !is_told {
            self.shell_alert = Some(level);
            self.tell_of_shell(vm, level, "SSH failed", message);
        }
    }

    pub(super) fn tell_of_shell_again(&mut self, vm: &Vm) {
        if self.shell_alert.take().is_some() {
            let message = format!("{}: SSH answers again", self.id);
            self.tell_of_shell(vm, Level::Info, "SSH is back", message);
        }
    }

    fn tell_of_shell(&self, vm: &Vm, level: Level, title: &str, message: String) {
        let show = vm.occupancy.tenant().map(|(show, _)| show);
        let source = format!("ssh-failed-{}", self.id);
        self.ctx
            .alert(level, source, title, message, show, Some(&self.id));
    }
}
