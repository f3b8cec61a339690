//! Machines with data disks: several grants, the toolbox, and the document that a plan was made with.

use axum::http::StatusCode;
use hardway_model::inventory::{Content, Disk, Inventory};
use hardway_model::messages::{AgentEvent, ConfigRequest, Orders};
use hardway_model::view::{GrantRequest, MachineDetail};

use super::super::operator;
use super::{SCRIPT, boot, execute, foreign, hello, parse, report};
use crate::fixture::{Appliance, MAC, TOKEN, inventory};

const PART: &str = "variant: fcos\nversion: 1.5.0\nstorage:\n  filesystems:\n    - {device: /dev/vdb, \
                    format: xfs, wipe_filesystem: true}\n";

/// The system goes to the largest disk, and `/dev/vdb` gets a filesystem.
async fn appliance() -> Appliance {
    let appliance = Appliance::start().await;
    let at = |name: &str| appliance.folder.path().join(name);
    let cluster = std::fs::read_to_string(at("cluster.yaml")).unwrap();
    let cluster = cluster.replace("min_size: 1GiB", "path: /dev/vda");
    let cluster = cluster.replace("node.img.zst", "node.img");
    std::fs::write(at("cluster.yaml"), cluster).unwrap();
    let config = &appliance.context.options.config;
    crate::configuration::load_into(&appliance.context.fleet, config)
        .await
        .unwrap();
    std::fs::write(at("base.bu"), PART).unwrap();
    let image = hardway_recognition::fixture::gpt_disk(8 << 20, 512, &[("root", 1, 2)]);
    std::fs::write(at("images/node.img"), image).unwrap();
    std::fs::create_dir_all(at("payload/toolbox")).unwrap();
    let index = format!(
        r#"{{"segments": [{{"name": "storage", "file": "storage.cpio.zst", "sha256": "{}", "size": 5}}]}}"#,
        hardway_model::identity::Sha256([7; 32])
    );
    std::fs::write(at("payload/toolbox/index.json"), index).unwrap();
    std::fs::write(at("payload/toolbox/storage.cpio.zst"), b"tools").unwrap();
    std::fs::write(at("payload/toolbox/notes"), b"not listed").unwrap();
    appliance
}

fn machine(content: fn() -> Content) -> Inventory {
    let mut inventory = inventory(MAC, content());
    inventory.disks.push(Disk {
        path: "/dev/vdb".into(),
        serial: Some("disk-2".into()),
        ..inventory.disks[0].clone()
    });
    inventory
}

#[tokio::test]
async fn each_full_disk_waits_for_a_grant_of_its_own() {
    let appliance = appliance().await;
    let token = boot(&appliance, SCRIPT).await;
    let (_, text) = hello(&appliance, &token, machine(foreign)).await;
    let Orders::Hold { reason, .. } = parse(&text) else {
        panic!("not held: {text}");
    };
    for disk in ["disk-1", "disk-2"] {
        let command = format!("`hardway grant wipe node1 --disk {disk}`");
        assert!(reason.contains(&command), "{reason}");
    }

    let grants = "/api/v1/machines/node1/grants";
    let (status, text) = appliance
        .post(grants, Some(TOKEN), &GrantRequest::default())
        .await;
    assert_eq!(status, StatusCode::CONFLICT, "{text}");
    assert!(text.contains("--disk disk-2"), "{text}");
    let first = GrantRequest {
        disk: Some("disk-1".into()),
    };
    let (status, _) = appliance.post(grants, Some(TOKEN), &first).await;
    assert_eq!(status, StatusCode::CREATED);
    // One is left, so that it need not be named.
    let (status, text) = appliance
        .post(grants, Some(TOKEN), &GrantRequest::default())
        .await;
    assert_eq!(status, StatusCode::CREATED, "{text}");
    assert!(text.contains("disk-2"), "{text}");
    let detail = || async {
        let (_, text) = appliance.get("/api/v1/machines/node1").await;
        parse::<MachineDetail>(&text)
    };
    assert_eq!(detail().await.grants.len(), 2);

    let (_, text) = hello(&appliance, &token, machine(foreign)).await;
    execute(&text);
    let (_, page) = appliance.get("/machines/node1").await;
    assert!(page.contains("What is to happen to its disks"), "{page}");
    let started = AgentEvent::StepStarted {
        step: "claim-disk".into(),
    };
    report(&appliance, &token, 1, started).await;
    assert_eq!(
        detail().await.grants,
        [],
        "both are spent by the first write"
    );
}

#[tokio::test]
async fn what_is_served_is_what_was_planned() {
    let appliance = appliance().await;
    let token = boot(&appliance, SCRIPT).await;
    let (_, text) = hello(&appliance, &token, machine(|| Content::Blank)).await;
    execute(&text);
    let part = appliance.folder.path().join("base.bu");
    std::fs::write(&part, PART.replace("xfs", "btrfs")).unwrap();
    let request = ConfigRequest {
        token: token.clone(),
    };
    let (status, text) = appliance.post("/agent/v1/config", None, &request).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    assert!(text.contains("xfs") && !text.contains("btrfs"), "{text}");
}

#[tokio::test]
async fn after_a_restart_the_same_document_is_served_or_none() {
    let appliance = appliance().await;
    let token = boot(&appliance, SCRIPT).await;
    let (_, text) = hello(&appliance, &token, machine(|| Content::Blank)).await;
    execute(&text);
    let mut restarted = appliance;
    restarted.context.documents = Default::default();
    let request = ConfigRequest { token };
    let part = restarted.folder.path().join("base.bu");
    std::fs::write(&part, PART.replace("xfs", "btrfs")).unwrap();
    let (status, text) = restarted.post("/agent/v1/config", None, &request).await;
    assert_eq!(status, StatusCode::CONFLICT, "{text}");
    std::fs::write(&part, PART).unwrap();
    let (status, text) = restarted.post("/agent/v1/config", None, &request).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    assert!(text.contains("xfs"), "{text}");
}

#[tokio::test]
async fn nothing_but_the_toolbox_is_served_from_its_folder() {
    let appliance = appliance().await;
    let (status, text) = appliance.get("/toolbox/storage.cpio.zst").await;
    assert_eq!((status, text.as_str()), (StatusCode::OK, "tools"));
    for path in [
        "notes",
        "index.json",
        "../boot/vmlinuz",
        "..%2fboot/vmlinuz",
    ] {
        let (status, text) = appliance.get(&format!("/toolbox/{path}")).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}: {text}");
    }
}

#[tokio::test]
async fn an_unfinished_installation_keeps_its_confirmation_key() {
    let appliance = appliance().await;
    let token = boot(&appliance, SCRIPT).await;
    let blank = || machine(|| Content::Blank);
    let (_, text) = hello(&appliance, &token, blank()).await;
    let (_, first) = execute(&text);
    let (_, text) = hello(&appliance, &token, blank()).await;
    assert_eq!(execute(&text).1, first, "after a step that failed");
    let (status, _) = appliance
        .post("/api/v1/machines/node1/reinstall", Some(TOKEN), &())
        .await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let (_, text) = hello(&appliance, &token, blank()).await;
    assert_ne!(execute(&text).1, first, "another generation, another key");
}

#[tokio::test]
async fn whoever_asks_for_plans_waits_and_the_machines_do_not() {
    let appliance = appliance().await;
    let token = boot(&appliance, SCRIPT).await;
    let taken = operator::ASKED.acquire_many(4).await.unwrap();
    let (_, text) = hello(&appliance, &token, machine(|| Content::Blank)).await;
    execute(&text);
    let plan = appliance.get("/api/v1/machines/node1/plan");
    let mut plan = std::pin::pin!(plan);
    let soon = std::time::Duration::from_millis(50);
    assert!(tokio::time::timeout(soon, &mut plan).await.is_err());
    drop(taken);
    let (status, text) = plan.await;
    assert_eq!(status, StatusCode::OK, "{text}");
}
