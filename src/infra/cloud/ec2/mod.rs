//! Amazon EC2 as the pool's cloud.
//!
//! The only place that knows EC2's SDK. It translates, bounds and guards:
//!
//! - every call has a deadline and a bounded number of tries ([`Timeouts`], [`Config::attempts`]);
//! - a listing follows all pages or fails: half a list would look like machines that went away;
//! - nothing is started, stopped, rebooted, terminated or tagged that does not carry both pool tags. A listing, a
//!   description or a launch that showed the tags is believed until the next listing; otherwise, and always
//!   before a termination, EC2 is asked first.
//!
//! What it does not do: wait for a state to be reached (the sweep sees it), repeat a call for longer than a few
//! seconds (the caller knows what the delay costs), or choose a machine.

mod config;
mod description;
mod dry_run;
mod error;
mod identity;
mod retry;
mod roster;

use std::collections::BTreeMap;
use std::time::Instant;

use async_trait::async_trait;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Filter, InstanceType, Reservation, ResourceType, Tag, TagSpecification};

pub use config::{Backoff, Config, ConfigError, Timeouts};

use super::{Cloud, Error, ErrorKind, MANAGED_BY, StateChange, TAG_MANAGED_BY, TAG_PROJECT};
use crate::domain::ids::InstanceId;
use crate::domain::instance::{Instance, InstanceState, Launch, PowerChange};
use crate::infra::aws;
use roster::Roster;

const DESCRIBE: &str = "DescribeInstances";
const RUN: &str = "RunInstances";
const START: &str = "StartInstances";
const STOP: &str = "StopInstances";
const REBOOT: &str = "RebootInstances";
const TERMINATE: &str = "TerminateInstances";
const CREATE_TAGS: &str = "CreateTags";

const TAG_NAME: &str = "Name";

/// Most pages of one listing. At the default page size that is far beyond any pool; an endpoint that
/// goes on after that is not telling the truth.
const PAGES_MAX: usize = 200;

/// EC2 behind the [`Cloud`] trait. Cheap calls to make, one per process to keep: it holds the connections, the
/// cached credentials and the retry budget.
#[derive(Debug)]
pub struct Ec2Cloud {
    client: Client,
    config: Config,
    roster: Roster,
}

impl Ec2Cloud {
    /// Sets the client up. Reads the SDK's environment and profile files, but contacts nobody: credentials are
    /// found at the first call.
    ///
    /// # Errors
    /// [`Config::check`] found a setting that no call could be made with.
    pub async fn new(config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        let (region, endpoint_url) = (Some(config.region.as_str()), config.endpoint_url.as_deref());
        let loader = aws::loader(region, endpoint_url, config.access_key.as_ref())
            .retry_config(retry::retries(&config))
            .timeout_config(retry::timeouts(&config));
        let shared = loader.load().await;
        let client = Client::from_conf(
            aws_sdk_ec2::config::Builder::from(&shared)
                .retry_classifier(retry::CapacityIsAnAnswer)
                .build(),
        );
        Ok(Self {
            client,
            roster: Roster::new(config.project.clone()),
            config,
        })
    }

    /// All pages of the pool's instances.
    async fn pages(&self) -> Result<Vec<Instance>, Error> {
        // Pages are not a snapshot: an instance may turn up on two of them, and the later one is newer.
        let mut found = BTreeMap::new();
        let mut next_token = None;
        for _ in 0..PAGES_MAX {
            let page = self
                .client
                .describe_instances()
                .filters(tag_filter(TAG_PROJECT, &self.config.project))
                .filters(tag_filter(TAG_MANAGED_BY, MANAGED_BY))
                .max_results(i32::from(self.config.page_size.clamp(5, 1000)))
                .set_next_token(next_token.take())
                .send()
                .await
                .map_err(|failure| error::from_sdk(DESCRIBE, &failure))?;
            for described in page.reservations().iter().flat_map(Reservation::instances) {
                let instance = description::instance(DESCRIBE, described)?;
                // EC2 has filtered; an endpoint that ignores filters must not hand the pool a stranger.
                if self.roster.is_ours(&instance) {
                    found.insert(instance.instance_id.clone(), instance);
                }
            }
            match page.next_token().filter(|token| !token.is_empty()) {
                Some(token) => next_token = Some(token.to_owned()),
                None => return Ok(found.into_values().collect()),
            }
        }
        Err(error::unreadable(
            DESCRIBE,
            &format!("a list of more than {PAGES_MAX} pages"),
        ))
    }

    /// Asks EC2 for one instance, whoever it belongs to, and takes note of its tags.
    async fn look_up(&self, instance: &InstanceId) -> Result<Option<Instance>, Error> {
        let answer = self
            .client
            .describe_instances()
            .instance_ids(instance.as_str())
            .send()
            .await;
        let answer = match answer.map_err(|failure| error::from_sdk(DESCRIBE, &failure)) {
            Ok(answer) => answer,
            Err(Error {
                kind: ErrorKind::NotFound,
                ..
            }) => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let described = answer
            .reservations()
            .iter()
            .flat_map(Reservation::instances)
            .find(|described| described.instance_id() == Some(instance.as_str()));
        let Some(described) = described else {
            return Ok(None);
        };
        let found = description::instance(DESCRIBE, described)?;
        self.roster.note(&found);
        Ok(Some(found))
    }

    /// Ends a call to a stranger's instance before it is made.
    async fn require_ours(&self, call: &'static str, instance: &InstanceId) -> Result<(), Error> {
        if self.roster.contains(instance) {
            return Ok(());
        }
        self.require_ours_now(call, instance).await.map(|_| ())
    }

    /// The same, from EC2's present answer alone. If EC2 cannot be asked, the error names `DescribeInstances`: then
    /// `call` was certainly not made.
    async fn require_ours_now(&self, call: &'static str, instance: &InstanceId) -> Result<Instance, Error> {
        let Some(found) = self.look_up(instance).await? else {
            return Err(error::new(
                call,
                ErrorKind::NotFound,
                format!("{instance} is unknown"),
            ));
        };
        if self.roster.is_ours(&found) {
            return Ok(found);
        }
        let Config { project, .. } = &self.config;
        Err(error::new(
            call,
            ErrorKind::Denied,
            format!("{instance} lacks the tag {TAG_PROJECT}={project} or {TAG_MANAGED_BY}={MANAGED_BY}"),
        ))
    }

    async fn start(&self, instance: &InstanceId) -> Result<StateChange, Error> {
        self.require_ours(START, instance).await?;
        let answer = self
            .client
            .start_instances()
            .instance_ids(instance.as_str())
            .send()
            .await;
        let answer = answer.map_err(|failure| self.failed(START, instance, &failure))?;
        let change = description::state_change(START, instance, answer.starting_instances())?;
        not_from_the_dead(START, instance, change)
    }

    async fn stop(&self, instance: &InstanceId, force: bool) -> Result<StateChange, Error> {
        self.require_ours(STOP, instance).await?;
        let mut request = self.client.stop_instances().instance_ids(instance.as_str());
        if force {
            // `force` alone still shuts the operating system down first and only insists later; skipping that is
            // what ends a stream now
            // (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-stop-methods.html>).
            request = request.force(true).skip_os_shutdown(true);
        }
        let answer = request
            .send()
            .await
            .map_err(|failure| self.failed(STOP, instance, &failure))?;
        let change = description::state_change(STOP, instance, answer.stopping_instances())?;
        not_from_the_dead(STOP, instance, change)
    }

    /// EC2's answer names no states, so they are asked for, and asked for before: a description that failed
    /// afterwards would report a reboot that happened as one that did not.
    async fn reboot(&self, instance: &InstanceId) -> Result<StateChange, Error> {
        let found = self.require_ours_now(REBOOT, instance).await?;
        if found.state != InstanceState::Running {
            let state = found.state.as_str();
            return Err(error::new(
                REBOOT,
                ErrorKind::WrongState,
                format!("{instance} is {state}"),
            ));
        }
        let answer = self
            .client
            .reboot_instances()
            .instance_ids(instance.as_str())
            .send()
            .await;
        answer.map_err(|failure| self.failed(REBOOT, instance, &failure))?;
        // A rebooting instance stays `running` throughout.
        Ok(StateChange {
            previous: found.state,
            current: found.state,
        })
    }

    /// There is no way back, so what was seen earlier is not enough. The exception is an instance that EC2 does
    /// not know *yet*: descriptions lag behind launches, and a launch of ours must not outlive its end for that.
    async fn terminate(&self, instance: &InstanceId) -> Result<StateChange, Error> {
        let seen_as_ours = self.roster.contains(instance);
        match self.require_ours_now(TERMINATE, instance).await {
            Ok(_) => {}
            Err(Error {
                kind: ErrorKind::NotFound,
                ..
            }) if seen_as_ours => {}
            Err(refused) => return Err(refused),
        }
        let answer = self
            .client
            .terminate_instances()
            .instance_ids(instance.as_str())
            .send()
            .await;
        let answer = answer.map_err(|failure| self.failed(TERMINATE, instance, &failure))?;
        description::state_change(TERMINATE, instance, answer.terminating_instances())
    }

    /// Sorts a failure, and stops believing in an instance that EC2 no longer knows.
    fn failed<E>(
        &self,
        call: &'static str,
        instance: &InstanceId,
        failure: &aws_sdk_ec2::error::SdkError<E, aws_sdk_ec2::config::http::HttpResponse>,
    ) -> Error
    where
        E: aws_sdk_ec2::error::ProvideErrorMetadata + std::error::Error + 'static,
    {
        let failure = error::from_sdk(call, failure);
        if failure.kind == ErrorKind::NotFound {
            self.roster.forget(instance);
        }
        failure
    }

    /// The caller's tags under ours.
    fn launch_tags(&self, launch: &Launch) -> TagSpecification {
        let mut tags = launch.tags.clone();
        tags.insert(TAG_NAME.to_owned(), launch.name.clone());
        tags.insert(TAG_PROJECT.to_owned(), self.config.project.clone());
        tags.insert(TAG_MANAGED_BY.to_owned(), MANAGED_BY.to_owned());
        TagSpecification::builder()
            .resource_type(ResourceType::Instance)
            .set_tags(Some(tags.iter().map(|(key, value)| tag(key, value)).collect()))
            .build()
    }
}

#[async_trait]
impl Cloud for Ec2Cloud {
    async fn list(&self) -> Result<Vec<Instance>, Error> {
        let began = Instant::now();
        let sweep = self.config.timeouts.sweep;
        let listed = tokio::time::timeout(sweep, self.pages()).await.map_err(|_| {
            error::new(
                DESCRIBE,
                ErrorKind::TimedOut,
                format!("not all pages came within {sweep:?}"),
            )
        })??;
        self.roster.note_listing(began, &listed);
        Ok(listed)
    }

    /// Also finds instances that are not the pool's: their tags say so, and no change is made to them.
    async fn describe(&self, instance: &InstanceId) -> Result<Option<Instance>, Error> {
        self.look_up(instance).await
    }

    async fn launch(&self, launch: &Launch) -> Result<Instance, Error> {
        let Some(ami_id) = &self.config.ami_id else {
            return Err(error::new(
                RUN,
                ErrorKind::Invalid,
                "there is no image to launch from: `ami_id` is not configured",
            ));
        };
        let instance_type = launch
            .instance_type
            .as_ref()
            .unwrap_or(&self.config.instance_type);
        let answer = self
            .client
            .run_instances()
            .client_token(&launch.token)
            .image_id(ami_id)
            .instance_type(InstanceType::from(instance_type.as_str()))
            .set_security_group_ids(self.config.security_group_id.clone().map(|group| vec![group]))
            .set_subnet_id(self.config.subnet_id.clone())
            .set_key_name(self.config.key_pair_name.clone())
            .tag_specifications(self.launch_tags(launch))
            .min_count(1)
            .max_count(1)
            .send()
            .await
            .map_err(|failure| error::from_sdk(RUN, &failure))?;
        let [launched] = answer.instances() else {
            return Err(error::unreadable(
                RUN,
                &format!("{} instances for one", answer.instances().len()),
            ));
        };
        let instance = description::instance(RUN, launched)?;
        self.roster.note(&instance);
        Ok(instance)
    }

    async fn change(&self, instance: &InstanceId, change: PowerChange) -> Result<StateChange, Error> {
        match change {
            PowerChange::Start => self.start(instance).await,
            PowerChange::Stop => self.stop(instance, false).await,
            PowerChange::ForceStop => self.stop(instance, true).await,
            PowerChange::Reboot => self.reboot(instance).await,
            PowerChange::Terminate => self.terminate(instance).await,
        }
    }

    /// The two pool tags cannot be set: another value would take the instance out of the pool unnoticed.
    async fn tag(&self, instance: &InstanceId, tags: &[(String, String)]) -> Result<(), Error> {
        if let Some((key, _)) = tags
            .iter()
            .find(|(key, _)| key == TAG_PROJECT || key == TAG_MANAGED_BY)
        {
            return Err(error::new(
                CREATE_TAGS,
                ErrorKind::Invalid,
                format!("the tag {key} is the pool's own"),
            ));
        }
        if tags.is_empty() {
            return Ok(());
        }
        self.require_ours(CREATE_TAGS, instance).await?;
        let tags = tags.iter().map(|(key, value)| tag(key, value)).collect();
        let answer = self
            .client
            .create_tags()
            .resources(instance.as_str())
            .set_tags(Some(tags))
            .send()
            .await;
        answer.map_err(|failure| self.failed(CREATE_TAGS, instance, &failure))?;
        Ok(())
    }
}

/// EC2 refuses to start or stop what is terminated; not every endpoint that speaks its protocol does. The states
/// in the answer give it away.
fn not_from_the_dead(
    call: &'static str,
    instance: &InstanceId,
    change: StateChange,
) -> Result<StateChange, Error> {
    match change.previous {
        InstanceState::ShuttingDown | InstanceState::Terminated => {
            let state = change.previous.as_str();
            Err(error::new(
                call,
                ErrorKind::WrongState,
                format!("{instance} is {state}"),
            ))
        }
        InstanceState::Pending
        | InstanceState::Running
        | InstanceState::Stopping
        | InstanceState::Stopped => Ok(change),
    }
}

fn tag_filter(key: &str, value: &str) -> Filter {
    Filter::builder().name(format!("tag:{key}")).values(value).build()
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}
