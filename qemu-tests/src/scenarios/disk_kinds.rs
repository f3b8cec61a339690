//! Machines with an NVMe, a SATA and a SCSI disk are installed, each by the driver that its agent fetched
//! for it, and are started again by their firmware from that disk alone.

use anyhow::{Context, Result, ensure};

use super::{expect_installs_begun, leave_out_etcd, wait_restarted, wait_running};
use crate::drive::DiskKind;
use crate::lab::{Lab, LabOptions};
use crate::vm::BootOrder;

/// Each machine, its disk, and what its agent has to find: the disk's device node and its transport.
const MACHINES: &[(&str, DiskKind, &str, &str)] = &[
    ("node1", DiskKind::Nvme, "/dev/nvme0n1", "nvme"),
    ("node2", DiskKind::Ahci, "/dev/sda", "sata"),
    ("node3", DiskKind::Scsi, "/dev/sda", "scsi"),
];
pub(super) fn arrange(options: &mut LabOptions) -> Result<()> {
    options.nodes = Some(MACHINES.len());
    Ok(())
}

pub(super) fn play(lab: &mut Lab) -> Result<()> {
    leave_out_etcd(lab)?;
    lab.start_appliance()?;
    for (name, kind, ..) in MACHINES {
        let machine = lab.machine(name)?;
        machine.vm.spec.disks[0].kind = *kind;
        machine.power_on()?;
    }
    for (name, _, path, transport) in MACHINES {
        let detail = wait_running(lab, name)?;
        expect_installs_begun(&detail, 1)?;
        let inventory = detail.inventory.context("there is no inventory")?;
        let found: Vec<_> = inventory
            .disks
            .iter()
            .map(|disk| (disk.path.as_str(), disk.transport.as_deref()))
            .collect();
        ensure!(found == [(*path, Some(*transport))], "{name} has {found:?}");

        let machine = lab.machine(name)?;
        machine.vm.power_cut()?;
        machine.vm.spec.boot = BootOrder::Disk;
        machine.power_on()?;
    }
    for (name, ..) in MACHINES {
        wait_restarted(lab, name)?;
        lab.machine(name)?.vm.power_cut()?;
    }
    Ok(())
}
