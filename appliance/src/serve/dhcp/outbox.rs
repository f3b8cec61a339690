//! What was decided, on its way: at once, or when the leases before it are durable.

use std::net::{Ipv4Addr, SocketAddrV4};

use hardway_netboot::dhcp::{CLIENT_PORT, Destination, Lease, Output, PROXY_PORT, SERVER_PORT};

use super::diary::Diary;
use super::kind;
use super::ports::Ports;
use crate::context::Context;
use crate::leases::{Stored, Storing};
use crate::metrics::Kind;

/// Outputs that wait for their leases at most. Past that the disk is not keeping up by seconds, and
/// clients ask again anyway.
const WAITING: usize = 16_384;

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
    /// The group that is being written, and what waits for it.
    storing: Option<(Storing, Vec<Waiting>)>,
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
            storing: None,
        }
    }

    /// Takes what one input led to. What stands behind a lease waits for it.
    pub fn put(&mut self, outputs: Vec<Output>) {
        let is_full = self.waiting.len() > WAITING;
        let is_recorded = outputs.iter().any(is_observed);
        let mut waits = false;
        for output in outputs {
            match output {
                Output::StoreLease(lease) => {
                    waits = true;
                    if !is_full {
                        self.leases.push(lease);
                    }
                }
                output if !waits => self.carry_out(output, is_recorded),
                output if !is_full => self.waiting.push(Waiting {
                    output,
                    is_recorded,
                }),
                output => self.count(&output, "failed"),
            }
        }
    }

    /// Waits until the group that is being written is durable, or is not going to be. Never returns
    /// while there is none. May be dropped and called again.
    pub async fn stored(&mut self) -> anyhow::Result<Stored> {
        match &mut self.storing {
            Some((storing, _)) => storing.wait().await,
            None => std::future::pending().await,
        }
    }

    /// What [`Self::stored`] waits for, when it has happened already.
    pub fn stored_now(&mut self) -> Option<anyhow::Result<Stored>> {
        self.storing.as_mut()?.0.done()
    }

    /// Whether more is to be read before the next group is written: none is being written, and this one
    /// has room. The more there is to read, the more leases share a commit; where nothing waits to be
    /// read, nothing waits to be written.
    pub fn is_gathering(&mut self) -> bool {
        let gathers = self.storing.is_none()
            && !self.leases.is_empty()
            && self.leases.len() < FULL
            && self.looks < LOOKS;
        self.looks += u32::from(gathers);
        gathers
    }

    /// Carries out what waited for the group, or forgets it: a client that hears nothing asks again.
    pub fn release(&mut self, outcome: anyhow::Result<Stored>) {
        let waited = self.storing.take().map_or(Vec::new(), |(_, waited)| waited);
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

    /// Has the next group written, when none is being written.
    pub fn store(&mut self) {
        if self.storing.is_none() && !self.leases.is_empty() {
            self.looks = 0;
            let leases = std::mem::take(&mut self.leases);
            let storing = self.context.fleet.lease_log().store(leases);
            self.storing = Some((storing, std::mem::take(&mut self.waiting)));
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
