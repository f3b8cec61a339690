//! What stands in a lab: a VM for the appliance, one for each declared machine, and the ways in.

use std::path::PathBuf;

use anyhow::{Result, bail};
use hardway_model::cluster::{Cluster, Machine};
use hardway_model::identity::MacAddress;

use crate::appliance;
use crate::disk;
use crate::drive::{Disk, DiskKind};
use crate::host_port::{Addressing, Forward, HostPort};
use crate::lab::{LabMachine, LabOptions};
use crate::segment::{PortKind, Segment};
use crate::vm::{BootOrder, Nic, NicModel, Vm, VmFolders, VmSpec};

const APPLIANCE_MAC: MacAddress = MacAddress([0x52, 0x54, 0, 0x77, 0, 1]);
/// Enough for a machine; the operator's minimum counts when it is larger.
const DISK_SIZE: u64 = 4 << 30;
/// Less than a system's, so that a profile can tell the two by it.
const DATA_DISK_SIZE: u64 = 2 << 30;
/// The port of the appliance's UI.
pub const HTTP: u16 = 80;
/// The port that every machine is reached by.
pub const SSH: u16 = 22;

/// The appliance's UI; and of each machine ssh and the ports of its checks.
pub(crate) fn forwards(cluster: &Cluster) -> Result<Vec<Forward>> {
    let mut wanted = vec![(cluster.network.address, HTTP)];
    for machine in &cluster.machines {
        let Some(address) = machine.address else {
            continue;
        };
        let mut ports = vec![SSH];
        let checks = cluster.checks.iter();
        ports.extend(
            checks
                .filter(|check| check.profile == machine.profile)
                .filter_map(|check| url_port(&check.http)),
        );
        ports.dedup();
        wanted.extend(ports.into_iter().map(|port| (address, port)));
    }
    Forward::to_all(&wanted)
}

/// The port in `http://{{ machine.address }}:2379/health`.
fn url_port(template: &str) -> Option<u16> {
    let (scheme, rest) = template.split_once("://")?;
    let authority = rest.split('/').next()?;
    match authority.rsplit_once(':') {
        Some((_, port)) => port.trim().parse().ok(),
        None => (scheme == "http").then_some(HTTP),
    }
}

pub(crate) fn open_host_port(
    segment: &Segment,
    cluster: &Cluster,
    forwards: &[Forward],
    options: &LabOptions,
) -> Result<HostPort> {
    let network = &cluster.network;
    let addressing = Addressing::choose(network.network_address(), network.prefix, |address| {
        address == network.address
            || network.pool_contains(address)
            || network.gateway == Some(address)
            || cluster
                .machines
                .iter()
                .any(|machine| machine.address == Some(address))
    })?;
    let socket = segment.add_port("host", PortKind::Host)?;
    let log = options.folder.join("host-port.qemu.log");
    HostPort::start(&socket, &addressing, forwards, &log)
}

pub(crate) fn appliance_vm(
    segment: &Segment,
    folders: &VmFolders,
    options: &LabOptions,
    disk: PathBuf,
) -> Result<Vm> {
    let nic = Nic {
        model: NicModel::Virtio,
        mac: APPLIANCE_MAC,
        port: segment.add_port("appliance", PortKind::Machine)?,
    };
    let spec = VmSpec {
        name: "appliance".to_owned(),
        memory: appliance::MEMORY_MIB,
        processors: 1,
        firmware: options.appliance_firmware,
        boot: BootOrder::Disk,
        uuid: None,
        nics: vec![nic],
        disks: vec![Disk::new(disk, DiskKind::Virtio, "appliance".to_owned())],
        screen: true,
    };
    Ok(Vm::new(spec, folders.clone(), options.accelerator))
}

/// The segment's port of a machine's NIC, by its number from 0.
pub(crate) fn port_name(machine: &str, nic: usize) -> String {
    match nic {
        0 => machine.to_owned(),
        _ => format!("{machine}.{nic}"),
    }
}

pub(crate) fn machine_vm(
    segment: &Segment,
    folders: &VmFolders,
    options: &LabOptions,
    cluster: &Cluster,
    machine: &Machine,
) -> Result<LabMachine> {
    let name = &machine.name;
    if machine.matches.macs.is_empty() {
        bail!("{name} is matched by no MAC address: the lab can make no VM for it");
    }
    let nics = (0..).zip(&machine.matches.macs);
    let nics = nics.map(|(index, mac)| {
        let port = segment.add_port(&port_name(name, index), PortKind::Machine)?;
        Ok(Nic {
            model: options.nic,
            mac: *mac,
            port,
        })
    });
    let selector = cluster.profile(&machine.profile).map(|found| &found.disk);
    let minimum = selector.and_then(|disk| disk.min_size).unwrap_or(0);
    let kind = match selector.and_then(|disk| disk.transport.as_deref()) {
        Some("nvme") => DiskKind::Nvme,
        Some("scsi") => DiskKind::Scsi,
        _ => DiskKind::Virtio,
    };
    let serial = selector.and_then(|disk| disk.serial.clone());
    let serial = serial.unwrap_or_else(|| format!("lab-{name}"));
    let system = (serial, minimum.max(DISK_SIZE));
    let data =
        (1..=options.data_disks).map(|number| (format!("lab-{name}-data{number}"), DATA_DISK_SIZE));
    let disks = std::iter::once(system)
        .chain(data)
        .map(|(serial, size)| {
            let file = options.folder.join("disks").join(format!("{serial}.img"));
            disk::create_blank(&file, size)?;
            Ok(Disk::new(file, kind, serial))
        })
        .collect::<Result<_>>()?;
    let spec = VmSpec {
        name: name.clone(),
        memory: options.memory,
        processors: 1,
        firmware: options.firmware,
        boot: options.boot,
        uuid: None,
        nics: nics.collect::<Result<_>>()?,
        disks,
        screen: false,
    };
    Ok(LabMachine {
        declared: machine.clone(),
        vm: Vm::new(spec, folders.clone(), options.accelerator),
        power_on: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_checks() {
        for (template, port) in [
            ("http://{{ machine.address }}:2379/health", Some(2379)),
            ("http://{{ machine.address }}/healthz", Some(80)),
            ("http://{{ machine.address }}:{{ vars.port }}/", None),
        ] {
            assert_eq!(url_port(template), port, "{template}");
        }
    }
}
