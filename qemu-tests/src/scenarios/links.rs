//! A machine with two NICs by `configs/links`: the agent bonds them and uses the VLAN on the bond; the
//! installed system has the bond, both VLANs, their addresses and MTUs; and when the active port loses
//! its link, the other one takes over.
//!
//! The firmware speaks to the appliance without a tag, agent and system with that of VLAN 20 alone.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::inside::Key;
use super::{NODE, TO_AGENT, edit_cluster_file, expect_installs_begun, wait_running};
use crate::appliance;
use crate::lab::{Lab, LabOptions};
use crate::rack::{SSH, port_name};

const VLAN: u16 = 20;

/// What stands in the installed system: a command, and words that its output has.
const INSIDE: &[(&str, &[&str])] = &[
    (
        "cat /proc/net/bonding/bond0",
        &[
            "active-backup",
            "Permanent HW addr: 52:54:00:00:79:01",
            "Permanent HW addr: 52:54:00:00:79:02",
        ],
    ),
    (
        "ip -oneline -details link show bond0",
        &["mtu 9000", "link/ether 52:54:00:00:79:01"],
    ),
    // Neither the bond nor its ports have an address of any kind.
    (
        "ip -oneline address show bond0; ip -oneline address show master bond0; echo none",
        &["none\n"],
    ),
    (
        "ip -oneline -details link show rack",
        &[
            "rack@bond0",
            "mtu 1500",
            "802.1Q id 20",
            "52:54:00:00:79:01",
        ],
    ),
    (
        "ip -oneline -details link show storage",
        &["storage@bond0", "mtu 9000", "802.1Q id 30"],
    ),
    ("ip -oneline -4 address show rack", &["10.79.0.11/24"]),
    ("ip -oneline -4 address show storage", &["10.30.0.11/24"]),
    ("ip route", &["default via 10.79.0.1 dev rack"]),
    (
        "cat /run/systemd/resolve/resolv.conf",
        &["nameserver 10.79.0.1", "search links.internal"],
    ),
    ("cat /etc/storage-address", &["10.30.0.11/24 9000"]),
    (
        "echo \"failed: $(systemctl --failed --no-legend --plain)\"",
        &["failed: \n"],
    ),
];

pub(super) fn arrange(options: &mut LabOptions) -> Result<()> {
    options.cluster = PathBuf::from("configs/links/cluster.yaml");
    Ok(())
}

pub(super) fn play(lab: &mut Lab) -> Result<()> {
    let key = Key::make(lab.folder())?;
    let keys = format!("ssh_keys: [\"{}\"]", key.public);
    let cluster_file = edit_cluster_file(lab, "ssh_keys: []", &keys)?;
    let appliance_disk = lab.appliance.spec.disks[0].file.clone();
    appliance::replace_config(&appliance_disk, &cluster_file)?;
    for nic in 0..2 {
        lab.segment.set_vlan(&port_name(NODE, nic), VLAN);
    }

    lab.start_appliance()?;
    let machine = lab.machine(NODE)?;
    machine.power_on()?;
    let serial = machine.vm.serial();
    serial.expect("bond0 is made of ", TO_AGENT)?;
    let address = format!("bond0.{VLAN} (52:54:00:00:79:01) has address 10.79.0.11/24");
    serial.expect(&address, TO_AGENT)?;
    let running = wait_running(lab, NODE)?;
    expect_installs_begun(&running, 1)?;

    let declared = lab.machine(NODE)?.declared.clone();
    let port = lab
        .host_port(&declared, SSH)
        .with_context(|| format!("{NODE} has no way in"))?;
    key.expect_inside(port, INSIDE)?;
    let active = "cat /sys/class/net/bond0/bonding/active_slave";
    let before = key.run("root", port, active)?;
    let nic = usize::from(mac_of(&key, port, before.trim())? != "52:54:00:00:79:01");
    lab.machine(NODE)?.vm.set_link(nic, false)?;
    let after = key.run("root", port, active)?;
    ensure!(
        after != before && !after.trim().is_empty(),
        "{} is the bond's active port still",
        before.trim()
    );
    Ok(())
}

/// The port's own address, which it does not have while it belongs to the bond.
fn mac_of(key: &Key, port: u16, name: &str) -> Result<String> {
    let file = format!("/sys/class/net/{name}/bonding_slave/perm_hwaddr");
    let mac = key.run("root", port, &format!("cat {file}"))?;
    Ok(mac.trim().to_owned())
}
