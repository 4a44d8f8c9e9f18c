//! The OpenAPI document, its page, and the web application.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::Value;
use understudy::api::Options;

use crate::bounds::Raw;
use crate::served::{Served, open, send};

#[tokio::test(flavor = "multi_thread")]
async fn the_document_describes_every_route_and_is_generated() {
    let served = Served::with(0, 0).await;
    let document = served.get("/api/openapi.json").await.is(200);
    let generated: Value = serde_json::from_str(&understudy::api::openapi_json().unwrap()).unwrap();
    assert_eq!(document, generated);
    let mut routes = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            routes.insert(format!("{method} {path}"));
            let responses = operation["responses"].as_object().unwrap();
            // Nothing here is its to stop, and the document says so.
            let succeeds = responses.keys().any(|status| status.starts_with('2'));
            assert_eq!(succeeds, path != "/api/coordinator/stop", "{method} {path}");
            assert!(responses.contains_key("503"), "{method} {path}");
            let takes_id = path.contains('{');
            assert!(
                !takes_id || responses.contains_key("400"),
                "{method} {path} may refuse an id"
            );
        }
    }
    let expected = [
        "delete /api/admin/vm-pool/{vmId}",
        "get /api/admin/alerts",
        "get /api/admin/rehearsals",
        "get /api/admin/rehearsals/{rehearsalId}",
        "post /api/admin/rehearsals",
        "post /api/admin/rehearsals/{rehearsalId}/cancel",
        "get /api/admin/vm-pool",
        "get /api/admin/vm-pool/config",
        "get /api/admin/vm-pool/ssh/operations",
        "get /api/admin/executions",
        "get /api/admin/vm-pool/{vmId}",
        "get /api/admin/vm-pool/{vmId}/ssh/files",
        "get /api/admin/vm-pool/{vmId}/ssh/files/list",
        "get /api/admin/vm-pool/{vmId}/ssh/logs",
        "get /api/admin/vm-pool/{vmId}/ssh/services",
        "get /api/admin/vm-pool/{vmId}/system-info",
        "get /api/competitions/{compId}/failovers",
        "get /api/competitions/{compId}/studio",
        "get /api/competitions/{compId}/studio/diff",
        "get /api/competitions/{compId}/vm",
        "get /api/coordinator/activity",
        "get /api/coordinator/idle",
        "get /api/coordinator/status",
        "get /api/show-templates",
        "get /api/competitions/{compId}/show/config",
        "put /api/competitions/{compId}/show/config",
        "get /api/shows",
        "get /api/status",
        "get /api/vm/{compId}/status",
        "get /healthz",
        "get /metrics",
        "get /readyz",
        "post /api/admin/vm-pool/health-check",
        "post /api/admin/vm-pool/launch",
        "post /api/admin/vm-pool/ready",
        "post /api/admin/vm-pool/{vmId}/maintenance",
        "post /api/admin/vm-pool/{vmId}/archive",
        "post /api/admin/vm-pool/{vmId}/reboot",
        "post /api/admin/executions/{executionId}/cancel",
        "post /api/admin/vm-pool/{vmId}/ssh/exec",
        "post /api/admin/vm-pool/{vmId}/ssh/restart-service",
        "post /api/admin/vm-pool/{vmId}/start",
        "post /api/admin/vm-pool/{vmId}/stop",
        "post /api/competitions/{compId}/show/start",
        "post /api/competitions/{compId}/show/stop",
        "post /api/competitions/{compId}/vm/assign",
        "post /api/competitions/{compId}/vm/failover",
        "post /api/competitions/{compId}/vm/hold",
        "post /api/competitions/{compId}/vm/release",
        "post /api/competitions/{compId}/vm/test",
        "post /api/coordinator/activity",
        "post /api/coordinator/keep-alive",
        "post /api/coordinator/stop",
        "post /api/coordinator/wake",
        "put /api/admin/vm-pool/config",
        "put /api/admin/vm-pool/{vmId}/ssh/files",
    ];
    assert_eq!(routes, expected.map(str::to_owned).into());
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_schema_that_is_referred_to_is_there() {
    let document: Value = serde_json::from_str(&understudy::api::openapi_json().unwrap()).unwrap();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let text = document.to_string();
    let referred = text
        .split("#/components/schemas/")
        .skip(1)
        .filter_map(|rest| rest.split('"').next());
    for name in referred {
        assert!(schemas.contains_key(name), "{name}");
    }
}

#[test]
fn the_checks_that_anybody_may_ask_for_do_not_ask_for_a_token() {
    let document: Value = serde_json::from_str(&understudy::api::openapi_json().unwrap()).unwrap();
    for path in ["/healthz", "/readyz"] {
        let responses = document["paths"][path]["get"]["responses"].as_object().unwrap();
        let told: Vec<&str> = responses.keys().map(String::as_str).collect();
        assert_eq!(told, ["200", "500", "503", "504"], "{path}");
    }
    let pool = &document["paths"]["/api/status"]["get"]["responses"];
    assert!(pool["401"].is_object() && pool["429"].is_object(), "{pool}");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_can_read_the_document_in_a_browser_without_the_internet() {
    let served = Served::with(0, 0).await;
    let page = served.request(Method::GET, "/api/docs/").send().await.unwrap();
    assert_eq!(page.status(), 200);
    let page = page.text().await.unwrap();
    assert!(page.contains("swagger-ui"));
    assert!(!page.contains("https://"), "{page}");
    let start = served
        .request(Method::GET, "/api/docs/swagger-initializer.js")
        .send()
        .await
        .unwrap();
    assert!(start.text().await.unwrap().contains("/api/openapi.json"));
    let script = served
        .request(Method::GET, "/api/docs/swagger-ui-bundle.js")
        .send()
        .await
        .unwrap();
    assert_eq!(script.status(), 200);
    served.get("/api/docs/nowhere.js").await.refuses(404, "NOT_FOUND");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_application_is_served_from_its_directory_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let site = dir.path().join("site");
    std::fs::create_dir_all(site.join("assets/.git")).unwrap();
    std::fs::write(site.join("index.html"), "<title>app</title>").unwrap();
    std::fs::write(site.join("assets/app.js"), "let x;").unwrap();
    std::fs::write(site.join(".env"), "SECRET=1").unwrap();
    std::fs::write(site.join("assets/.git/config"), "SECRET=1").unwrap();
    std::fs::write(dir.path().join("outside.txt"), "SECRET=1").unwrap();
    let served = Served::with_options(
        0,
        0,
        Options {
            static_dir: Some(site),
            ..open()
        },
    )
    .await;
    let text = async |path: &str| {
        let answer = served.request(Method::GET, path).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    for path in ["/", "/index.html", "/shows/finals"] {
        assert_eq!(text(path).await, (200, "<title>app</title>".to_owned()), "{path}");
    }
    assert_eq!(text("/assets/app.js").await, (200, "let x;".to_owned()));
    // The client follows the redirects of the host's functions, as a browser does.
    let functions = "/.netlify/functions";
    let status = served
        .get(&format!("{functions}/coordinator-status"))
        .await
        .is(200);
    assert_eq!(status["state"], "running");
    let woken = send(served.request(Method::POST, &format!("{functions}/wake-coordinator"))).await;
    assert_eq!(woken.is(200)["success"], true);
    for path in [
        "/.env",
        "/.netlify/functions/no-such",
        "/%2eenv",
        "/assets/.git/config",
        "/assets%2F.git%2Fconfig",
        "/../outside.txt",
        "/%2e%2e/outside.txt",
        "/..%2foutside.txt",
        "/assets/..%5coutside.txt",
    ] {
        // Byte for byte: a proper client would tidy these up.
        let (status, body) = Raw::get(&served, path).await;
        assert_eq!(status, 404, "{path}");
        assert!(!body.to_string().contains("SECRET"), "{path}");
    }
    let nothing = served.get("/api/nowhere").await.refuses(404, "NOT_FOUND");
    assert!(
        nothing["error"].as_str().unwrap().contains("/api/docs"),
        "{nothing}"
    );
    send(served.request(Method::POST, "/")).await.is(404);
    served.stop().await;
}
