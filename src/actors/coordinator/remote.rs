//! Working on a VM over SSH: operations, command lines, terminals, and looking at its services and figures.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{CommandError, Coordinator};
use crate::actors::executions::run::{self, Ended, Running, Stream, Update};
use crate::actors::executions::terminal::{self, Kind, Terminal};
use crate::actors::executions::{Begin, Ticket};
use crate::domain::execution::{Deed, Ending, ExecutionId};
use crate::domain::ids::VmId;
use crate::domain::operation::{FreeCommand, OperationId, Plan, PlannedStep};
use crate::domain::service::{self, Service, Standing};
use crate::domain::system_info::{self, SystemInfo};
use crate::infra::ssh::Session as Shell;

/// How long looking at services may take.
const LOOK: Duration = Duration::from_secs(10);

/// What is to be run on a VM.
#[derive(Debug, Clone)]
pub enum Work {
    Operation {
        id: String,
        parameters: BTreeMap<String, String>,
        /// A shorter limit than its own.
        timeout: Option<Duration>,
    },
    Command(FreeCommand),
}

/// What something printed and how it ended.
#[derive(Debug, Clone)]
pub struct Printed {
    pub id: ExecutionId,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// Not all that it printed is here.
    pub truncated: bool,
    pub ended: Ended,
}

/// A service was restarted, or was tried to be.
#[derive(Debug, Clone)]
pub struct Restarted {
    pub printed: Printed,
    /// How it is since, or why that could not be found out.
    pub standing: Result<Standing, CommandError>,
}

impl Coordinator {
    /// Starts an operation or a command line on a VM.
    ///
    /// # Errors
    /// [`CommandError`] if it is refused, or the VM cannot be reached. What happens after it has begun is told as an
    /// [`Update`].
    pub async fn execute(&self, vm: VmId, work: Work, by: String) -> Result<Running, CommandError> {
        let (deed, plan, refused_on_air) = self.plan(work)?;
        self.run(vm, by, deed, plan, refused_on_air).await
    }

    fn plan(&self, work: Work) -> Result<(Deed, Plan, bool), CommandError> {
        match work {
            Work::Operation {
                id,
                parameters,
                timeout,
            } => {
                let (operation, mut plan) = self.operations().plan(&id, &parameters)?;
                plan.timeout = timeout.map_or(plan.timeout, |timeout| plan.timeout.min(timeout));
                let deed = Deed::Operation {
                    id: operation.id.clone(),
                    plan: plan.clone(),
                };
                Ok((deed, plan, operation.refused_on_air))
            }
            Work::Command(_) if !self.ctx.options.executions.allow_free_commands => {
                Err(CommandError::FreeCommandsForbidden)
            }
            Work::Command(command) => {
                let plan = command.plan()?;
                let deed = Deed::Command { plan: plan.clone() };
                Ok((deed, plan, false))
            }
        }
    }

    async fn run(
        &self,
        vm: VmId,
        by: String,
        deed: Deed,
        plan: Plan,
        refused_on_air: bool,
    ) -> Result<Running, CommandError> {
        let (session, ticket) = self.admit(&vm, by, deed, refused_on_air).await?;
        Ok(run::start(&self.ctx, vm, session, ticket, plan))
    }

    /// A VM's session, and the right to use it for this.
    pub(super) async fn admit(
        &self,
        vm: &VmId,
        by: String,
        deed: Deed,
        refused_on_air: bool,
    ) -> Result<(Arc<dyn Shell>, Ticket), CommandError> {
        self.known(vm)?;
        if self.ctx.world.ssh.is_none() {
            return Err(CommandError::NoSsh);
        }
        let ticket = self
            .ctx
            .executions
            .begin(Begin {
                vm: vm.clone(),
                by,
                deed,
                refused_on_air,
            })
            .await?;
        match self.ctx.machines.shell(vm).await {
            Some(session) => Ok((session, ticket)),
            None => {
                let reason = "there is no SSH connection to it at present";
                run::ssh_failed(&self.ctx, vm, reason);
                let ending = Ending::NotStarted {
                    reason: reason.to_owned(),
                };
                ticket.end(ending, 0).await;
                Err(CommandError::Ssh {
                    vm: vm.clone(),
                    message: reason.to_owned(),
                })
            }
        }
    }

    /// Opens a login shell in a terminal of this kind and size.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn open_terminal(&self, vm: VmId, kind: Kind, by: String) -> Result<Terminal, CommandError> {
        let (session, ticket) = self.admit(&vm, by, Deed::Terminal, false).await?;
        terminal::open(&self.ctx, vm, session, ticket, kind).await
    }

    /// Ends an execution; what becomes of it is told to whoever started it.
    ///
    /// # Errors
    /// [`CommandError::NotRunning`] if it runs no more, or never did.
    pub async fn cancel(&self, id: ExecutionId, by: String) -> Result<(), CommandError> {
        if self.ctx.executions.cancel(id, by).await? {
            Ok(())
        } else {
            Err(CommandError::NotRunning(id))
        }
    }

    /// Restarts a service and says how it is then.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn restart_service(
        &self,
        vm: VmId,
        service: Service,
        by: String,
    ) -> Result<Restarted, CommandError> {
        let work = Work::Operation {
            id: service.restart_operation().to_owned(),
            parameters: BTreeMap::new(),
            timeout: None,
        };
        let running = self.execute(vm.clone(), work, by.clone()).await?;
        let printed = self.collect(&vm, running).await?;
        let standing = self.service(vm, by, service).await;
        Ok(Restarted { printed, standing })
    }

    async fn service(&self, vm: VmId, by: String, service: Service) -> Result<Standing, CommandError> {
        let standings = self.services(vm.clone(), by, &[service]).await?;
        standings.into_iter().next().ok_or_else(|| silent_on_services(vm))
    }

    /// How these services of a VM are, in the same order.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn services(
        &self,
        vm: VmId,
        by: String,
        services: &[Service],
    ) -> Result<Vec<Standing>, CommandError> {
        let units = &self.ctx.options.units;
        let names = services.iter().map(|service| units.of(*service));
        let shown = self
            .look(&vm, &by, "SERVICE_STATUS", vec![service::show_command(names)])
            .await?;
        let mut standings = service::standings(&shown[0]);
        if standings.len() != services.len() {
            return Err(silent_on_services(vm));
        }
        let show_server = services
            .iter()
            .position(|service| *service == Service::ShowServer);
        if let Some(at) = show_server.filter(|at| standings[*at].status == "not-found") {
            let ask = vec!["pm2".to_owned(), "pid".to_owned(), units.pm2_process.clone()];
            // Without PM2 the answer stands: there is no such unit.
            if let Ok(said) = self.look(&vm, &by, "PM2_STATUS", vec![ask]).await
                && let Some(standing) = service::under_pm2(&said[0])
            {
                standings[at] = standing;
            }
        }
        Ok(standings)
    }

    /// Reads how a machine is. What it does not say is unknown.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn system_info(&self, vm: VmId, by: String) -> Result<SystemInfo, CommandError> {
        let plan = system_info::plan();
        let steps = self.steps(&vm, &by, "SYSTEM_FIGURES", plan).await?;
        let mut printed: [String; system_info::STEPS] = Default::default();
        for (slot, text) in printed.iter_mut().zip(steps) {
            *slot = text;
        }
        Ok(SystemInfo::read(&printed))
    }

    /// Runs commands of the coordinator's own and gives what each printed.
    async fn look(
        &self,
        vm: &VmId,
        by: &str,
        name: &str,
        commands: Vec<Vec<String>>,
    ) -> Result<Vec<String>, CommandError> {
        let plan = Plan {
            steps: commands.into_iter().map(PlannedStep::run).collect(),
            timeout: LOOK,
        };
        self.steps(vm, by, name, plan).await
    }

    /// What each step printed to its standard output. A step that fails prints nothing of use and is no error here.
    async fn steps(&self, vm: &VmId, by: &str, name: &str, plan: Plan) -> Result<Vec<String>, CommandError> {
        let id = OperationId::new(name).map_err(|error| CommandError::Refused(error.to_string()))?;
        let deed = Deed::Operation {
            id,
            plan: plan.clone(),
        };
        let mut printed: Vec<Vec<u8>> = plan.steps.iter().map(|_| Vec::new()).collect();
        let running = self.run(vm.clone(), by.to_owned(), deed, plan, false).await?;
        let mut updates = running.updates;
        let mut ended = None;
        while let Some(update) = updates.recv().await {
            match update {
                Update::Output {
                    step,
                    stream: Stream::Stdout,
                    bytes,
                } => printed[step].extend_from_slice(&bytes),
                Update::Output {
                    stream: Stream::Stderr,
                    ..
                }
                | Update::Truncated { .. }
                | Update::Skipped { .. } => {}
                Update::Ended(how) => ended = Some(how),
            }
        }
        require_end(vm, ended)?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(printed.into_iter().map(text).collect())
    }

    /// Waits for the end of something that was started, with what it printed.
    ///
    /// # Errors
    /// [`CommandError::Ssh`] if the connection failed, [`CommandError::CommandTimedOut`] past its limit.
    pub async fn collect(&self, vm: &VmId, mut running: Running) -> Result<Printed, CommandError> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let (mut truncated, mut ended) = (false, None);
        while let Some(update) = running.updates.recv().await {
            match update {
                Update::Output { stream, bytes, .. } => match stream {
                    Stream::Stdout => stdout.extend_from_slice(&bytes),
                    Stream::Stderr => stderr.extend_from_slice(&bytes),
                },
                Update::Truncated { .. } | Update::Skipped { .. } => truncated = true,
                Update::Ended(how) => ended = Some(how),
            }
        }
        let ended = require_end(vm, ended)?;
        Ok(Printed {
            id: running.id,
            stdout,
            stderr,
            truncated,
            ended,
        })
    }
}

fn silent_on_services(vm: VmId) -> CommandError {
    CommandError::Ssh {
        vm,
        message: "systemctl did not say how its services are".to_owned(),
    }
}

/// Whether it came to an end on the VM, however it ended there.
fn require_end(vm: &VmId, ended: Option<Ended>) -> Result<Ended, CommandError> {
    let Some(ended) = ended else {
        return Err(CommandError::Restarting {
            subject: "executions".to_owned(),
        });
    };
    match &ended.ending {
        Ending::NotStarted { .. } if ended.busy => Err(CommandError::Busy),
        Ending::NotStarted { reason } | Ending::ConnectionLost { reason } => Err(CommandError::Ssh {
            vm: vm.clone(),
            message: reason.clone(),
        }),
        Ending::TimedOut { limit_ms } => Err(CommandError::CommandTimedOut {
            vm: vm.clone(),
            limit: Duration::from_millis(*limit_ms),
        }),
        Ending::Exited { .. }
        | Ending::Signalled { .. }
        | Ending::Cancelled { .. }
        | Ending::Closed { .. }
        | Ending::Unknown => Ok(ended),
    }
}
