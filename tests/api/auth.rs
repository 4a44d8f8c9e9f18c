//! Who may call what, over the wire.

use reqwest::Method;
use serde_json::json;
use understudy::api::{AuthMode, Options};
use understudy::domain::studio::Secret;

use crate::served::{Answer, Served, send};

const TOKEN: &str = "an-operations-token";

fn options(auth: AuthMode) -> Options {
    Options {
        auth,
        admin_token: Some(Secret::new(TOKEN)),
        ..Options::default()
    }
}

async fn call(served: &Served, method: Method, path: &str, token: Option<&str>) -> Answer {
    let request = served
        .request(method, path)
        .json(&json!({"enabled": true, "held": true}));
    send(match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    })
    .await
}

/// Routes that look, that existing clients call, that move shows, and that break things.
const ANYBODY: [(Method, &str); 7] = [
    (Method::GET, "/api/status"),
    (Method::GET, "/api/coordinator/status"),
    (Method::GET, "/api/coordinator/idle"),
    (Method::POST, "/api/coordinator/keep-alive"),
    (Method::GET, "/api/vm/finals/status"),
    (Method::GET, "/healthz"),
    (Method::GET, "/api/openapi.json"),
];
const EXISTING: [(Method, &str); 11] = [
    (Method::GET, "/api/admin/vm-pool"),
    (Method::GET, "/api/admin/vm-pool/config"),
    (Method::GET, "/api/admin/vm-pool/vm-a"),
    (Method::POST, "/api/admin/vm-pool/vm-a/start"),
    (Method::POST, "/api/admin/vm-pool/vm-a/stop"),
    (Method::POST, "/api/competitions/finals/vm/assign"),
    (Method::POST, "/api/competitions/finals/vm/release"),
    (Method::GET, "/api/competitions/finals/vm"),
    (Method::GET, "/api/competitions/finals/failovers"),
    (Method::POST, "/api/coordinator/stop"),
    (Method::GET, "/api/shows"),
];
const GUARDED: [(Method, &str); 8] = [
    (Method::DELETE, "/api/admin/vm-pool/vm-a"),
    (Method::POST, "/api/admin/vm-pool/vm-a/reboot"),
    (Method::POST, "/api/admin/vm-pool/vm-a/maintenance"),
    (Method::POST, "/api/admin/vm-pool/vm-a/archive"),
    (Method::POST, "/api/competitions/finals/vm/failover"),
    (Method::POST, "/api/competitions/finals/vm/hold"),
    (Method::POST, "/api/competitions/finals/show/start"),
    (Method::POST, "/api/competitions/finals/show/stop"),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_mode_asks_for_a_token_where_it_says() {
    for (mode, existing_asks, guarded_asks) in [
        (AuthMode::Open, false, false),
        (AuthMode::Compat, false, true),
        (AuthMode::Required, true, true),
    ] {
        let served = Served::with_options(0, 0, options(mode)).await;
        let routes = ANYBODY
            .into_iter()
            .map(|route| (route, false))
            .chain(EXISTING.into_iter().map(|route| (route, existing_asks)))
            .chain(GUARDED.into_iter().map(|route| (route, guarded_asks)));
        for ((method, path), asks) in routes {
            let without = call(&served, method.clone(), path, None).await;
            assert_eq!(
                without.status == 401,
                asks,
                "{mode:?} {method} {path}: {}",
                without.status
            );
            if asks {
                assert_eq!(without.headers["www-authenticate"], "Bearer");
                let body = without.refuses(401, "UNAUTHORIZED");
                assert!(body["requiredRole"].is_string());
            }
            let with = call(&served, method.clone(), path, Some(TOKEN)).await;
            assert_ne!(with.status, 401, "{mode:?} {method} {path}");
        }
        served.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_refused_and_never_repeated() {
    let served = Served::with_options(0, 0, options(AuthMode::Compat)).await;
    let (_, pool) = &EXISTING[0];
    for wrong in ["an-operations-tokem", "x", ""] {
        let refused = call(&served, Method::GET, pool, Some(wrong)).await;
        assert!(wrong.is_empty() || !refused.body.to_string().contains(wrong));
        refused.refuses(401, "UNAUTHORIZED");
    }
    let basic = served
        .request(Method::GET, pool)
        .basic_auth("operator", Some(TOKEN));
    send(basic).await.refuses(401, "UNAUTHORIZED");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_is_remembered_as_the_one_who_assigned() {
    let served = Served::with_options(1, 0, options(AuthMode::Compat)).await;
    let assigned = call(
        &served,
        Method::POST,
        "/api/competitions/finals/vm/assign",
        Some(TOKEN),
    )
    .await
    .is(200);
    let vm = assigned["vmId"].as_str().unwrap();
    let record = served.get(&format!("/api/admin/vm-pool/{vm}")).await.is(200);
    assert_eq!(record["assignedBy"], "operator");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_listed_origins_may_call_from_a_browser() {
    let listed = "https://shows.example.org";
    let options = Options {
        cors_origins: vec![listed.to_owned()],
        ..options(AuthMode::Required)
    };
    let served = Served::with_options(0, 0, options).await;
    for (origin, allowed) in [(listed, true), ("https://evil.example.org", false)] {
        for method in [Method::OPTIONS, Method::GET] {
            let request = served
                .request(method, "/api/admin/vm-pool")
                .header("origin", origin);
            let answer = send(request).await;
            let header = answer
                .headers
                .get("access-control-allow-origin")
                .map(|v| v.to_str().unwrap());
            assert_eq!(header, allowed.then_some(origin));
            assert!(answer.headers.get("access-control-allow-credentials").is_none());
            let vary: Vec<_> = answer.headers.get_all("vary").iter().collect();
            assert!(vary.iter().any(|value| *value == "Origin"), "{vary:?}");
        }
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_are_for_whoever_may_list_the_pool() {
    for (mode, asks) in [
        (AuthMode::Open, false),
        (AuthMode::Compat, false),
        (AuthMode::Required, true),
    ] {
        let served = Served::with_options(0, 0, options(mode)).await;
        let scrape = || served.request(Method::GET, "/metrics");
        let without = scrape().send().await.unwrap().status();
        assert_eq!(without.as_u16(), if asks { 401 } else { 200 }, "{mode:?}");
        let with = scrape().bearer_auth(TOKEN).send().await.unwrap().status();
        assert_eq!(with.as_u16(), 200, "{mode:?}");
        served.stop().await;
    }
}
