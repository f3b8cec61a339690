//! `/metrics`: what the services count, in the OpenMetrics text format.
//!
//! Counters are bumped where things happen; what can be read off the state (addresses of the pools,
//! machines by phase) is read when somebody asks.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::AtomicU64;

use hardway_model::cluster::Cluster;
use hardway_model::lifecycle::Timestamp;
use hardway_netboot::dhcp::Lease;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::fleet::Snapshot;

/// What the services count. Cheap to bump from any thread.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// DHCP messages by what they are and what became of them.
    pub dhcp_messages: Family<Message, Counter>,
    /// Notices of the DHCP service by kind: `foreign-server`, `pool-exhausted`, `address-conflict`, …
    pub dhcp_notices: Family<Kind, Counter>,
    /// Datagrams that the kernel dropped before they were read, by socket: `dhcp`, `capture`.
    pub dropped: Family<Kind, Counter>,
    /// Times that the leases were made durable.
    pub lease_commits: Counter,
    /// Leases that one commit made durable.
    pub lease_commit_size: Histogram,
    /// Seconds that one commit took.
    pub lease_commit_seconds: Histogram,
    /// Events of machines that were not recorded, since they came faster than they could be.
    pub events_dropped: Counter,
    /// TFTP transfers by their end: `complete`, `aborted`, `silence`, `refused`.
    pub tftp_transfers: Family<Kind, Counter>,
    /// Bytes that TFTP clients have acknowledged.
    pub tftp_bytes: Counter,
    /// HTTP connections that were accepted.
    pub http_connections: Counter,
    /// HTTP connections that were refused, by reason.
    pub http_refused: Family<Kind, Counter>,
    /// HTTP connections that are open.
    pub http_open: Gauge,
    /// Bytes of files that were sent by HTTP.
    pub http_bytes: Counter,
}

/// A DHCP message and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Message {
    /// `discover`, `request`, …
    pub kind: Word,
    /// `received`, `sent`, `ignored`, `failed`.
    pub outcome: Word,
}

/// One label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Kind {
    /// The word.
    pub kind: Word,
}

impl Kind {
    /// The label of a word.
    pub fn of(word: &'static str) -> Self {
        Self { kind: Word(word) }
    }
}

/// A label's value that the program knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Word(pub &'static str);

impl EncodeLabelValue for Word {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        self.0.encode(encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Network {
    network: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Phase {
    phase: String,
}

impl Default for Metrics {
    fn default() -> Self {
        let doubling = |first: f64, count: u16| {
            prometheus_client::metrics::histogram::exponential_buckets(first, 2.0, count)
        };
        Self {
            dhcp_messages: Family::default(),
            dhcp_notices: Family::default(),
            dropped: Family::default(),
            lease_commits: Counter::default(),
            lease_commit_size: Histogram::new(doubling(1.0, 11)),
            lease_commit_seconds: Histogram::new(doubling(0.000_25, 14)),
            events_dropped: Counter::default(),
            tftp_transfers: Family::default(),
            tftp_bytes: Counter::default(),
            http_connections: Counter::default(),
            http_refused: Family::default(),
            http_open: Gauge::default(),
            http_bytes: Counter::default(),
        }
    }
}

impl Metrics {
    /// Counts one DHCP message.
    pub fn dhcp(&self, kind: &'static str, outcome: &'static str) {
        let labels = Message {
            kind: Word(kind),
            outcome: Word(outcome),
        };
        self.dhcp_messages.get_or_create(&labels).inc();
    }

    /// The whole page.
    pub fn encode(
        &self,
        snapshot: &Snapshot,
        leases: &[Lease],
        recorded: usize,
        now: Timestamp,
    ) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::with_prefix("hardway");
        self.register(&mut registry);
        register_state(&mut registry, snapshot, recorded);
        if let Some(cluster) = &snapshot.cluster {
            register_pools(&mut registry, cluster, leases, now);
        }
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }

    fn register(&self, registry: &mut Registry) {
        let own = self.clone();
        let mut add = |name: &str, help: &str, family: Family<Kind, Counter>| {
            registry.register(name, help, family);
        };
        add(
            "dhcp_notices",
            "Notices of the DHCP service",
            own.dhcp_notices,
        );
        add(
            "dropped_frames",
            "Frames that the kernel dropped unread",
            own.dropped,
        );
        add(
            "tftp_transfers",
            "TFTP transfers by their end",
            own.tftp_transfers,
        );
        add("http_refused", "HTTP connections refused", own.http_refused);
        let mut add = |name: &str, help: &str, counter: Counter<u64, AtomicU64>| {
            registry.register(name, help, counter);
        };
        add(
            "lease_commits",
            "Times that leases were made durable",
            own.lease_commits,
        );
        add(
            "events_dropped",
            "Events of machines not recorded",
            own.events_dropped,
        );
        add(
            "tftp_bytes",
            "Bytes acknowledged by TFTP clients",
            own.tftp_bytes,
        );
        add(
            "http_connections",
            "HTTP connections accepted",
            own.http_connections,
        );
        add("http_bytes", "Bytes of files sent by HTTP", own.http_bytes);
        registry.register("dhcp_messages", "DHCP messages", own.dhcp_messages);
        registry.register("http_open", "HTTP connections open", own.http_open);
        registry.register(
            "lease_commit_leases",
            "Leases made durable by one commit",
            own.lease_commit_size,
        );
        registry.register(
            "lease_commit_seconds",
            "Seconds that one commit of leases took",
            own.lease_commit_seconds,
        );
    }
}

fn register_state(registry: &mut Registry, snapshot: &Snapshot, recorded: usize) {
    let machines = Family::<Phase, Gauge>::default();
    for state in snapshot.machines.values() {
        let phase = state.phase.name().to_owned();
        machines.get_or_create(&Phase { phase }).inc();
    }
    registry.register("machines", "Machines by phase", machines);
    let bytes = Gauge::<i64>::default();
    bytes.set(i64::try_from(recorded).unwrap_or(i64::MAX));
    registry.register("recorded_bytes", "Memory of the packet recordings", bytes);
}

/// Size, leased and free addresses of each pool.
fn register_pools(registry: &mut Registry, cluster: &Cluster, leases: &[Lease], now: Timestamp) {
    let [size, leased, free] = [(); 3].map(|()| Family::<Network, Gauge>::default());
    let network = &cluster.network;
    let reserved: BTreeMap<Ipv4Addr, ()> = cluster
        .machines
        .iter()
        .filter_map(|machine| Some((machine.address?, ())))
        .collect();
    for subnet in network.networks() {
        let Some((first, last)) = subnet.pool else {
            continue;
        };
        let pool = first..=last;
        let given = |address: &Ipv4Addr| pool.contains(address) && !reserved.contains_key(address);
        let all = i64::from(u32::from(last).saturating_sub(u32::from(first))) + 1;
        let all = all - reserved.range(pool.clone()).count() as i64;
        let live = leases
            .iter()
            .filter(|lease| lease.expires > now && given(&lease.address))
            .count() as i64;
        let label = Network {
            network: format!("{}/{}", subnet.network, subnet.prefix),
        };
        size.get_or_create(&label).set(all);
        leased.get_or_create(&label).set(live);
        free.get_or_create(&label).set(all - live);
    }
    registry.register("pool_addresses", "Addresses of a pool", size);
    registry.register("pool_leased", "Addresses of a pool that are leased", leased);
    registry.register("pool_free", "Addresses of a pool that are free", free);
}

#[cfg(test)]
mod tests {
    use hardway_model::identity::MacAddress;

    use super::*;
    use crate::fixture::Appliance;

    #[tokio::test]
    async fn the_page_says_what_happened_and_what_is_left() {
        let appliance = Appliance::start().await;
        let metrics = &appliance.context.metrics;
        metrics.dhcp("discover", "received");
        metrics.dhcp("discover", "received");
        metrics.dhcp("offer", "sent");
        metrics.lease_commit_size.observe(3.0);
        let lease = |last: u8, expires: u64| -> Lease {
            let address = Ipv4Addr::new(10, 77, 0, last);
            let mac = Some(MacAddress([2, 0, 0, 0, 0, last]));
            let value = serde_json::json!({"address": address, "mac": mac, "expires": expires});
            serde_json::from_value(value).unwrap()
        };
        // One live, one that ended, one of a declared machine outside the pool.
        for lease in [lease(100, u64::MAX), lease(101, 1), lease(11, u64::MAX)] {
            appliance.context.fleet.store_lease(lease).await.unwrap();
        }
        let (status, page) = appliance.get("/metrics").await;
        assert_eq!(status, 200);
        for line in [
            r#"hardway_dhcp_messages_total{kind="discover",outcome="received"} 2"#,
            r#"hardway_dhcp_messages_total{kind="offer",outcome="sent"} 1"#,
            r#"hardway_pool_addresses{network="10.77.0.0/24"} 100"#,
            r#"hardway_pool_leased{network="10.77.0.0/24"} 1"#,
            r#"hardway_pool_free{network="10.77.0.0/24"} 99"#,
            r#"hardway_machines{phase="unseen"} 1"#,
            "hardway_lease_commit_leases_count 1",
        ] {
            assert!(
                page.lines().any(|have| have == line),
                "{line} not in\n{page}"
            );
        }
    }
}
