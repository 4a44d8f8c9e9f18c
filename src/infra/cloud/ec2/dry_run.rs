//! What these credentials may do. Every call is made with `DryRun`: EC2 checks the permission, and does nothing
//! (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StartInstances.html>, `DryRun`). Its answer is an error
//! either way: `DryRunOperation` is a yes.

use std::collections::BTreeMap;

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::types::InstanceType;

use super::{CREATE_TAGS, DESCRIBE, Ec2Cloud, REBOOT, RUN, START, STOP, TERMINATE, error, tag};
use crate::domain::ids::InstanceId;
use crate::domain::instance::Launch;
use crate::infra::cloud::{Allowance, ErrorKind, Permission};

/// EC2's yes.
const WOULD_HAVE_SUCCEEDED: &str = "DryRunOperation";

/// A tag that nobody sets.
const PROBE_TAG: &str = "understudy-doctor";

impl Ec2Cloud {
    /// Whether each call of this adapter would be allowed now. What concerns one instance is asked of `instance`, which
    /// must be the pool's: a policy may be about its tags.
    ///
    /// Nothing but the first call is made to an endpoint that does not know `DryRun`: it would do what it is asked.
    pub async fn permissions(&self, instance: Option<&InstanceId>) -> Vec<Permission> {
        let described = self.client.describe_instances().dry_run(true).send().await;
        let describe = permission(DESCRIBE, described);
        if describe.allowance == Allowance::Ignored {
            return vec![describe];
        }
        let mut found = vec![describe, self.may_run().await];
        match instance {
            Some(instance) => found.extend(Box::pin(self.may_change(instance)).await),
            None => found.extend(
                [START, STOP, REBOOT, TERMINATE, CREATE_TAGS].map(|call| Permission {
                    call,
                    allowance: Allowance::NotAsked("the pool has no instance to ask it of"),
                }),
            ),
        }
        found
    }

    async fn may_run(&self) -> Permission {
        let Some(ami_id) = &self.config.ami_id else {
            return Permission {
                call: RUN,
                allowance: Allowance::NotAsked("cloud.ami_id is not set, so nothing is launched"),
            };
        };
        let launch = Launch {
            token: String::new(),
            name: PROBE_TAG.to_owned(),
            instance_type: None,
            tags: BTreeMap::new(),
        };
        let answer = self
            .client
            .run_instances()
            .dry_run(true)
            .image_id(ami_id)
            .instance_type(InstanceType::from(self.config.instance_type.as_str()))
            .set_security_group_ids(self.config.security_group_id.clone().map(|group| vec![group]))
            .set_subnet_id(self.config.subnet_id.clone())
            .set_key_name(self.config.key_pair_name.clone())
            .tag_specifications(self.launch_tags(&launch))
            .min_count(1)
            .max_count(1)
            .send()
            .await;
        permission(RUN, answer)
    }

    async fn may_change(&self, instance: &InstanceId) -> [Permission; 5] {
        let (client, id) = (&self.client, instance.as_str());
        let start = client.start_instances().dry_run(true).instance_ids(id);
        let stop = client.stop_instances().dry_run(true).instance_ids(id);
        let reboot = client.reboot_instances().dry_run(true).instance_ids(id);
        let terminate = client.terminate_instances().dry_run(true).instance_ids(id);
        let tags = client.create_tags().dry_run(true).resources(id);
        let tags = tags.tags(tag(PROBE_TAG, ""));
        let (start, stop, reboot, terminate, tags) = tokio::join!(
            start.send(),
            stop.send(),
            reboot.send(),
            terminate.send(),
            tags.send()
        );
        [
            permission(START, start),
            permission(STOP, stop),
            permission(REBOOT, reboot),
            permission(TERMINATE, terminate),
            permission(CREATE_TAGS, tags),
        ]
    }
}

fn permission<T, E>(call: &'static str, answer: Result<T, SdkError<E, HttpResponse>>) -> Permission
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let allowance = match answer {
        Ok(_) => Allowance::Ignored,
        Err(failure) => {
            let failure = error::from_sdk(call, &failure);
            match (failure.code.as_deref(), failure.kind) {
                (Some(WOULD_HAVE_SUCCEEDED), _) => Allowance::Allowed,
                (_, ErrorKind::Denied) => Allowance::Denied(failure),
                _ => Allowance::Unclear(failure),
            }
        }
    };
    Permission { call, allowance }
}
