//! SNTP on UDP port 123.

use anyhow::Context as _;
use hardway_model::lifecycle::Timestamp;
use hardway_netboot::ntp::{Clock, respond};

use super::socket;
use crate::clock;
use crate::context::Context;

const PORT: u16 = 123;
/// 2026-01-01 UTC. A clock before this was never set.
const EARLIEST: Timestamp = 1_767_225_600_000;
/// A clock of the machine itself, which nobody disciplines: what `local` servers commonly say.
const LOCAL: u8 = 10;
/// Not synchronised: clients leave their clocks alone.
const UNSYNCHRONISED: u8 = 16;

/// Runs the service.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let address = socket::cluster(&context).await.network.address;
    let socket = socket::udp(address, PORT, context.interface())?;
    let mut buffer = [0; 512];
    loop {
        let received = socket.recv_from(&mut buffer).await;
        let (length, peer) = received.context("receiving NTP")?;
        socket::still_at(address, &context)?;
        let now = clock::now();
        let own = Clock {
            received: now,
            now,
            stratum: stratum(now),
            reference: now,
        };
        if let Some(reply) = respond(&buffer[..length], own)
            && let Err(error) = socket.send_to(&reply, peer).await
        {
            tracing::debug!("ntp: sending to {peer}: {error}");
        }
    }
}

fn stratum(now: Timestamp) -> u8 {
    match now >= EARLIEST {
        true => LOCAL,
        false => UNSYNCHRONISED,
    }
}
