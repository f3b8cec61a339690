//! What machines show of earlier installations, and what is believed of it; machines that are armed.

use hardway_model::lifecycle::Severity;
use hardway_model::plan::Arming;
use hardway_model::preview::Preview;
use hardway_model::receipt::{Receipt, Stage};

use super::*;

/// Installs node1, whose disk holds this, and gives back what then stands there, with its system's key.
async fn installed(appliance: &Appliance, before: Content) -> (Receipt, String) {
    let token = boot(appliance, SCRIPT).await;
    let (_, text) = hello(appliance, &token, inventory(MAC, before)).await;
    let (plan, key) = execute(&text);
    let receipt = plan.steps.into_iter().find_map(|step| match step {
        Step::CommitDisk { receipt } => Some(receipt),
        _ => None,
    });
    let receipt = receipt.expect("a step that commits");
    let event = AgentEvent::Installed {
        receipt: Box::new(receipt.clone()),
    };
    assert_eq!(
        report(appliance, &token, 1, event).await,
        StatusCode::NO_CONTENT
    );
    (receipt, key)
}

/// The operator wants it anew, so that the agent is asked for.
async fn boot_the_agent(appliance: &Appliance) -> String {
    let path = "/api/v1/machines/node1/reinstall";
    appliance.post(path, Some(TOKEN), &()).await;
    boot(appliance, SCRIPT).await
}

fn showing(receipt: Receipt) -> Inventory {
    let receipt = Box::new(receipt);
    inventory(MAC, Content::Ours { receipt })
}

async fn warnings(appliance: &Appliance) -> Vec<String> {
    let (_, text) = appliance.get("/api/v1/machines/node1").await;
    let lines = parse::<MachineDetail>(&text).timeline.into_iter();
    lines
        .filter(|line| line.severity == Severity::Warning)
        .map(|line| line.text)
        .collect()
}

#[tokio::test]
async fn an_appliance_without_its_state_takes_a_machine_over_and_believes_its_system() {
    let (receipt, key) = installed(&Appliance::start().await, Content::Blank).await;
    let appliance = Appliance::start().await;
    let token = boot(&appliance, SCRIPT).await;
    let (_, text) = hello(&appliance, &token, showing(receipt.clone())).await;
    let (plan, _) = execute(&text);
    let names: Vec<&str> = plan.steps.iter().map(Step::name).collect();
    assert_eq!(names, ["hand-over"], "nothing is written");
    let warnings = warnings(&appliance).await;
    let key_of_the_other = receipt.signature.unwrap().key;
    assert!(
        warnings.iter().any(|line| line.contains(&key_of_the_other)),
        "{warnings:?}"
    );
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
    assert_eq!(row(&appliance, "node1").await.phase, Phase::Running);
}

/// The agent reads a complete receipt so where there is no table.
#[tokio::test]
async fn a_complete_installation_whose_table_is_gone_is_not_one_that_was_cut_off() {
    let appliance = Appliance::start().await;
    let (mut receipt, _) = installed(&appliance, Content::Blank).await;
    receipt.stage = Stage::Writing;
    let token = boot_the_agent(&appliance).await;
    let (_, text) = hello(&appliance, &token, showing(receipt.clone())).await;
    let Orders::Hold { reason, .. } = parse(&text) else {
        panic!("{text}");
    };
    let doubt = "generation 1 of machine `node1` of cluster `lab`, by a receipt of an installation that is \
                 on record as complete; its partition table is gone";
    assert!(reason.contains(doubt), "{reason}");

    // Where no installation is on record, it is what it says.
    let appliance = Appliance::start().await;
    let token = boot(&appliance, SCRIPT).await;
    let (_, text) = hello(&appliance, &token, showing(receipt)).await;
    execute(&text);
}

/// A machine that is known shows a receipt that this appliance did not write as it stands.
#[tokio::test]
async fn a_receipt_that_says_more_than_the_journal_is_believed_only_if_it_is_ours() {
    // The wanted generation, and one beyond it.
    for (generation, is_signed) in [(2, true), (2, false), (7, true), (7, false)] {
        let appliance = Appliance::start().await;
        let (mut receipt, _) = installed(&appliance, Content::Blank).await;
        receipt.generation = generation;
        if !is_signed {
            receipt.signature = None;
        }
        let token = boot_the_agent(&appliance).await;
        let (_, text) = hello(&appliance, &token, showing(receipt)).await;
        let Orders::Hold { reason, .. } = parse(&text) else {
            panic!("{text}");
        };
        let doubt = match is_signed {
            true => "by a receipt whose signature is wrong",
            false => {
                "by a receipt that this appliance did not sign, and generation 1 is on record otherwise"
            }
        };
        assert!(reason.contains(doubt), "{reason}");
        assert_eq!(row(&appliance, "node1").await.generation, 2);
        let (_, text) = appliance.get("/api/v1/machines/node1/plan").await;
        let shown = parse::<Preview>(&text).disks.remove(0).changes.remove(0);
        assert!(shown.what.contains(doubt), "{shown:?}");

        // The way out binds the agent to what the disk really holds.
        let path = "/api/v1/machines/node1/grants";
        appliance
            .post(path, Some(TOKEN), &GrantRequest::default())
            .await;
        let (_, text) = appliance.get("/api/v1/machines/node1/plan").await;
        let Decision::Install { plan, .. } = parse::<Preview>(&text).decision else {
            panic!("{text}");
        };
        let Step::ClaimDisk { disk, .. } = &plan.steps[0] else {
            panic!("{plan:?}");
        };
        assert!(matches!(disk.content, Content::Ours { .. }), "{disk:?}");
    }
}

/// The one on record needs no signature: an older appliance wrote none.
#[tokio::test]
async fn what_is_on_record_is_believed_unsigned() {
    let appliance = Appliance::start().await;
    let (mut receipt, _) = installed(&appliance, Content::Blank).await;
    receipt.signature = None;
    let token = boot_the_agent(&appliance).await;
    let (_, text) = hello(&appliance, &token, showing(receipt)).await;
    let Orders::Hold { reason, .. } = parse(&text) else {
        panic!("{text}");
    };
    // As ours, which `wipe: never` protects.
    assert!(!reason.contains("by a receipt"), "{reason}");
}

#[tokio::test]
async fn an_impossible_generation_is_nobodys() {
    let (mut receipt, _) = installed(&Appliance::start().await, Content::Blank).await;
    receipt.generation = u32::MAX;
    receipt.signature = None;
    let appliance = Appliance::start().await;
    let token = boot(&appliance, SCRIPT).await;
    let (_, text) = hello(&appliance, &token, showing(receipt)).await;
    let Orders::Hold { reason, .. } = parse(&text) else {
        panic!("{text}");
    };
    assert!(reason.contains("impossible generation"), "{reason}");
    assert_eq!(row(&appliance, "node1").await.generation, 1);
}

/// The last look at the machine was before its installation.
#[tokio::test]
async fn a_plan_knows_what_was_installed_since() {
    expect_known(Content::Blank).await;
    // An installation of the same generation that was cut off.
    let (mut receipt, _) = installed(&Appliance::start().await, Content::Blank).await;
    receipt.stage = Stage::Writing;
    receipt.time -= 100;
    receipt.signature = None;
    let receipt = Box::new(receipt);
    expect_known(Content::Ours { receipt }).await;
}

/// Of a machine that was installed when its disk held this, a plan tells what stands there since.
async fn expect_known(before: Content) {
    let appliance = Appliance::start().await;
    installed(&appliance, before).await;
    let shown = async || -> Preview {
        let (_, text) = appliance.get("/api/v1/machines/node1/plan").await;
        parse(&text)
    };
    let preview = shown().await;
    assert!(
        matches!(preview.decision, Decision::AlreadyInstalled { .. }),
        "{preview:?}"
    );
    let path = "/api/v1/machines/node1/reinstall";
    appliance.post(path, Some(TOKEN), &()).await;
    let preview = shown().await;
    // `wipe: never`: the installed system is not taken for a blank disk.
    assert!(
        matches!(preview.decision, Decision::Refuse { .. }),
        "{preview:?}"
    );
    let what = &preview.disks[0].changes[0].what;
    assert!(
        what.starts_with("generation 1 of machine `node1`"),
        "{what}"
    );
}

const WHEN_ARMED: &str = "version: 1\ncluster: {name: lab, domain: lab.internal}\nnetwork:\n  address: \
                          10.77.0.1/24\n  dhcp: {mode: server, pool: 10.77.0.100-10.77.0.199}\nimages:\n  \
                          node:\n    file: node.img.zst\n    sha256: \
                          e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\nprofiles:\n  \
                          etcd:\n    image: node\n    install: when-armed\n    config: [base.bu]\nmachines:\n  \
                          - name: node1\n    match: {mac: \"52:54:00:00:00:01\"}\n    profile: etcd\n    \
                          address: 10.77.0.11\n";

#[tokio::test]
async fn a_machine_that_is_to_be_armed_waits_for_it_once_a_generation_and_disk() {
    const ARM: &str = "/api/v1/machines/node1/arm";
    let appliance = Appliance::with(WHEN_ARMED).await;
    let blank = || inventory(MAC, Content::Blank);
    let token = boot(&appliance, SCRIPT).await;
    let (_, text) = hello(&appliance, &token, blank()).await;
    let Orders::Hold { reason, .. } = parse(&text) else {
        panic!("{text}");
    };
    assert!(reason.contains("`hardway arm node1`"), "{reason}");
    // What would happen is shown before.
    let (_, text) = appliance.get("/api/v1/machines/node1/plan").await;
    let decision = parse::<Preview>(&text).decision;
    assert!(matches!(decision, Decision::Install { .. }), "{text}");

    let (status, _) = appliance.post(ARM, None, &()).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let (status, text) = appliance.post(ARM, Some(TOKEN), &()).await;
    assert_eq!(status, StatusCode::CREATED, "{text}");
    let armed: Arming = parse(&text);
    assert_eq!((armed.generation, armed.disk.as_str()), (1, "disk-1"));

    // Another disk is not what was looked at; and a machine that is not there shows nothing.
    let mut exchanged = blank();
    exchanged.disks[0].serial = Some("disk-2".into());
    let (_, text) = hello(&appliance, &token, exchanged).await;
    assert!(matches!(parse(&text), Orders::Hold { .. }), "{text}");
    let (_, text) = hello(&appliance, &token, blank()).await;
    execute(&text);
    boot(&appliance, SCRIPT).await;
    let (status, text) = appliance.post(ARM, Some(TOKEN), &()).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(text.contains("has to be on and waiting"), "{text}");
}

#[tokio::test]
async fn a_machine_that_installs_by_itself_needs_no_arming() {
    let appliance = Appliance::start().await;
    let token = boot(&appliance, SCRIPT).await;
    hello(&appliance, &token, inventory(MAC, Content::Blank)).await;
    let path = "/api/v1/machines/node1/arm";
    let (status, text) = appliance.post(path, Some(TOKEN), &()).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(text.contains("needs no arming"), "{text}");
}
