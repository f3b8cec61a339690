//! Requests of the operator, and what is refused to everybody.

use axum::http::StatusCode;
use hardway_model::messages::ErrorBody;
use hardway_model::view::Status;
use serde_json::{Value, json};

use super::{SCRIPT, boot, parse, row};
use crate::fixture::{Appliance, TOKEN};

#[tokio::test]
async fn a_broken_cluster_file_serves_nobody_and_says_why() {
    let appliance = Appliance::with("version: 1\nclutser: {name: lab}\n").await;
    for path in ["/boot.ipxe", SCRIPT] {
        let (status, text) = appliance.get(path).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{text}");
    }
    let (_, text) = appliance.get("/api/v1/status").await;
    let status: Status = parse(&text);
    assert_eq!(status.cluster, None);
    assert!(
        status.problems.concat().contains("cluster.yaml:2:1"),
        "{text}"
    );
    let (_, page) = appliance.get("/").await;
    assert!(
        page.contains("cluster.yaml:2:1") && page.contains("nobody is served"),
        "{page}"
    );
}

#[tokio::test]
async fn a_file_that_breaks_later_does_not_replace_a_good_one() {
    let appliance = Appliance::start().await;
    let path = &appliance.context.options.config;
    std::fs::write(path, "version: 1\n").unwrap();
    crate::configuration::load_into(&appliance.context.fleet, path)
        .await
        .unwrap();
    let (_, text) = appliance.get("/api/v1/status").await;
    let status: Status = parse(&text);
    assert_eq!(status.cluster.as_deref(), Some("lab"));
    assert!(!status.problems.is_empty());
    boot(&appliance, SCRIPT).await;
    let (_, page) = appliance.get("/").await;
    assert!(
        page.contains("the last right one is still served"),
        "{page}"
    );
}

#[tokio::test]
async fn reinstalling_needs_the_token_and_a_declared_machine() {
    let appliance = Appliance::start().await;
    let path = "/api/v1/machines/node1/reinstall";
    assert_eq!(
        appliance.post(path, None, &Value::Null).await.0,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(row(&appliance, "node1").await.generation, 1);
    assert_eq!(
        appliance.post(path, Some(TOKEN), &Value::Null).await.0,
        StatusCode::ACCEPTED
    );
    let (status, _) = appliance
        .post(
            "/api/v1/machines/nobody/reinstall",
            Some(TOKEN),
            &Value::Null,
        )
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, _) = appliance
        .post("/api/v1/appliance/reboot", Some(TOKEN), &Value::Null)
        .await;
    assert_eq!(
        status,
        StatusCode::CONFLICT,
        "a daemon does not restart its machine"
    );
}

#[tokio::test]
async fn files_come_with_ranges_and_nothing_outside_is_served() {
    let appliance = Appliance::start().await;
    assert_eq!(
        appliance.get("/boot/vmlinuz").await,
        (StatusCode::OK, "a kernel".into())
    );
    let request = axum::http::Request::get("/boot/vmlinuz").header("range", "bytes=2-7");
    let request = request.body(axum::body::Body::empty()).unwrap();
    assert_eq!(
        appliance.ask(request).await,
        (StatusCode::PARTIAL_CONTENT, "kernel".into())
    );
    for path in [
        "/boot/none",
        "/boot/../../cluster.yaml",
        "/images/..%2fcluster.yaml",
        "/nothing",
    ] {
        let (status, text) = appliance.get(path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}: {text}");
        assert!(!parse::<ErrorBody>(&text).error.is_empty());
    }
}

#[tokio::test]
async fn bodies_are_judged_and_limited() {
    let appliance = Appliance::start().await;
    let (status, text) = appliance
        .post("/agent/v1/hello", None, &json!({"token": 1}))
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        parse::<ErrorBody>(&text).error.contains("column 10"),
        "{text}"
    );
    let (status, _) = appliance
        .post("/agent/v1/report", None, &"x".repeat(2 << 20))
        .await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn the_export_needs_the_token() {
    let appliance = Appliance::start().await;
    boot(&appliance, SCRIPT).await;
    assert_eq!(
        appliance.get("/api/v1/export").await.0,
        StatusCode::UNAUTHORIZED
    );
    let request = axum::http::Request::get("/api/v1/export")
        .header("authorization", format!("Bearer {TOKEN}"))
        .body(axum::body::Body::empty());
    let (status, text) = appliance.ask(request.unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    let export: Value = parse(&text);
    assert_eq!(
        export["machines"]["node1"]["phase"]["phase"], "booting",
        "{text}"
    );
}
