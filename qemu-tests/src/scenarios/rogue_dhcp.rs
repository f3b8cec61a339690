//! A second DHCP server appears on the segment while machines boot: they are served all the same, and
//! the operator is told of it by its address and its hardware address.

use std::net::Ipv4Addr;

use anyhow::Result;
use hardway_model::identity::MacAddress;

use super::{NODE, TO_AGENT, expect_timeline, wait_installed};
use crate::lab::Lab;
use crate::rogue::Rogue;

const ROGUE: Rogue = Rogue {
    mac: MacAddress([0x02, 0x66, 0x6f, 0x6f, 0x62, 0x61]),
    address: Ipv4Addr::new(10, 77, 0, 66),
    offered: Ipv4Addr::new(10, 77, 0, 67),
};

pub(super) fn play(lab: &mut Lab) -> Result<()> {
    lab.start_appliance()?;
    let _rogue = ROGUE.start(&lab.segment)?;
    lab.machine(NODE)?.power_on()?;
    let told = lab
        .api
        .wait_for(NODE, "told of the server", TO_AGENT, |detail| {
            let mut lines = detail.timeline.iter();
            lines.any(|entry| entry.text.contains("foreign-server"))
        })?;
    expect_timeline(&told, &ROGUE.address.to_string())?;
    expect_timeline(&told, &ROGUE.mac.to_string())?;
    wait_installed(lab, NODE).map(drop)
}
