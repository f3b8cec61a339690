//! What was decided, on its way: at once, or when the leases before it are durable.

use std::net::{Ipv4Addr, SocketAddrV4};

use hardway_netboot::dhcp::{CLIENT_PORT, Destination, Lease, Output, PROXY_PORT, SERVER_PORT};

use super::diary::Diary;
use super::kind;
use super::ports::Ports;
use crate::context::Context;
use crate::leases::Stored;
use crate::metrics::Kind;

/// Leases that fill a group: a commit with as many costs little more than one with a single lease.
const FULL: usize = 128;
/// How often more is read at most before a group is written that is not full.
const LOOKS: u32 = 4;

/// Outputs that were decided and not carried out yet.
pub struct Outbox {
    context: Context,
    diary: Diary,
    /// To be sent now.
    parcels: Vec<Parcel>,
    /// The next group of leases, and what waits for it.
    leases: Vec<Lease>,
    waiting: Vec<Waiting>,
    /// How often more was read for the next group.
    looks: u32,
}

/// An output that waits for a lease.
struct Waiting {
    output: Output,
    is_recorded: bool,
}

/// Something to be sent.
enum Parcel {
    Message {
        bytes: Vec<u8>,
        destination: Destination,
        from: u16,
        /// Whether it is about a machine, and belongs into its recording.
        is_recorded: bool,
    },
    Probe(Ipv4Addr),
}

impl Outbox {
    pub fn new(context: Context, diary: Diary) -> Self {
        Self {
            context,
            diary,
            parcels: Vec::new(),
            leases: Vec::new(),
            waiting: Vec::new(),
            looks: 0,
        }
    }

    /// Takes what one input led to. What stands behind a lease waits for it.
    pub fn put(&mut self, outputs: Vec<Output>) {
        let is_recorded = outputs.iter().any(is_observed);
        let mut waits = false;
        for output in outputs {
            match output {
                Output::StoreLease(lease) => {
                    waits = true;
                    self.leases.push(lease);
                }
                output if !waits => self.carry_out(output, is_recorded),
                output => self.waiting.push(Waiting {
                    output,
                    is_recorded,
                }),
            }
        }
    }

    /// Whether more is to be read before the group is written: it has room, and nobody has waited for
    /// long. The more there is to read, the more leases share a commit.
    pub fn is_gathering(&mut self) -> bool {
        let gathers = (1..FULL).contains(&self.leases.len()) && self.looks < LOOKS;
        self.looks += u32::from(gathers);
        gathers
    }

    /// Makes the group durable, which waits for the disk, and carries out what waited for it.
    pub fn commit(&mut self) {
        self.looks = 0;
        if self.leases.is_empty() {
            return;
        }
        let outcome = self.context.fleet.lease_log().commit(&self.leases);
        self.leases.clear();
        self.release(outcome);
    }

    /// Carries out what waited, or forgets it: a client that hears nothing asks again.
    fn release(&mut self, outcome: anyhow::Result<Stored>) {
        let waited = std::mem::take(&mut self.waiting);
        match outcome {
            Ok(stored) => {
                let metrics = &self.context.metrics;
                metrics.lease_commits.inc();
                metrics.lease_commit_size.observe(stored.leases as f64);
                let seconds = stored.took.as_secs_f64();
                metrics.lease_commit_seconds.observe(seconds);
                for Waiting {
                    output,
                    is_recorded,
                } in waited
                {
                    self.carry_out(output, is_recorded);
                }
            }
            Err(error) => {
                tracing::error!("dhcp: leases are not acknowledged: {error:#}");
                waited
                    .iter()
                    .for_each(|waiting| self.count(&waiting.output, "failed"));
            }
        }
    }

    /// Sends what may be sent.
    pub async fn send(&mut self, ports: &Ports) {
        let (mut server, mut proxy) = (Vec::new(), Vec::new());
        for parcel in std::mem::take(&mut self.parcels) {
            self.record(&parcel);
            if let Some((port, parcel)) = by_frame(parcel, ports) {
                match port {
                    PROXY_PORT => proxy.push(parcel),
                    _ => server.push(parcel),
                }
            }
        }
        for (port, parcels) in [(SERVER_PORT, server), (PROXY_PORT, proxy)] {
            if !parcels.is_empty() {
                ports.send(port, &parcels).await;
            }
        }
    }

    fn record(&self, parcel: &Parcel) {
        if let Parcel::Message {
            bytes,
            destination,
            from,
            is_recorded: true,
        } = parcel
        {
            self.diary.sent(bytes, *destination, *from);
        }
    }

    fn carry_out(&mut self, output: Output, is_recorded: bool) {
        self.count(&output, "sent");
        match output {
            Output::Send {
                bytes,
                destination,
                from,
            } => self.parcels.push(Parcel::Message {
                bytes,
                destination,
                from,
                is_recorded,
            }),
            Output::Probe(address) => self.parcels.push(Parcel::Probe(address)),
            Output::Observed { name, event } => self.context.fleet.observe(name, event),
            Output::Notice {
                kind,
                severity,
                text,
            } => {
                let notices = &self.context.metrics.dhcp_notices;
                notices.get_or_create(&Kind::of(kind)).inc();
                self.context.notices.add(kind, severity, text);
            }
            Output::Ignored(reason) => tracing::debug!("dhcp: {reason}"),
            // Kept apart before.
            Output::StoreLease(lease) => self.leases.push(lease),
        }
    }

    fn count(&self, output: &Output, outcome: &'static str) {
        let metrics = &self.context.metrics;
        match output {
            Output::Send { bytes, .. } => metrics.dhcp(kind::of(bytes), outcome),
            Output::Ignored(_) => metrics.dhcp("any", "ignored"),
            _ => {}
        }
    }
}

/// Something happened to a machine.
pub fn is_observed(output: &Output) -> bool {
    matches!(output, Output::Observed { .. })
}

/// Sends what has to be a frame. The rest, and what no frame could be sent for, is a datagram from the
/// port that is returned with it.
fn by_frame(parcel: Parcel, ports: &Ports) -> Option<(u16, (Vec<u8>, SocketAddrV4))> {
    let broadcast = |port| SocketAddrV4::new(Ipv4Addr::BROADCAST, port);
    let (bytes, destination, from) = match parcel {
        Parcel::Message {
            bytes,
            destination,
            from,
            ..
        } => (bytes, destination, from),
        Parcel::Probe(address) => {
            if let Some(Err(error)) = ports.link().map(|link| link.probe(address)) {
                tracing::debug!("dhcp: asking who has {address}: {error}");
            }
            return None;
        }
    };
    let (sent, instead) = match (destination, ports.link()) {
        (Destination::Address(address), _) => (None, address),
        (Destination::Broadcast(port), Some(link)) if from == CLIENT_PORT => {
            (Some(link.search(&bytes, port)), broadcast(port))
        }
        (Destination::Broadcast(port), _) => (None, broadcast(port)),
        (Destination::Station { mac, address }, Some(link)) => {
            let sent = link.send(&bytes, from, (mac, address));
            (Some(sent), broadcast(CLIENT_PORT))
        }
        (Destination::Station { .. }, None) => (None, broadcast(CLIENT_PORT)),
    };
    match sent {
        Some(Ok(())) => None,
        Some(Err(error)) => {
            tracing::debug!("dhcp: sending a frame: {error}; broadcasting instead");
            Some((from, (bytes, instead)))
        }
        None => Some((from, (bytes, instead))),
    }
}

#[cfg(test)]
mod tests;
