//! The NIC of an installed machine is swapped for another: by its UUID it is the same machine, keeps
//! its address, is sent on to its disk and never installed again.

use anyhow::{Context, Result, ensure};
use hardway_model::identity::MacAddress;

use super::{NODE, edit_cluster_file, expect_installs_begun, expect_running_again, wait_running};
use crate::appliance;
use crate::lab::Lab;

const UUID: &str = "7d1c2f60-5b0e-4c1e-9a57-2f4c8e0b6a11";
const SPARE: MacAddress = MacAddress([0x52, 0x54, 0, 0, 0x9, 0x9]);

pub(super) fn play(lab: &mut Lab) -> Result<()> {
    let by_mac = r#"{mac: "52:54:00:00:00:01"}"#;
    let by_both = format!(r#"{{mac: "52:54:00:00:00:01", uuid: {UUID}}}"#);
    let cluster = edit_cluster_file(lab, by_mac, &by_both)?;
    let disk = lab.appliance.spec.disks[0].file.clone();
    appliance::replace_config(&disk, &cluster)?;
    lab.start_appliance()?;

    let machine = lab.machine(NODE)?;
    machine.vm.spec.uuid = Some(UUID.to_owned());
    machine.power_on()?;
    let first = wait_running(lab, NODE)?;
    expect_installs_begun(&first, 1)?;

    let machine = lab.machine(NODE)?;
    machine.vm.power_cut()?;
    let nic = machine.vm.spec.nics.first_mut().context("it has no NIC")?;
    nic.mac = SPARE;
    machine.power_on()?;
    expect_running_again(lab, &first, "sent to the disk")?;
    let again = lab.api.machine(NODE)?;
    let address = lab.machine(NODE)?.declared.address;
    let given = format!("given {}", address.context("it has no address")?);
    let mut since = again.timeline.iter().skip(first.timeline.len());
    ensure!(
        since.any(|entry| entry.text.contains(&given)),
        "with its new NIC it was not {given}"
    );
    let others = lab.api.machines()?.len();
    ensure!(others == 1, "{others} machines are known, not one");
    Ok(())
}
