//! Firmware as a DHCP client, in QEMU on a tap of the client's host, which is bridged to the cable.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};

use super::{DECLARED, Started};
use crate::interop::{Rack, Running};
use crate::vm::{OVMF_CODE, OVMF_VARIABLES, end_with_parent};

pub fn bios(rack: &Rack, _folder: &Path) -> Result<Started> {
    let nic = format!("virtio-net-pci,netdev=n0,mac={DECLARED},bootindex=0");
    start(rack, &["-machine", "pc,graphics=off", "-device", &nic])
}

pub fn uefi_pxe(rack: &Rack, folder: &Path) -> Result<Started> {
    uefi(rack, folder, &[])
}

pub fn uefi_http(rack: &Rack, folder: &Path) -> Result<Started> {
    let only_http = [
        "-fw_cfg",
        "name=opt/org.tianocore/IPv4PXESupport,string=n",
        "-fw_cfg",
        "name=opt/org.tianocore/IPv6PXESupport,string=n",
    ];
    uefi(rack, folder, &only_http)
}

fn uefi(rack: &Rack, folder: &Path, more: &[&str]) -> Result<Started> {
    let variables = folder.join("variables.fd");
    fs::copy(OVMF_VARIABLES, &variables).with_context(|| format!("copying {OVMF_VARIABLES}"))?;
    let code = format!("if=pflash,format=raw,readonly=on,file={OVMF_CODE}");
    let variables = format!("if=pflash,format=raw,file={}", variables.display());
    // Without its ROM the firmware's own network boot is used.
    let nic = format!("virtio-net-pci,netdev=n0,mac={DECLARED},bootindex=0,romfile=");
    let mut arguments = vec!["-machine", "q35", "-drive", &code, "-drive", &variables];
    arguments.extend(["-device", &nic, "-device", "virtio-rng-pci"]);
    arguments.extend(more);
    start(rack, &arguments)
}

fn start(rack: &Rack, arguments: &[&str]) -> Result<Started> {
    let host = &rack.client;
    for line in [
        ["ip", "tuntap", "add", "tap0", "mode", "tap"].as_slice(),
        &["ip", "link", "add", "bridge0", "type", "bridge"],
        &["ip", "link", "set", "eth0", "master", "bridge0"],
        &["ip", "link", "set", "tap0", "master", "bridge0"],
        &["ip", "link", "set", "tap0", "up"],
        &["ip", "link", "set", "bridge0", "up"],
    ] {
        host.run(line)?;
    }
    let mut command = host.command("qemu-system-x86_64");
    command
        .args([
            "-accel",
            "tcg",
            "-nodefaults",
            "-display",
            "none",
            "-m",
            "512",
        ])
        .args(["-uuid", "11111111-2222-3333-4444-555555555555"])
        .args(["-netdev", "tap,id=n0,ifname=tap0,script=no,downscript=no"])
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::inherit());
    end_with_parent(&mut command);
    let child = command.spawn().context("starting qemu-system-x86_64")?;
    Ok(vec![Box::new(Running(child))])
}
