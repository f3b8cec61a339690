//! Two machines with two NICs each, by `configs/links`.
//!
//! The agent of the one bonds its NICs and uses the VLAN on the bond; its installed system has the bond,
//! both VLANs, their addresses and MTUs; and when the active port loses its link, the other one takes
//! over. The firmware speaks to the appliance without a tag, agent and system with that of VLAN 20 alone.
//!
//! The other one's bond is by LACP, with a switch that knows nothing of it: one port carries everything.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::inside::Key;
use super::{NODE, TO_AGENT, edit_cluster_file, expect_installs_begun, wait_running};
use crate::appliance;
use crate::lab::{Lab, LabOptions};
use crate::rack::{SSH, port_name};

const VLAN: u16 = 20;
/// The machine with LACP.
const OTHER: &str = "node2";

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
        "echo \"addresses: $(ip -oneline address show bond0; ip -oneline address show master bond0)\"",
        &["addresses: \n"],
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

const INSIDE_OTHER: &[(&str, &[&str])] = &[
    (
        "cat /proc/net/bonding/bond0",
        &[
            "IEEE 802.3ad",
            "layer2+3",
            "LACP rate: fast",
            "Permanent HW addr: 52:54:00:00:79:03",
            "Permanent HW addr: 52:54:00:00:79:04",
        ],
    ),
    (
        "ip -oneline -4 address show bond0",
        &["10.79.0.12/24", "dynamic"],
    ),
    ("ip route", &["default via 10.79.0.1 dev bond0"]),
    (
        "echo \"failed: $(systemctl --failed --no-legend --plain)\"",
        &["failed: \n"],
    ),
];

pub(super) fn arrange(options: &mut LabOptions) -> Result<()> {
    options.cluster = PathBuf::from("configs/links/cluster.yaml");
    options.nodes = None;
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
    lab.machine(NODE)?.power_on()?;
    lab.machine(OTHER)?.power_on()?;
    let agent_has = |lab: &mut Lab, name: &str, link: &str| {
        let serial = lab.machine(name)?.vm.serial();
        serial.expect("bond0 is made of ", TO_AGENT)?;
        serial.expect(link, TO_AGENT)
    };
    let tagged = format!("bond0.{VLAN} (52:54:00:00:79:01) has address 10.79.0.11/24");
    agent_has(lab, NODE, &tagged)?;
    let bond = "bond0 (52:54:00:00:79:03) has address 10.79.0.12/24";
    agent_has(lab, OTHER, bond)?;
    for (name, inside) in [(OTHER, INSIDE_OTHER), (NODE, INSIDE)] {
        let running = wait_running(lab, name)?;
        expect_installs_begun(&running, 1)?;
        key.expect_inside(way_in(lab, name)?, inside)?;
    }
    fail_over(lab, &key)
}

fn way_in(lab: &mut Lab, name: &str) -> Result<u16> {
    let declared = lab.machine(name)?.declared.clone();
    let port = lab.host_port(&declared, SSH);
    port.with_context(|| format!("{name} has no way in"))
}

/// The active port loses its link, and the system is reached by the other one.
fn fail_over(lab: &mut Lab, key: &Key) -> Result<()> {
    let port = way_in(lab, NODE)?;
    let active = "cat /sys/class/net/bond0/bonding/active_slave";
    let before = key.run("root", port, active)?;
    let nic = usize::from(mac_of(key, port, before.trim())? != "52:54:00:00:79:01");
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
