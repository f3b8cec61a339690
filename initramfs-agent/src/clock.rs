//! The clock, from the appliance: certificates, file times and the receipt depend on it.

use std::time::Instant;

use anyhow::{Context, Result};
use hardway_model::messages::Time;
use rustix::time::{ClockId, Timespec, clock_settime};

use crate::http::Appliance;
use crate::patience::patiently;
use crate::reports::Reports;

/// The clock is set. A session takes it as a proof: whatever is fetched over TLS is fetched in one, and
/// certificates are checked against the clock.
#[derive(Debug)]
pub struct IsSet(());

/// Sets this machine's clock to the appliance's, half a round trip added.
pub fn set_from(appliance: &Appliance, reports: &Reports) -> Result<IsSet> {
    let (time, delay) = patiently(reports, || {
        let asked = Instant::now();
        let time: Time = appliance.get_json("/agent/v1/time")?;
        Ok((time, asked.elapsed() / 2))
    })
    .context("asking for the time")?;
    let now = std::time::Duration::from_millis(time.unix_milliseconds) + delay;
    let time = Timespec {
        tv_sec: now.as_secs() as i64,
        tv_nsec: i64::from(now.subsec_nanos()),
    };
    clock_settime(ClockId::Realtime, time).context("setting the clock")?;
    Ok(IsSet(()))
}
