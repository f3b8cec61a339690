//! What waits for its lease, and what does not.

use hardway_model::identity::MacAddress;
use hardway_model::lifecycle::{Event, Severity};
use hardway_netboot::dhcp::Lease;

use super::*;
use crate::fixture::Appliance;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);

fn outbox(context: &Context) -> Outbox {
    let diary = Diary::new(context, MacAddress([2, 0, 0, 0, 0, 1]), ADDRESS);
    Outbox::new(context.clone(), diary)
}

fn lease() -> Output {
    Output::StoreLease(Lease::new(ADDRESS, None, 1000))
}

fn send(byte: u8) -> Output {
    Output::Send {
        bytes: vec![byte],
        destination: Destination::Broadcast(CLIENT_PORT),
        from: SERVER_PORT,
    }
}

fn note(text: &str) -> Output {
    Output::Observed {
        name: "node1".into(),
        event: Box::new(Event::Note {
            text: text.into(),
            severity: Severity::Info,
        }),
    }
}

/// The first bytes of the messages that may be sent.
fn sendable(outbox: &Outbox) -> Vec<u8> {
    let messages = outbox.parcels.iter().filter_map(|parcel| match parcel {
        Parcel::Message { bytes, .. } => bytes.first().copied(),
        Parcel::Probe(_) => None,
    });
    messages.collect()
}

async fn timeline(context: &Context) -> Vec<String> {
    let lines = context.fleet.timeline("node1").await.unwrap();
    lines.into_iter().map(|line| line.text).collect()
}

#[tokio::test]
async fn an_answer_waits_for_its_own_lease_and_for_nobody_elses() {
    let context = Appliance::start().await.context;
    let mut outbox = outbox(&context);
    outbox.put(vec![send(1), lease(), send(2), note("given")]);
    outbox.put(vec![send(3), note("offered")]);
    assert_eq!(sendable(&outbox), [1, 3]);
    assert_eq!(timeline(&context).await, ["offered"]);

    outbox.commit();
    assert_eq!(context.fleet.leases().await.unwrap().len(), 1);
    assert_eq!(sendable(&outbox), [1, 3, 2]);
    assert_eq!(timeline(&context).await, ["offered", "given"]);

    outbox.put(vec![lease(), send(4)]);
    outbox.commit();
    assert_eq!(sendable(&outbox), [1, 3, 2, 4]);
}

#[tokio::test]
async fn what_waits_for_a_lease_that_is_not_durable_never_happens() {
    let context = Appliance::start().await.context;
    let mut outbox = outbox(&context);
    outbox.put(vec![lease(), send(1), note("given")]);
    outbox.leases.clear();
    outbox.release(Err(anyhow::anyhow!("no space left on device")));
    assert!(sendable(&outbox).is_empty());
    assert!(timeline(&context).await.is_empty());
    // The service goes on.
    outbox.put(vec![lease(), send(2)]);
    outbox.commit();
    assert_eq!(sendable(&outbox), [2]);
}

#[tokio::test]
async fn a_group_gathers_while_there_is_something_to_read_and_not_for_ever() {
    let context = Appliance::start().await.context;
    let mut outbox = outbox(&context);
    outbox.put(vec![send(1)]);
    assert!(!outbox.is_gathering(), "no lease waits");
    outbox.put(vec![lease(), send(2)]);
    for _ in 0..LOOKS {
        assert!(outbox.is_gathering());
    }
    assert!(!outbox.is_gathering(), "looked often enough");
    outbox.commit();
    outbox.put(vec![lease(), send(3)]);
    assert!(outbox.is_gathering());
    for _ in 0..FULL {
        outbox.put(vec![lease(), send(4)]);
    }
    assert!(!outbox.is_gathering(), "the group is full");
}
