//! Whatever is wrong with a request, the answer is JSON with a sentence, never 500 and never HTML.

use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use reqwest::Method;
use serde_json::{Value, json};

use crate::served::{Answer, Served, send};

const ASSIGN: &str = "/api/competitions/finals/vm/assign";

#[track_caller]
fn is_error(answer: Answer, status: u16) -> Value {
    let content_type = answer.headers["content-type"].to_str().unwrap();
    assert_eq!(content_type, "application/json; charset=utf-8");
    let id = answer.headers["x-request-id"].to_str().unwrap();
    assert_eq!(answer.body["requestId"], id);
    assert_eq!(answer.headers["access-control-allow-origin"], "*");
    assert!(!answer.body["error"].as_str().unwrap().is_empty());
    answer.is(status)
}

async fn raw(served: &Served, content_type: Option<&str>, body: impl Into<reqwest::Body>) -> Answer {
    let request = served.request(Method::POST, ASSIGN).body(body);
    send(match content_type {
        Some(content_type) => request.header("content-type", content_type),
        None => request,
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_and_methods_that_do_not_exist_are_answered_in_json() {
    let served = Served::with(0, 0).await;
    for path in [
        "/api/nowhere",
        "/api",
        "/api/",
        "/nowhere",
        "/",
        "/api/alerts/finals",
        "/api/competitions/active",
        "/api/competitions/finals",
        "/api/admin/vm-pool/",
        "/api/admin/vm-pool/vm-a/ssh/logs",
        "/api/admin/vm-pool/vm-a/system-info",
        "/api/obs/scenes",
        "/socket.iox",
    ] {
        is_error(served.get(path).await, 404);
    }
    is_error(served.post("/api/competitions/deactivate").await, 404);
    for (method, path) in [
        (Method::DELETE, "/api/admin/vm-pool"),
        (Method::GET, ASSIGN),
        (Method::PATCH, "/api/admin/vm-pool/config"),
        (Method::POST, "/api/coordinator/status"),
    ] {
        let answer = send(served.request(method, path)).await;
        assert!(answer.headers.contains_key("allow"), "{path}");
        is_error(answer, 405);
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_json_objects_or_nothing() {
    let served = Served::with(0, 0).await;
    // With no VM at all, a body that is taken ends here.
    let taken = |answer: Answer| answer.refuses(409, "POOL_EXHAUSTED");
    taken(raw(&served, None, "").await);
    taken(raw(&served, Some("application/json"), "").await);
    taken(raw(&served, Some("text/plain"), " \n").await);
    taken(raw(&served, Some("application/json"), "null").await);
    taken(raw(&served, None, "{}").await);
    taken(
        raw(
            &served,
            Some("application/json; charset=utf-8"),
            r#"{"unknown": [1, {}]}"#,
        )
        .await,
    );
    taken(
        raw(
            &served,
            Some("application/json"),
            r#"{"preferredVmId": null, "region": null}"#,
        )
        .await,
    );

    for malformed in ["{", "{]", "nope", r#"{"a":1"#, "{}{}", "\u{feff}{}"] {
        let error = is_error(raw(&served, Some("application/json"), malformed).await, 400);
        assert!(!error["error"].as_str().unwrap().contains("panicked"));
    }
    is_error(
        raw(&served, Some("application/json"), vec![b'{', 0xff, b'}']).await,
        400,
    );
    for other in ["[]", "7", "\"x\"", "true", "[null,null]"] {
        is_error(raw(&served, Some("application/json"), other).await, 400);
    }
    for (misfit, field) in [
        (json!({"preferredVmId": 7}), "preferredVmId"),
        (json!({"preferredVmId": "a/b"}), "preferredVmId"),
        (json!({"preferredVmId": "config"}), "preferredVmId"),
        (json!({"allowFallback": "yes"}), "allowFallback"),
        (json!({"region": "x".repeat(65)}), "region"),
        (json!({"capabilities": "4k"}), "capabilities"),
    ] {
        assert_eq!(
            is_error(served.post_json(ASSIGN, &misfit).await, 400)["field"],
            field,
            "{misfit}"
        );
    }
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "json",
    ] {
        is_error(raw(&served, Some(content_type), "{}").await, 415);
    }
    let deep = "[".repeat(50_000);
    is_error(raw(&served, Some("application/json"), deep).await, 400);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_refused_whether_or_not_it_says_so() {
    let served = Served::with(0, 0).await;
    let large = format!(r#"{{"x": "{}"}}"#, "x".repeat(200_000));
    let told = is_error(raw(&served, Some("application/json"), large.clone()).await, 413);
    assert_eq!(told["limitBytes"], 102_400);
    // In chunks, its length is not announced.
    let chunks: Vec<_> = large
        .into_bytes()
        .chunks(4_096)
        .map(|chunk| Ok::<_, std::io::Error>(Frame::data(Bytes::copy_from_slice(chunk))))
        .collect();
    let body = reqwest::Body::wrap(StreamBody::new(futures_util::stream::iter(chunks)));
    is_error(raw(&served, Some("application/json"), body).await, 413);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_decoded_and_then_must_be_legal_keys() {
    let served = Served::with(0, 0).await;
    for illegal in [
        "a%2Fb",
        "a.b",
        "a%23b",
        "a%24b",
        "a%5Bb",
        "a%5Db",
        "a%00b",
        "a%0Ab",
        "%ff",
        "_pool",
        &"x".repeat(129),
    ] {
        for path in ["vm", "failovers"] {
            let answer = served.get(&format!("/api/competitions/{illegal}/{path}")).await;
            assert_eq!(is_error(answer, 400)["field"], "compId", "{illegal}");
        }
        is_error(served.get(&format!("/api/vm/{illegal}/status")).await, 400);
    }
    for illegal in ["a%2Fb", "a.b", "%ff", &"x".repeat(129)] {
        let answer = served.get(&format!("/api/admin/vm-pool/{illegal}")).await;
        assert_eq!(is_error(answer, 400)["field"], "vmId", "{illegal}");
    }
    let spaced = served
        .get("/api/competitions/State%20finals%202026/vm")
        .await
        .refuses(404, "NOT_ASSIGNED");
    assert_eq!(spaced["competitionId"], "State finals 2026");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_is_answered_on_any_path() {
    let served = Served::with(0, 0).await;
    for path in ["/api/admin/vm-pool", ASSIGN, "/nowhere", "/socket.io/"] {
        let asked = served
            .request(Method::OPTIONS, path)
            .header("origin", "https://shows.example.org")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type, idempotency-key");
        let answer = send(asked).await;
        assert_eq!(answer.status, 204, "{path}");
        assert_eq!(answer.headers["access-control-allow-origin"], "*");
        assert_eq!(
            answer.headers["access-control-allow-methods"],
            "GET,HEAD,PUT,PATCH,POST,DELETE"
        );
        assert_eq!(
            answer.headers["access-control-allow-headers"],
            "content-type, idempotency-key"
        );
        assert_eq!(answer.headers["vary"], "Access-Control-Request-Headers");
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_comes_back() {
    let served = Served::with(0, 0).await;
    let named = send(
        served
            .request(Method::GET, "/healthz")
            .header("x-request-id", "trace-7"),
    )
    .await;
    assert_eq!(named.headers["x-request-id"], "trace-7");
    let unnamed = served.get("/healthz").await;
    assert!(!unnamed.headers["x-request-id"].is_empty());
    served.stop().await;
}
