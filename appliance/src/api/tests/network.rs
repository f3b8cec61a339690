//! Leases, notices and recordings, as the operator gets them.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use hardway_model::lifecycle::{Event, Severity};
use hardway_model::view::{LeaseView, Status};
use hardway_netboot::dhcp::Lease;

use super::parse;
use crate::clock;
use crate::fixture::{Appliance, MAC, TOKEN};

#[tokio::test]
async fn leases_are_shown_with_their_machines() {
    let appliance = Appliance::start().await;
    let fleet = &appliance.context.fleet;
    let later = clock::now() + 60_000;
    let stranger = "52:54:00:00:00:99";
    let lease = |address: &str, mac: Option<&str>, expires| {
        let mac = mac.map(|mac| mac.parse().unwrap());
        Lease::new(address.parse().unwrap(), mac, expires)
    };
    let leases = [
        lease("10.77.0.110", Some(stranger), later),
        lease("10.77.0.11", Some(MAC), later),
        lease("10.77.0.111", None, later),
        lease("10.77.0.112", Some(stranger), 1),
    ];
    for lease in leases {
        fleet.store_lease(lease).await.unwrap();
    }
    let (_, text) = appliance.get("/api/v1/leases").await;
    let leases: Vec<LeaseView> = parse(&text);
    let rows: Vec<String> = leases
        .iter()
        .map(|lease| format!("{} {:?} {:?}", lease.address, lease.mac, lease.machine))
        .collect();
    assert_eq!(
        rows,
        [
            "10.77.0.11 Some(52:54:00:00:00:01) Some(\"node1\")",
            "10.77.0.110 Some(52:54:00:00:00:99) None",
            "10.77.0.111 None None",
        ]
    );
}

#[tokio::test]
async fn a_recording_needs_the_token_and_something_recorded() {
    let appliance = Appliance::start().await;
    let ask = async |name: &str, token: Option<&str>| {
        let mut request = Request::get(format!("/api/v1/machines/{name}/boot.pcap"));
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let (status, body) = appliance.ask(request.body(Body::empty()).unwrap()).await;
        (status, body)
    };
    assert_eq!(ask("node1", None).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(ask("node9", Some(TOKEN)).await.0, StatusCode::NOT_FOUND);
    let (status, body) = ask("node1", Some(TOKEN)).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(body.contains("no packet of node1 is recorded"), "{body}");

    let arp = [&[0xff; 6][..], &[0x52, 0x54, 0, 0, 0, 1], &[8, 6], &[0; 28]].concat();
    let recorder = &appliance.context.recorder;
    recorder
        .lock()
        .unwrap()
        .record(&arp, arp.len(), clock::now());
    let (status, body) = ask("node1", Some(TOKEN)).await;
    assert_eq!(status, StatusCode::OK);
    assert!(body.contains('\u{1}'), "a file of its own format");
}

#[tokio::test]
async fn notices_and_diagnoses_are_shown() {
    let appliance = Appliance::start().await;
    let hostile = "10.77.0.9 <script>alert(1)</script> answers too";
    let notices = &appliance.context.notices;
    notices.add("foreign-server", Severity::Warning, hostile.to_owned());
    notices.add(
        "mode",
        Severity::Info,
        "serving as the only DHCP server".to_owned(),
    );
    let (_, text) = appliance.get("/api/v1/status").await;
    let status: Status = parse(&text);
    assert_eq!(status.notices.len(), 2);
    let (_, page) = appliance.get("/").await;
    assert!(page.contains("10.77.0.9 &#60;script"), "{page}");

    let firmware = Event::Diagnosed {
        diagnosis: hardway_model::boot::Diagnosis::PoolExhausted,
        seen: "no address is left".to_owned(),
    };
    appliance
        .context
        .fleet
        .record("node1", firmware)
        .await
        .unwrap();
    let (_, page) = appliance.get("/").await;
    assert!(page.contains("pool-exhausted"), "{page}");
    let (_, page) = appliance.get("/machines/node1").await;
    assert!(page.contains("no address is left"), "{page}");
}
