//! The cloud: whether it answers, who we are to it, what we may do, what time it has; and the stores beside it.

use std::time::{Duration, Instant, SystemTime};

use super::finding::Finding;
use super::{clock, within};
use crate::assembly::inspect::{self, Inspected};
use crate::config::{Config, Provider};
use crate::domain::instance::{Instance, InstanceState};
use crate::infra::archive::{self, Target};
use crate::infra::cloud::{Allowance, Error, ErrorKind, Permission};

/// Limit on each question.
const QUESTION: Duration = Duration::from_secs(8);

/// What was found, and the pool's instances if the cloud lists them.
pub async fn look(config: &Config) -> (Vec<Finding>, Vec<Instance>) {
    let inspected = match Inspected::open(config).await {
        Ok(inspected) => inspected,
        Err(error) => {
            let advice = "mend the configuration, or take another build";
            return (
                vec![Finding::fail("cloud", format!("{error:#}"), advice)],
                Vec::new(),
            );
        }
    };
    let listing = async {
        let listed = tokio::time::timeout(QUESTION, inspected.cloud.list()).await;
        listed.unwrap_or_else(|_| {
            Err(Error {
                call: "listing the pool",
                kind: ErrorKind::TimedOut,
                code: None,
                detail: Some(format!("{} s", QUESTION.as_secs())),
            })
        })
    };
    let (listed, identity, clock) = tokio::join!(
        listing,
        within("credentials", QUESTION, identity(&inspected)),
        within("clock of the cloud", QUESTION, clock(config)),
    );
    let mut findings = identity;
    findings.push(judge_listing(&listed, config));
    findings.extend(clock);
    let instances = listed.unwrap_or_default();
    // A policy may allow what carries the pool's tags, and terminating is asked for it, too: any instance will do.
    let example = instances
        .iter()
        .find(|instance| instance.state != InstanceState::Terminated);
    let asked = async {
        let id = example.map(|instance| &instance.instance_id);
        let permissions = inspected.permissions(id).await.unwrap_or_default();
        permissions.into_iter().map(judge_permission).collect()
    };
    findings.extend(within("permissions", QUESTION, asked).await);
    (findings, instances)
}

async fn identity(inspected: &Inspected) -> Vec<Finding> {
    let check = "credentials";
    let found = match inspected.identity().await {
        None => return Vec::new(),
        Some(Ok(who)) => Finding::pass(check, format!("account {}, {}", who.account, who.arn)),
        Some(Err(error)) if error.kind == ErrorKind::NoCredentials => Finding::fail(
            check,
            error.to_string(),
            "give the coordinator an instance role, a profile or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and renew \
             what has expired",
        ),
        // That they are good is seen by what they may do.
        Some(Err(error)) => Finding::warn(
            check,
            format!("who we are is not known: {error}"),
            "let the coordinator's machine reach the region's sts endpoint if you want to see it here",
        ),
    };
    vec![found]
}

const UNREACHABLE: &str =
    "see that this machine reaches the cloud's API (route, proxy, cloud.region, cloud.endpoint_url)";

fn judge_listing(listed: &Result<Vec<Instance>, Error>, config: &Config) -> Finding {
    let check = "cloud";
    let error = match listed {
        Ok(instances) => {
            let running = count(instances, InstanceState::Running);
            let detail = format!(
                "{} instances of project {}, {running} of them running",
                instances.len(),
                config.pool.project
            );
            if instances.is_empty() {
                let advice = format!(
                    "tag the pool's instances Project={} and ManagedBy=vm-pool-manager, or launch some; see that \
                     pool.project and cloud.region are the right ones",
                    config.pool.project
                );
                return Finding::warn(check, detail, advice);
            }
            return Finding::pass(check, detail);
        }
        Err(error) => error,
    };
    let advice = match error.kind {
        ErrorKind::Denied => "let the coordinator's role do ec2:DescribeInstances",
        ErrorKind::NoCredentials => "see the credentials above",
        ErrorKind::Unreachable | ErrorKind::TimedOut => UNREACHABLE,
        ErrorKind::Throttled
        | ErrorKind::NoCapacity
        | ErrorKind::NotFound
        | ErrorKind::WrongState
        | ErrorKind::Invalid
        | ErrorKind::Internal => "see what the cloud says, and whether cloud.endpoint_url is its API",
    };
    Finding::fail(check, error.to_string(), advice)
}

fn count(instances: &[Instance], state: InstanceState) -> usize {
    instances
        .iter()
        .filter(|instance| instance.state == state)
        .count()
}

fn judge_permission(permission: Permission) -> Finding {
    let action = format!("ec2:{}", permission.call);
    match permission.allowance {
        Allowance::Allowed => Finding::pass(action, "allowed"),
        Allowance::NotAsked(why) => Finding::skipped(action, why),
        Allowance::Ignored => Finding::skipped(
            action,
            "the endpoint does not know dry runs, so what is allowed there cannot be asked without doing it",
        ),
        Allowance::Denied(error) => {
            let advice = format!("add {action} to the policy of the coordinator's role");
            let detail = error.detail.unwrap_or_else(|| "it is not allowed".to_owned());
            Finding::fail(action, detail, advice)
        }
        Allowance::Unclear(error) => {
            let advice = match error.kind {
                ErrorKind::NoCredentials => "see the credentials above",
                ErrorKind::Unreachable | ErrorKind::TimedOut => UNREACHABLE,
                ErrorKind::Throttled => "look again in a minute",
                ErrorKind::Denied
                | ErrorKind::NoCapacity
                | ErrorKind::NotFound
                | ErrorKind::WrongState
                | ErrorKind::Invalid
                | ErrorKind::Internal => {
                    "see that the image, subnet, security group and key pair of the configuration are there"
                }
            };
            let detail = format!("it would fail, or cannot be asked: {error}");
            Finding::warn(action, detail, advice)
        }
    }
}

/// The time of the cloud, as the `Date` of any answer has it.
async fn clock(config: &Config) -> Vec<Finding> {
    let check = "clock of the cloud";
    let url = match (&config.cloud.endpoint_url, config.cloud.provider) {
        (Some(url), _) => url.clone(),
        (None, Provider::Ec2) => {
            let region = &config.cloud.region;
            let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
            format!("https://ec2.{region}.amazonaws.com{suffix}/")
        }
        (None, Provider::Rest) => return vec![Finding::skipped(check, "cloud.endpoint_url is not set")],
    };
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(QUESTION)
        .build();
    let asked = async {
        let (before, began) = (SystemTime::now(), Instant::now());
        // Whatever it answers to somebody without credentials has a date.
        let answer = client?.get(&url).send().await?;
        let date = answer.headers().get(reqwest::header::DATE).cloned();
        Ok::<_, reqwest::Error>((before, began.elapsed(), date))
    };
    let (before, took, date) = match asked.await {
        Ok(answered) => answered,
        Err(error) => {
            let why = crate::infra::causes::with_causes(&error.without_url());
            return vec![Finding::skipped(
                check,
                format!("no answer to compare with: {why}"),
            )];
        }
    };
    let date = date.as_ref().and_then(|date| date.to_str().ok());
    let theirs = date.and_then(|date| {
        let parsed = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date);
        parsed.ok().map(SystemTime::from)
    });
    let Some(theirs) = theirs else {
        return vec![Finding::skipped(check, "its answer has no date")];
    };
    // A date is cut to the second, so half of one is missing on average.
    let theirs = theirs + Duration::from_millis(500);
    vec![clock::judge(
        check,
        clock::Whose::Here,
        clock::ahead(theirs, before, took),
    )]
}

/// Whether the archive's bucket can be used. Asked with a list of parts of an upload that there is not.
pub async fn archive(config: &Config) -> Vec<Finding> {
    let check = "archive";
    within(check, QUESTION, async {
        let Some(bucket) = config.archive.bucket.clone() else {
            return vec![Finding::skipped(
                check,
                "archive.bucket is not set: no recording is archived",
            )];
        };
        let store = match inspect::store(config).await {
            Ok(Some(store)) => store,
            Ok(None) => return vec![Finding::skipped(check, "there is none")],
            Err(error) => {
                let advice = "take a build with S3, or unset archive.bucket";
                return vec![Finding::fail(check, format!("{error:#}"), advice)];
            }
        };
        let target = Target {
            key: format!("{}/understudy-doctor", config.archive.prefix),
            bucket: bucket.clone(),
            upload_id: "understudy-doctor".to_owned(),
        };
        vec![match store.parts(&target).await {
            Ok(_) | Err(archive::Error::NoSuchUpload { .. }) => Finding::pass(
                check,
                format!("bucket {bucket} answers (that it takes objects shows only by sending one)"),
            ),
            Err(error) => {
                let advice = "see that the bucket is there and that the coordinator's role may use it \
                              (docs/recordings.md)";
                Finding::fail(check, error.to_string(), advice)
            }
        }]
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    fn error(kind: ErrorKind, code: &str) -> Error {
        Error {
            call: "StartInstances",
            kind,
            code: Some(code.to_owned()),
            detail: Some("You are not authorized to perform this operation.".to_owned()),
        }
    }

    #[test]
    fn a_denied_call_names_the_action_to_add() {
        let judged = |allowance| {
            judge_permission(Permission {
                call: "StartInstances",
                allowance,
            })
        };
        let denied = judged(Allowance::Denied(error(
            ErrorKind::Denied,
            "UnauthorizedOperation",
        )));
        assert_eq!(denied.verdict, Verdict::Fail);
        assert!(denied.advice.unwrap().contains("add ec2:StartInstances to"));
        assert_eq!(judged(Allowance::Allowed).verdict, Verdict::Pass);
        assert_eq!(judged(Allowance::Ignored).verdict, Verdict::Skipped);
        let unclear = judged(Allowance::Unclear(error(
            ErrorKind::Invalid,
            "InvalidAMIID.NotFound",
        )));
        assert_eq!(unclear.verdict, Verdict::Warn);
    }

    #[test]
    fn an_empty_pool_is_worth_a_word() {
        let found = judge_listing(&Ok(Vec::new()), &Config::default());
        assert_eq!(found.verdict, Verdict::Warn);
        assert!(found.advice.unwrap().contains("ManagedBy=vm-pool-manager"));
    }
}
