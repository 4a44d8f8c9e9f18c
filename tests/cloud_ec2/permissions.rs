//! What the credentials may do, asked of moto, which knows dry runs, and of endpoints that refuse or do not know them.

use understudy::infra::cloud::ec2::{Config, Ec2Cloud};
use understudy::infra::cloud::{Allowance, Cloud, ErrorKind, Permission};

use crate::support::moto::{Moto, NewInstance};
use crate::support::script::{Answer, Script};
use crate::{PROJECT, config, instance_id};

const CALLS: [&str; 7] = [
    "DescribeInstances",
    "RunInstances",
    "StartInstances",
    "StopInstances",
    "RebootInstances",
    "TerminateInstances",
    "CreateTags",
];

fn calls(permissions: &[Permission]) -> Vec<&str> {
    permissions.iter().map(|permission| permission.call).collect()
}

fn refusal(status: u16, code: &str, message: &str) -> Answer {
    let error = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    Answer::Whole {
        status,
        body: format!("<Response><Errors>{error}</Errors><RequestID>r-1</RequestID></Response>"),
    }
}

#[tokio::test]
async fn every_call_is_asked_about_and_none_is_made() {
    let moto = Moto::region_of_its_own().await;
    let cloud = Ec2Cloud::new(Config {
        region: moto.region().to_owned(),
        ..config(moto.endpoint())
    })
    .await
    .unwrap();
    let mine = moto.run(&NewInstance::of_pool(PROJECT, "studio")).await;
    let before = cloud.list().await.unwrap();
    let permissions = cloud.permissions(Some(&instance_id(&mine))).await;
    assert_eq!(calls(&permissions), CALLS);
    for permission in &permissions {
        assert_eq!(permission.allowance, Allowance::Allowed, "{permission:?}");
    }
    let after = cloud.list().await.unwrap();
    assert_eq!(after, before, "nothing was started, stopped, tagged or launched");
    let who = cloud.identity().await.unwrap();
    assert_eq!(who.account, "123456789012");
    assert!(who.arn.starts_with("arn:aws:"), "{who:?}");
}

#[tokio::test]
async fn without_an_instance_or_an_image_nothing_is_asked_about_them() {
    let moto = Moto::region_of_its_own().await;
    let cloud = Ec2Cloud::new(Config {
        region: moto.region().to_owned(),
        ami_id: None,
        ..config(moto.endpoint())
    })
    .await
    .unwrap();
    let permissions = cloud.permissions(None).await;
    assert_eq!(calls(&permissions), CALLS);
    assert_eq!(permissions[0].allowance, Allowance::Allowed);
    for permission in &permissions[1..] {
        assert!(
            matches!(permission.allowance, Allowance::NotAsked(_)),
            "{permission:?}"
        );
    }
}

#[tokio::test]
async fn a_denied_call_is_told_from_one_that_would_fail_for_another_reason() {
    let yes = refusal(
        412,
        "DryRunOperation",
        "Request would have succeeded, but DryRun flag is set.",
    );
    let denied = refusal(
        403,
        "UnauthorizedOperation",
        "You are not authorized to perform this operation. Encoded authorization failure message: 6KVyHo",
    );
    let missing = refusal(400, "InvalidAMIID.NotFound", "The image id does not exist");
    for (second, is_denied) in [(denied, true), (missing, false)] {
        let script = Script::start(vec![yes.clone(), second]).await;
        let cloud = Ec2Cloud::new(config(&script.endpoint())).await.unwrap();
        let permissions = cloud.permissions(None).await;
        let run = &permissions[1];
        assert_eq!(run.call, "RunInstances");
        match &run.allowance {
            Allowance::Denied(error) => {
                assert!(is_denied && error.kind == ErrorKind::Denied, "{error}");
                assert!(!error.to_string().contains("6KVyHo"), "{error}");
            }
            Allowance::Unclear(error) => assert!(!is_denied, "{error}"),
            Allowance::Allowed | Allowance::Ignored | Allowance::NotAsked(_) => panic!("{run:?}"),
        }
        for request in script.requests() {
            assert!(request.body.contains("DryRun=true"), "{}", request.body);
        }
    }
}

#[tokio::test]
async fn an_endpoint_that_knows_no_dry_runs_is_asked_nothing_that_it_might_do() {
    let body = "<DescribeInstancesResponse><reservationSet/></DescribeInstancesResponse>".to_owned();
    let script = Script::start(vec![Answer::Whole { status: 200, body }]).await;
    let cloud = Ec2Cloud::new(config(&script.endpoint())).await.unwrap();
    let permissions = cloud.permissions(Some(&instance_id("i-0123456789abcdef0"))).await;
    assert_eq!(calls(&permissions), ["DescribeInstances"]);
    assert_eq!(permissions[0].allowance, Allowance::Ignored);
    assert_eq!(script.requests().len(), 1);
}
