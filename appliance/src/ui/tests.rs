//! What machines say about themselves never becomes markup.

use axum::http::StatusCode;
use hardway_model::inventory::Content;
use hardway_model::lifecycle::{Event, Severity};
use hardway_model::plan::{Decision, Refusal, RefusalReason};

use crate::fixture::{Appliance, MAC, inventory};

#[tokio::test]
async fn pages_escape_everything() {
    let appliance = Appliance::start().await;
    let fleet = &appliance.context.fleet;
    let hostile = "<script>alert(1)</script>";
    let content = Content::Foreign {
        signatures: vec![hostile.into()],
    };
    let hello = Event::Hello {
        inventory: Box::new(inventory(MAC, content)),
        decision: Box::new(Decision::Refuse {
            refusal: Refusal {
                reason: RefusalReason::DiskNotBlank,
                cause: format!("cause {hostile}"),
                remedy: format!("remedy {hostile}"),
                grantable: Vec::new(),
            },
        }),
        confirmation_key: String::new(),
        fetched: 0,
    };
    fleet.record("node1", hello).await.unwrap();
    let note = Event::Note {
        text: format!("note {hostile}"),
        severity: Severity::Warning,
    };
    fleet.record("node1", note).await.unwrap();

    let (status, page) = appliance.get("/machines/node1").await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        !page.contains("<script>alert") && !page.contains("<b>Maker"),
        "{page}"
    );
    for part in [
        "cause &#60;script",
        "remedy &#60;script",
        "note &#60;script",
        "&#60;b&#62;Maker",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    // The same disk on the page of its plan.
    let (status, page) = appliance.get("/machines/node1/plan").await;
    assert_eq!(status, StatusCode::OK);
    assert!(!page.contains("<script>alert"), "{page}");
    for part in ["nothing would be written", "&#60;script&#62;alert"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let (status, page) = appliance.get("/machines/%3Cscript%3E/plan").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(page.contains("&#60;script&#62;"), "{page}");
    let (_, rack) = appliance.get("/").await;
    assert!(
        rack.contains("/machines/node1") && rack.contains("phase held"),
        "{rack}"
    );
    let (status, page) = appliance.get("/machines/%3Cscript%3E").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(page.contains("&#60;script&#62;"), "{page}");
}

#[tokio::test]
async fn assets_are_served_by_kind() {
    let appliance = Appliance::start().await;
    for name in ["style.css", "live.js"] {
        assert_eq!(
            appliance.get(&format!("/assets/{name}")).await.0,
            StatusCode::OK,
            "{name}"
        );
    }
    assert_eq!(
        appliance.get("/assets/passwd").await.0,
        StatusCode::NOT_FOUND
    );
}
