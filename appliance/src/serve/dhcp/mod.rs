//! DHCP on UDP ports 67 and 4011, on a thread of its own.
//!
//! Receive what waits, decide, send: offers at once, acknowledgements when their leases are durable. The
//! thread writes them itself, and what arrives meanwhile is the next group. Nothing else is waited for:
//! the fleet hears of what happened to a machine in its time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hardway_model::cluster::DhcpMode;
use hardway_model::identity::MacAddress;
use hardway_model::lifecycle::Timestamp;
use hardway_netboot::dhcp::{Input, Output, Service, Strangers, World};

use super::{socket, thread};
use crate::clock;
use crate::context::Context;
use crate::fleet::Snapshot;
use diary::Diary;
use outbox::{Outbox, is_observed};
use ports::{Arrival, Ports};

mod diary;
mod kind;
mod link;
mod outbox;
mod ports;

/// How often cluster.yaml is looked at while DHCP is off, and the kernel's counters while it is not.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs the service.
pub async fn run(context: Context) -> anyhow::Result<()> {
    thread::own("dhcp", context, serve).await
}

async fn serve(context: Context) -> anyhow::Result<()> {
    while socket::cluster(&context).await.network.dhcp == DhcpMode::Off {
        tokio::time::sleep(PAUSE).await;
    }
    let address = socket::cluster(&context).await.network.address;
    let interface = socket::interface(&context, address)?;
    let mut ports = Ports::open(&interface, address)?;
    let leases = context.fleet.leases().await?;
    tracing::info!("dhcp: on {interface}, {} leases", leases.len());
    let diary = Diary::new(&context, ports.mac(), address);
    let mut turn = Turn {
        service: Service::new(leases, ports.mac()),
        outbox: Outbox::new(context.clone(), diary.clone()),
        diary,
        context: context.clone(),
    };
    let mut counted = Instant::now();
    let mut more = None;
    loop {
        let arrival = match more.take() {
            Some(arrival) => arrival,
            None => turn.next(&mut ports).await?,
        };
        socket::still_at(address, &context)?;
        turn.decide(&arrival, &ports);
        turn.outbox.send(&ports).await;
        if turn.outbox.is_gathering() {
            more = ports.more()?;
        }
        if more.is_none() {
            turn.outbox.commit();
            turn.outbox.send(&ports).await;
        }
        if counted.elapsed() > PAUSE {
            ports.count_dropped(&context.metrics);
            counted = Instant::now();
            let mode = socket::cluster(&context).await.network.dhcp;
            anyhow::ensure!(mode != DhcpMode::Off, "cluster.yaml switches it off");
        }
    }
}

/// Returns at a moment of the wall clock; never without one.
async fn until(deadline: Option<Timestamp>) {
    match deadline {
        Some(at) => {
            let wait = Duration::from_millis(at.saturating_sub(clock::now()));
            // The clock may be set: a long wait is cut, and what is too early is decided again.
            tokio::time::sleep(wait.min(PAUSE)).await;
        }
        None => std::future::pending().await,
    }
}

/// The engine, and what it decides with.
struct Turn {
    service: Service,
    outbox: Outbox,
    diary: Diary,
    context: Context,
}

impl Turn {
    /// Waits for something to decide about.
    async fn next(&self, ports: &mut Ports) -> anyhow::Result<Arrival> {
        tokio::select! {
            biased;
            arrival = ports.receive() => arrival,
            () = until(self.service.deadline()) => Ok(Arrival::Nothing),
        }
    }

    /// While cluster.yaml is broken nobody is answered.
    fn decide(&mut self, arrival: &Arrival, ports: &Ports) {
        let snapshot = self.context.fleet.snapshot();
        match arrival {
            Arrival::Nothing => {}
            Arrival::Datagrams(port) => {
                for (bytes, source) in ports.inbox().iter() {
                    self.context.metrics.dhcp(kind::of(bytes), "received");
                    let port = *port;
                    let input = Input::Packet {
                        bytes,
                        source,
                        port,
                    };
                    self.handle(input, &snapshot);
                }
            }
            Arrival::Seen(all) => {
                for seen in all {
                    self.handle(seen.input(), &snapshot);
                }
            }
        }
        let is_due = |at: Timestamp| at <= clock::now();
        if self.service.deadline().is_some_and(is_due) {
            self.handle(Input::Timeout, &snapshot);
        }
    }

    fn handle(&mut self, input: Input<'_>, snapshot: &Arc<Snapshot>) {
        let Some(cluster) = &snapshot.cluster else {
            return;
        };
        let history = |mac: MacAddress| {
            let stranger = snapshot.machines.get(&mac.hyphenated())?;
            Some(&stranger.boot)
        };
        let world = World {
            cluster,
            http_port: self.context.options.http_port,
            strangers: Strangers::new(&history),
        };
        let find = |identity: &_| snapshot.find(identity);
        let outputs = self.service.handle(input, world, find, clock::now());
        if let Input::Packet {
            bytes,
            source,
            port,
        } = input
            && is_recorded(&outputs)
        {
            self.diary.received(bytes, source, port);
        }
        self.outbox.put(outputs);
    }
}

/// Whether a message is worth recording: what it led to concerns a machine, or nobody was answered yet.
fn is_recorded(outputs: &[Output]) -> bool {
    let answers = |output: &Output| matches!(output, Output::Send { .. });
    outputs.iter().any(is_observed) || !outputs.iter().any(answers)
}
