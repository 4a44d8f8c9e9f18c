//! An EC2 that is away, silent, slow, throttling, full or wrong.

use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use understudy::domain::instance::{InstanceState, Launch, PowerChange};
use understudy::infra::cloud::ec2::{Backoff, Config, Ec2Cloud, Timeouts};
use understudy::infra::cloud::{
    Cloud, Error, ErrorKind, MANAGED_BY, StateChange, TAG_MANAGED_BY, TAG_PROJECT,
};

use crate::support::script::{Answer, Script};
use crate::{PROJECT, config, instance_id};

const INSTANCE: &str = "i-0123456789abcdef0";

/// What a busy machine may add to a time limit before it counts as not kept.
const SLACK: Duration = Duration::from_secs(30);

const READ: Duration = Duration::from_millis(500);
const ATTEMPT: Duration = Duration::from_secs(1);

/// Short limits for one try, so that the time taken tells which one ended it.
fn impatient(endpoint: &str) -> Config {
    let timeouts = Timeouts {
        read: READ,
        attempt: ATTEMPT,
        ..config(endpoint).timeouts
    };
    Config {
        timeouts,
        ..config(endpoint)
    }
}

fn ok(body: &str) -> Answer {
    Answer::Whole {
        status: 200,
        body: body.to_owned(),
    }
}

fn refusal(status: u16, code: &str, message: &str) -> Answer {
    let error = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    Answer::Whole {
        status,
        body: format!("<Response><Errors>{error}</Errors><RequestID>r-1</RequestID></Response>"),
    }
}

fn instance_xml(tags: &str) -> String {
    format!(
        "<item><instanceId>{INSTANCE}</instanceId><instanceState><code>16</code><name>running</name></instanceState>\
         <tagSet>{tags}</tagSet></item>"
    )
}

fn pool_instance_xml() -> String {
    instance_xml(&format!(
        "<item><key>{TAG_PROJECT}</key><value>{PROJECT}</value></item>\
         <item><key>{TAG_MANAGED_BY}</key><value>{MANAGED_BY}</value></item>"
    ))
}

/// One page with one instance of the pool.
fn page(next_token: &str) -> Answer {
    ok(&format!(
        "<DescribeInstancesResponse><reservationSet><item><instancesSet>{}</instancesSet></item></reservationSet>\
         <nextToken>{next_token}</nextToken></DescribeInstancesResponse>",
        pool_instance_xml()
    ))
}

fn stopping() -> Answer {
    ok(&format!(
        "<StopInstancesResponse><instancesSet><item><instanceId>{INSTANCE}</instanceId>\
         <currentState><code>64</code><name>stopping</name></currentState>\
         <previousState><code>16</code><name>running</name></previousState></item></instancesSet>\
         </StopInstancesResponse>"
    ))
}

fn throttled() -> Answer {
    refusal(503, "RequestLimitExceeded", "Request limit exceeded.")
}

fn launch() -> Launch {
    Launch {
        token: "0b8e1c9a-launch-7".to_owned(),
        name: "vm".to_owned(),
        instance_type: None,
        tags: [(TAG_PROJECT.to_owned(), "mine".to_owned())].into(),
    }
}

async fn failure_of_a_listing(config: Config) -> (Error, Duration) {
    let cloud = Ec2Cloud::new(config).await.unwrap();
    let began = Instant::now();
    let failure = cloud.list().await.unwrap_err();
    (failure, began.elapsed())
}

#[tokio::test]
async fn a_refused_connection_is_told_from_a_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (failure, took) = failure_of_a_listing(config(&endpoint)).await;
    assert_eq!(failure.kind, ErrorKind::Unreachable, "{failure}");
    assert!(failure.kind.is_retryable());
    assert!(took < SLACK, "{took:?}");
}

#[tokio::test]
async fn an_endpoint_that_never_answers_is_given_up_after_the_configured_tries() {
    let silent = Script::start(vec![Answer::Silence]).await;
    let (failure, took) = failure_of_a_listing(impatient(&silent.endpoint())).await;
    assert_eq!(failure.kind, ErrorKind::TimedOut, "{failure}");
    assert!(failure.kind.is_retryable());
    assert_eq!(silent.requests().len(), 3);
    assert!(took >= 3 * READ && took < SLACK, "{took:?}");
}

#[tokio::test]
async fn an_answer_that_stops_halfway_is_given_up_too() {
    let stalling = Script::start(vec![Answer::Stalled {
        body: "<a/>".to_owned(),
    }])
    .await;
    let (failure, took) = failure_of_a_listing(impatient(&stalling.endpoint())).await;
    assert_eq!(failure.kind, ErrorKind::TimedOut, "{failure}");
    assert_eq!(stalling.requests().len(), 3);
    assert!(took >= 3 * ATTEMPT && took < SLACK, "{took:?}");
}

#[tokio::test]
async fn the_limit_of_a_call_ends_it_whatever_tries_are_left() {
    let silent = Script::start(vec![Answer::Silence]).await;
    let hour = Duration::from_secs(3600);
    let operation = Duration::from_millis(300);
    let timeouts = Timeouts {
        connect: hour,
        read: hour,
        attempt: hour,
        operation,
        sweep: hour,
    };
    let (failure, took) = failure_of_a_listing(Config {
        timeouts,
        ..config(&silent.endpoint())
    })
    .await;
    assert_eq!(failure.kind, ErrorKind::TimedOut, "{failure}");
    assert!(took >= operation && took < SLACK, "{took:?}");
}

#[tokio::test]
async fn the_limit_of_a_listing_ends_it_between_pages_that_are_in_time_each() {
    let endless = Script::start(vec![page("more"), page("and more"), Answer::Silence]).await;
    let hour = Duration::from_secs(3600);
    let sweep = Duration::from_secs(1);
    let timeouts = Timeouts {
        connect: hour,
        read: hour,
        attempt: hour,
        operation: hour,
        sweep,
    };
    let (failure, took) = failure_of_a_listing(Config {
        timeouts,
        ..config(&endless.endpoint())
    })
    .await;
    assert_eq!(failure.kind, ErrorKind::TimedOut, "{failure}");
    assert_eq!(endless.requests().len(), 3);
    assert!(took >= sweep && took < SLACK, "{took:?}");
}

#[tokio::test]
async fn a_throttled_call_is_repeated_after_a_pause_and_succeeds() {
    let script = Script::start(vec![throttled(), throttled(), page("")]).await;
    let cloud = Ec2Cloud::new(config(&script.endpoint())).await.unwrap();
    assert_eq!(cloud.list().await.unwrap().len(), 1);
    assert_eq!(script.requests().len(), 3);
    assert!(
        script.pauses().into_iter().all(|pause| pause < SLACK),
        "{:?}",
        script.pauses()
    );
}

#[tokio::test]
async fn the_pauses_before_repetitions_have_the_configured_length() {
    // Each is a random part of its bound, so several calls are needed: the chance that all 24 stay below a quarter
    // of it is 4^-24.
    let bound = Duration::from_millis(400);
    let mut calls = JoinSet::new();
    for _ in 0..12 {
        calls.spawn(async move {
            let script = Script::start(vec![throttled(), throttled(), page("")]).await;
            let backoff = Backoff {
                initial: bound,
                max: bound,
            };
            let cloud = Ec2Cloud::new(Config {
                backoff,
                ..config(&script.endpoint())
            })
            .await
            .unwrap();
            assert_eq!(cloud.list().await.unwrap().len(), 1);
            script.pauses()
        });
    }
    let pauses = calls.join_all().await.concat();
    assert_eq!(pauses.len(), 24);
    assert!(pauses.iter().any(|pause| *pause >= bound / 4), "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause < bound + SLACK), "{pauses:?}");
}

#[tokio::test]
async fn throttling_that_does_not_end_is_reported_as_throttling() {
    let script = Script::start(vec![throttled()]).await;
    let (failure, _) = failure_of_a_listing(config(&script.endpoint())).await;
    assert_eq!(failure.kind, ErrorKind::Throttled);
    assert_eq!(failure.code.as_deref(), Some("RequestLimitExceeded"));
    assert_eq!(failure.call, "DescribeInstances");
    assert!(failure.kind.is_retryable());
    assert_eq!(script.requests().len(), 3);
}

#[tokio::test]
async fn want_of_capacity_is_reported_at_once_instead_of_asking_again() {
    let full = refusal(
        500,
        "InsufficientInstanceCapacity",
        "We currently do not have sufficient capacity.",
    );
    let script = Script::start(vec![full]).await;
    let cloud = Ec2Cloud::new(config(&script.endpoint())).await.unwrap();
    let failure = cloud.launch(&launch()).await.unwrap_err();
    assert_eq!(failure.kind, ErrorKind::NoCapacity);
    assert!(failure.kind.is_retryable());
    assert_eq!(script.requests().len(), 1);
}

#[tokio::test]
async fn an_internal_error_is_repeated_and_then_reported() {
    let script = Script::start(vec![refusal(
        500,
        "InternalError",
        "An internal error has occurred.",
    )])
    .await;
    let (failure, _) = failure_of_a_listing(config(&script.endpoint())).await;
    assert_eq!(
        (failure.kind, failure.code.as_deref()),
        (ErrorKind::Internal, Some("InternalError"))
    );
    assert_eq!(script.requests().len(), 3);
}

#[tokio::test]
async fn refusals_of_the_credentials_and_of_the_action_are_told_apart_and_not_repeated() {
    for (status, code, kind) in [
        (401, "AuthFailure", ErrorKind::NoCredentials),
        (403, "InvalidClientTokenId", ErrorKind::NoCredentials),
        (400, "ExpiredToken", ErrorKind::NoCredentials),
        (403, "UnauthorizedOperation", ErrorKind::Denied),
    ] {
        let script = Script::start(vec![refusal(status, code, "No.")]).await;
        let (failure, _) = failure_of_a_listing(config(&script.endpoint())).await;
        assert_eq!((failure.kind, failure.code.as_deref()), (kind, Some(code)));
        assert_eq!(script.requests().len(), 1, "{code}");
    }
}

#[tokio::test]
async fn what_is_not_an_answer_of_ec2_is_an_internal_error_and_no_empty_list() {
    for body in ["<html>Welcome to the hotel network</html>", "", "{}"] {
        let script = Script::start(vec![ok(body)]).await;
        let (failure, _) = failure_of_a_listing(config(&script.endpoint())).await;
        assert_eq!(failure.kind, ErrorKind::Internal, "{body}: {failure}");
    }
}

#[tokio::test]
async fn a_list_without_an_end_is_an_error_and_not_the_part_that_came() {
    let script = Script::start(vec![page("again")]).await;
    let (failure, _) = failure_of_a_listing(config(&script.endpoint())).await;
    assert_eq!(failure.kind, ErrorKind::Internal);
    assert_eq!(script.requests().len(), 200);
}

#[tokio::test]
async fn a_failure_on_a_later_page_fails_the_listing() {
    let denied = refusal(403, "UnauthorizedOperation", "No.");
    let script = Script::start(vec![page("more"), denied]).await;
    let (failure, _) = failure_of_a_listing(config(&script.endpoint())).await;
    assert_eq!(failure.kind, ErrorKind::Denied);
    assert!(script.requests()[1].body.contains("NextToken=more"));
}

#[tokio::test]
async fn an_endpoint_that_ignores_the_filters_does_not_bring_strangers_into_the_pool() {
    let stranger = ok(&format!(
        "<DescribeInstancesResponse><reservationSet><item><instancesSet>{}</instancesSet></item></reservationSet>\
         </DescribeInstancesResponse>",
        instance_xml("")
    ));
    let script = Script::start(vec![stranger]).await;
    let cloud = Ec2Cloud::new(config(&script.endpoint())).await.unwrap();
    assert_eq!(cloud.list().await, Ok(Vec::new()));
    let body = &script.requests()[0].body;
    for part in [
        "Filter.1.Name=tag%3AProject",
        "Filter.2.Name=tag%3AManagedBy",
        "MaxResults=500",
    ] {
        assert!(body.contains(part), "{part} in {body}");
    }
}

#[tokio::test]
async fn a_launch_is_repeated_with_the_same_token() {
    let launched = ok(&format!(
        "<RunInstancesResponse><instancesSet>{}</instancesSet></RunInstancesResponse>",
        pool_instance_xml()
    ));
    let script = Script::start(vec![throttled(), launched]).await;
    let cloud = Ec2Cloud::new(Config {
        security_group_id: Some("sg-1".to_owned()),
        subnet_id: Some("subnet-1".to_owned()),
        key_pair_name: Some("key-1".to_owned()),
        ..config(&script.endpoint())
    })
    .await
    .unwrap();
    assert_eq!(
        cloud.launch(&launch()).await.unwrap().instance_id,
        instance_id(INSTANCE)
    );
    let requests = script.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].body, requests[1].body);
    for part in [
        "Action=RunInstances&",
        "ClientToken=0b8e1c9a-launch-7",
        "ImageId=ami-785db401",
        "InstanceType=t3.large",
        "SecurityGroupId.1=sg-1",
        "SubnetId=subnet-1",
        "KeyName=key-1",
        "MinCount=1",
        "MaxCount=1",
        "TagSpecification.1.ResourceType=instance",
        "Value=understudy-test",
    ] {
        assert!(requests[0].body.contains(part), "{part} in {}", requests[0].body);
    }
    assert!(!requests[0].body.contains("Value=mine"), "{}", requests[0].body);
}

#[tokio::test]
async fn a_launch_without_a_configured_image_names_the_missing_key_and_sends_nothing() {
    let script = Script::start(vec![Answer::Silence]).await;
    let cloud = Ec2Cloud::new(Config {
        ami_id: None,
        ..config(&script.endpoint())
    })
    .await
    .unwrap();
    let refused = cloud.launch(&launch()).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Invalid);
    assert!(refused.to_string().contains("ami_id"), "{refused}");
    assert_eq!(script.requests().len(), 0);
}

#[tokio::test]
async fn a_forced_stop_of_a_listed_instance_is_one_request_that_waits_for_no_shutdown() {
    let script = Script::start(vec![page(""), stopping()]).await;
    let cloud = Ec2Cloud::new(config(&script.endpoint())).await.unwrap();
    cloud.list().await.unwrap();
    assert_eq!(
        cloud.change(&instance_id(INSTANCE), PowerChange::ForceStop).await,
        Ok(StateChange {
            previous: InstanceState::Running,
            current: InstanceState::Stopping
        })
    );
    let requests = script.requests();
    assert_eq!(requests.len(), 2);
    for part in ["Action=StopInstances&", "Force=true", "SkipOsShutdown=true"] {
        assert!(requests[1].body.contains(part), "{part} in {}", requests[1].body);
    }
}

#[tokio::test]
async fn an_instance_whose_tags_cannot_be_looked_up_is_not_touched() {
    let script = Script::start(vec![refusal(403, "UnauthorizedOperation", "No."), stopping()]).await;
    let cloud = Ec2Cloud::new(config(&script.endpoint())).await.unwrap();
    let refused = cloud
        .change(&instance_id(INSTANCE), PowerChange::Stop)
        .await
        .unwrap_err();
    assert_eq!(
        (refused.call, refused.kind),
        ("DescribeInstances", ErrorKind::Denied)
    );
    assert_eq!(script.requests().len(), 1);
}

#[tokio::test]
async fn a_launch_that_ec2_cannot_describe_yet_can_be_terminated() {
    let launched = ok(&format!(
        "<RunInstancesResponse><instancesSet>{}</instancesSet></RunInstancesResponse>",
        pool_instance_xml()
    ));
    let unknown = refusal(
        400,
        "InvalidInstanceID.NotFound",
        "The instance ID does not exist",
    );
    let terminating = ok(&format!(
        "<TerminateInstancesResponse><instancesSet><item><instanceId>{INSTANCE}</instanceId>\
         <currentState><code>32</code><name>shutting-down</name></currentState>\
         <previousState><code>0</code><name>pending</name></previousState></item></instancesSet>\
         </TerminateInstancesResponse>"
    ));
    let script = Script::start(vec![launched, unknown, terminating]).await;
    let cloud = Ec2Cloud::new(config(&script.endpoint())).await.unwrap();
    let instance = cloud.launch(&launch()).await.unwrap().instance_id;
    let change = cloud.change(&instance, PowerChange::Terminate).await.unwrap();
    assert_eq!(change.current, InstanceState::ShuttingDown);
    assert!(script.requests()[2].body.contains("Action=TerminateInstances&"));
}
