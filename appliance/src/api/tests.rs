//! Requests against the whole route table: machines on their way to a running system. What the
//! operator asks is in [`operator`].

mod boot_entries;
mod disks;
mod network;
mod operator;
mod receipts;
mod starting;

use axum::http::StatusCode;
use hardway_model::inventory::{Content, Inventory};
use hardway_model::lifecycle::Phase;
use hardway_model::messages::{
    AgentEvent, ConfigRequest, ErrorBody, Hello, Orders, Report, Running,
};
use hardway_model::plan::{Decision, Plan, Step};
use hardway_model::view::{GrantRequest, MachineDetail, MachineView, Status};
use serde::de::DeserializeOwned;

use crate::fixture::{Appliance, MAC, TOKEN, inventory};

const SCRIPT: &str = "/ipxe?mac=52-54-00-00-00-01&uuid=&serial=&buildarch=x86_64&platform=pcbios";

fn parse<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn foreign() -> Content {
    Content::Foreign {
        signatures: vec!["gpt: 3 partitions".into()],
    }
}

/// Boots by iPXE and gives back the boot token.
async fn boot(appliance: &Appliance, script: &str) -> String {
    let (status, script) = appliance.get(script).await;
    assert_eq!(status, StatusCode::OK, "{script}");
    let argument = script
        .split("hardway.token=")
        .nth(1)
        .expect("a script with a token");
    argument.split_whitespace().next().unwrap().to_owned()
}

async fn hello(appliance: &Appliance, token: &str, inventory: Inventory) -> (StatusCode, String) {
    let hello = Hello {
        token: token.into(),
        boot_mac: inventory.nics[0].mac,
        agent: "0.1.0".into(),
        fetched: 1000,
        inventory,
    };
    appliance.post("/agent/v1/hello", None, &hello).await
}

async fn report(
    appliance: &Appliance,
    token: &str,
    sequence: u64,
    event: AgentEvent,
) -> StatusCode {
    let token = token.to_owned();
    let report = Report {
        token,
        sequence,
        event,
    };
    appliance.post("/agent/v1/report", None, &report).await.0
}

async fn row(appliance: &Appliance, name: &str) -> MachineView {
    let (_, text) = appliance.get(&format!("/api/v1/machines/{name}")).await;
    parse::<MachineDetail>(&text).machine
}

fn execute(text: &str) -> (Plan, String) {
    match parse(text) {
        Orders::Execute {
            plan,
            confirmation_key,
        } => (plan, confirmation_key),
        Orders::Hold { reason, .. } => panic!("held: {reason}"),
    }
}

#[tokio::test]
async fn a_blank_machine_goes_all_the_way() {
    let appliance = Appliance::start().await;
    let (_, script) = appliance.get("/boot.ipxe").await;
    assert!(script.starts_with("#!ipxe") && script.contains("http://10.77.0.1/ipxe?mac="));
    let token = boot(&appliance, SCRIPT).await;
    assert_eq!(token.len(), 32);
    assert_eq!(row(&appliance, "node1").await.phase, Phase::Booting);

    let (status, text) = hello(&appliance, &token, inventory(MAC, Content::Blank)).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let (plan, key) = execute(&text);
    assert_eq!((plan.machine.as_str(), plan.generation), ("node1", 1));
    let names: Vec<&str> = plan.steps.iter().map(Step::name).collect();
    assert_eq!(
        names.first().zip(names.last()),
        Some((&"claim-disk", &"hand-over"))
    );

    let receipt = plan.steps.iter().find_map(|step| match step {
        Step::CommitDisk { receipt } => Some(receipt.clone()),
        _ => None,
    });
    let receipt = receipt.expect("a step that commits");
    let started = AgentEvent::StepStarted {
        step: "claim-disk".into(),
    };
    assert_eq!(
        report(&appliance, &token, 1, started).await,
        StatusCode::NO_CONTENT
    );
    assert_eq!(row(&appliance, "node1").await.installs_begun, 1);
    let installed = AgentEvent::Installed {
        receipt: Box::new(receipt),
    };
    assert_eq!(
        report(&appliance, &token, 2, installed.clone()).await,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        report(&appliance, &token, 2, installed).await,
        StatusCode::NO_CONTENT
    );
    assert_eq!(row(&appliance, "node1").await.phase, Phase::Installed);

    let mut running = Running {
        machine: "node1".into(),
        generation: 1,
        key: "guessed".into(),
        boot_id: "first".into(),
        inventory: None,
        written: None,
    };
    let (status, _) = appliance.post("/agent/v1/running", None, &running).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    running.key = key;
    let (status, _) = appliance.post("/agent/v1/running", None, &running).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let machine = row(&appliance, "node1").await;
    assert_eq!(
        (machine.phase, machine.installed_generation),
        (Phase::Running, Some(1))
    );

    let (_, status) = appliance.get("/api/v1/status").await;
    let status: Status = parse(&status);
    assert_eq!((status.declared, status.running), (1, 1));
    // Its check has not held yet.
    assert_eq!(status.ready, 0);

    // Installed, and from the network again: to its disk.
    let (_, script) = appliance.get(SCRIPT).await;
    assert!(
        script.contains("sanboot") && !script.contains("hardway.token"),
        "{script}"
    );
}

#[tokio::test]
async fn the_configuration_is_served_once() {
    let appliance = Appliance::start().await;
    let token = boot(&appliance, SCRIPT).await;
    let request = ConfigRequest {
        token: token.clone(),
    };
    let (status, _) = appliance.post("/agent/v1/config", None, &request).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "before the plan");

    let (_, text) = hello(&appliance, &token, inventory(MAC, Content::Blank)).await;
    let (plan, _) = execute(&text);
    let expected = plan.steps.iter().find_map(|step| match step {
        Step::ApplyConfig { sha256, .. } => Some(*sha256),
        _ => None,
    });
    let (status, operations) = appliance.post("/agent/v1/config", None, &request).await;
    assert_eq!(status, StatusCode::OK, "{operations}");
    assert!(operations.contains("/etc/hostname"), "{operations}");
    use sha2::Digest as _;
    let digest = hardway_model::identity::Sha256(sha2::Sha256::digest(&operations).into());
    assert_eq!(Some(digest), expected);

    let (status, text) = appliance.post("/agent/v1/config", None, &request).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(
        parse::<ErrorBody>(&text).error.contains("already"),
        "{text}"
    );
}

#[tokio::test]
async fn a_stranger_that_names_its_hardware_after_an_installed_machine_gets_no_configuration() {
    let appliance = Appliance::start().await;
    let token = boot(&appliance, SCRIPT).await;
    let (_, text) = hello(&appliance, &token, inventory(MAC, Content::Blank)).await;
    let (plan, _) = execute(&text);
    let receipt = plan.steps.into_iter().find_map(|step| match step {
        Step::CommitDisk { receipt } => Some(receipt),
        _ => None,
    });
    let installed = AgentEvent::Installed {
        receipt: Box::new(receipt.unwrap()),
    };
    report(&appliance, &token, 1, installed).await;

    let token = boot(&appliance, &SCRIPT.replace("00-01", "00-99")).await;
    hello(&appliance, &token, inventory(MAC, Content::Blank)).await;
    let request = ConfigRequest { token };
    let (status, text) = appliance.post("/agent/v1/config", None, &request).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{text}");
    assert!(text.contains("hardway reinstall"), "{text}");
}

#[tokio::test]
async fn a_token_that_is_not_live_is_refused() {
    let appliance = Appliance::start().await;
    let first = boot(&appliance, SCRIPT).await;
    let second = boot(&appliance, SCRIPT).await;
    assert_ne!(first, second);
    for token in ["", "guessed", &first] {
        let (status, text) = hello(&appliance, token, inventory(MAC, Content::Blank)).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{text}");
        let log = AgentEvent::Log { lines: Vec::new() };
        assert_eq!(
            report(&appliance, token, 1, log).await,
            StatusCode::FORBIDDEN
        );
    }
    let (status, _) = hello(&appliance, &second, inventory(MAC, Content::Blank)).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn a_full_disk_waits_for_a_grant() {
    let appliance = Appliance::start().await;
    let token = boot(&appliance, SCRIPT).await;
    let (_, text) = hello(&appliance, &token, inventory(MAC, foreign())).await;
    let Orders::Hold { reason, .. } = parse(&text) else {
        panic!("not held: {text}");
    };
    assert!(
        reason.contains("/dev/vda") && reason.contains("hardway grant wipe node1"),
        "{reason}"
    );

    let grants = "/api/v1/machines/node1/grants";
    let request = GrantRequest::default();
    assert_eq!(
        appliance.post(grants, None, &request).await.0,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        appliance.post(grants, Some("guessed"), &request).await.0,
        StatusCode::FORBIDDEN
    );
    let other = GrantRequest {
        disk: Some("another".into()),
    };
    let (status, text) = appliance.post(grants, Some(TOKEN), &other).await;
    assert_eq!(status, StatusCode::CONFLICT, "{text}");
    let (status, text) = appliance.post(grants, Some(TOKEN), &request).await;
    assert_eq!(status, StatusCode::CREATED, "{text}");
    assert!(text.contains("disk-1"), "{text}");

    let (_, text) = appliance.get("/api/v1/machines/node1/plan").await;
    assert!(
        matches!(parse(&text), Decision::Install { spends, .. } if spends == ["disk-1"]),
        "{text}"
    );
    let (_, text) = hello(&appliance, &token, inventory(MAC, foreign())).await;
    execute(&text);
}

#[tokio::test]
async fn an_undeclared_machine_is_held_and_taken_over_when_it_is_declared() {
    let appliance = Appliance::start().await;
    let mac = "52:54:00:00:00:99";
    let script = SCRIPT.replace("00-01", "00-99");
    let token = boot(&appliance, &script).await;
    let (_, text) = hello(&appliance, &token, inventory(mac, Content::Blank)).await;
    let Orders::Hold { reason, .. } = parse(&text) else {
        panic!("not held: {text}");
    };
    assert!(
        reason.contains("machines:") && reason.contains(mac),
        "{reason}"
    );
    assert!(!row(&appliance, "52-54-00-00-00-99").await.declared);

    let path = &appliance.context.options.config;
    let cluster = std::fs::read_to_string(path).unwrap();
    let entry = format!(
        "machines:\n  - {{name: node9, match: {{mac: \"{mac}\"}}, profile: etcd, address: 10.77.0.19}}\n"
    );
    std::fs::write(path, cluster.replace("machines:\n", &entry)).unwrap();
    crate::configuration::load_into(&appliance.context.fleet, path)
        .await
        .unwrap();

    let (_, text) = hello(&appliance, &token, inventory(mac, Content::Blank)).await;
    assert_eq!(execute(&text).0.machine, "node9");
    let (status, _) = appliance.get("/api/v1/machines/52-54-00-00-00-99").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (_, text) = appliance.get("/api/v1/machines/node9").await;
    assert!(
        parse::<MachineDetail>(&text).timeline.len() > 1,
        "the story goes on: {text}"
    );
}

#[tokio::test]
async fn another_machines_token_is_not_taken() {
    let appliance = Appliance::start().await;
    let path = &appliance.context.options.config;
    let cluster = std::fs::read_to_string(path).unwrap();
    let entry = "machines:\n  - {name: node2, match: {mac: \"52:54:00:00:00:02\"}, profile: etcd, address: 10.77.0.12}\n";
    std::fs::write(path, cluster.replace("machines:\n", entry)).unwrap();
    crate::configuration::load_into(&appliance.context.fleet, path)
        .await
        .unwrap();

    let token = boot(&appliance, SCRIPT).await;
    let stranger = inventory("52:54:00:00:00:02", Content::Blank);
    let (status, text) = hello(&appliance, &token, stranger).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{text}");
    assert!(text.contains("node1") && text.contains("node2"), "{text}");
}

#[tokio::test]
async fn mistakes_of_the_configuration_are_refusals() {
    let appliance = Appliance::start().await;
    let token = boot(&appliance, SCRIPT).await;
    let part = appliance.folder.path().join("base.bu");
    std::fs::write(
        &part,
        "variant: fcos\nversion: 1.5.0\npasswd: {{ machine.nmae }}\n",
    )
    .unwrap();
    let (_, text) = hello(&appliance, &token, inventory(MAC, Content::Blank)).await;
    assert!(text.contains("base.bu:3"), "{text}");

    std::fs::remove_file(&part).unwrap();
    let (_, text) = hello(&appliance, &token, inventory(MAC, Content::Blank)).await;
    assert!(
        text.contains("\"hold\"") && text.contains("base.bu"),
        "{text}"
    );

    let image = appliance.folder.path().join("images/node.img.zst");
    std::fs::remove_file(image).unwrap();
    let (_, text) = hello(&appliance, &token, inventory(MAC, Content::Blank)).await;
    assert!(text.contains("node.img.zst"), "{text}");
    let (_, text) = appliance.get("/api/v1/machines/node1").await;
    let detail: MachineDetail = parse(&text);
    assert!(matches!(detail.machine.phase, Phase::Held { .. }));
    assert!(
        detail
            .timeline
            .iter()
            .any(|line| line.text.contains("node.img.zst")),
        "{text}"
    );
}
