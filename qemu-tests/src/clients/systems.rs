//! Operating systems' DHCP clients, and a relay.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};

use super::{STRANGER, Started};
use crate::interop::{Rack, Running};
use crate::namespace::{Namespace, Plug};

/// What dhclient runs: it sets the address, and nothing else.
const SCRIPT: &str = "#!/bin/sh\n\
    [ \"$reason\" != BOUND ] || ip address add \"$new_ip_address/24\" dev \"$interface\"\n";

/// Asks and releases, with files of its own.
pub fn dhclient(rack: &Rack, folder: &Path) -> Result<Started> {
    become_stranger(&rack.client)?;
    run_dhclient(&rack.client, folder, &["-1"])?;
    run_dhclient(&rack.client, folder, &["-r"])?;
    Ok(Vec::new())
}

pub fn udhcpc(rack: &Rack, _folder: &Path) -> Result<Started> {
    become_stranger(&rack.client)?;
    let mut command = rack.client.command("udhcpc");
    command
        .args([
            "-i",
            "eth0",
            "-f",
            "-R",
            "-x",
            "hostname:web7",
            "-s",
            "/bin/true",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let child = command.spawn().context("starting udhcpc")?;
    let process = nix::unistd::Pid::from_raw(child.id().cast_signed());
    let running = Running(child);
    // It renews on SIGUSR1, which it ignores before it has a lease.
    std::thread::sleep(std::time::Duration::from_secs(8));
    nix::sys::signal::kill(process, nix::sys::signal::SIGUSR1).context("waking udhcpc")?;
    Ok(vec![Box::new(running)])
}

/// It believes to be in a container, where no udev is to be waited for, when /sys cannot be written.
pub fn networkd(rack: &Rack, folder: &Path) -> Result<Started> {
    become_stranger(&rack.client)?;
    let network = "[Match]\nName=eth0\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\n";
    fs::write(folder.join("eth0.network"), network).context("writing eth0.network")?;
    let script = format!(
        "set -e\n\
         mount -t tmpfs tmpfs /run\n\
         mkdir -p /run/systemd/network /run/systemd/netif/links /run/systemd/netif/leases\n\
         cp {}/eth0.network /run/systemd/network/\n\
         mount -t sysfs -o ro sysfs /sys\n\
         exec /lib/systemd/systemd-networkd\n",
        folder.display()
    );
    let mut command = rack.client.command("unshare");
    command
        .args(["--mount", "--", "sh", "-c", &script])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let child = command.spawn().context("starting systemd-networkd")?;
    Ok(vec![Box::new(Running(child))])
}

/// The client's cable leads to a relay, and the relay's to the appliance.
pub fn relayed(rack: &Rack, folder: &Path) -> Result<Started> {
    let relay = &rack.client;
    let behind = Namespace::new("the host behind the relay")?;
    let plug = |host, interface, mac, address| Plug {
        host,
        interface,
        mac,
        address,
    };
    Namespace::link(
        plug(relay, "eth1", None, Some("10.78.0.1/24")),
        plug(&behind, "eth0", Some(STRANGER), None),
    )?;
    rack.appliance
        .run(["ip", "route", "add", "10.78.0.0/24", "via", "10.77.0.2"])?;
    let mut command = relay.command("dhcrelay");
    command
        .args(["-4", "-d", "-a", "-id", "eth1", "-iu", "eth0", "10.77.0.1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let running = Running(command.spawn().context("starting dhcrelay")?);
    std::thread::sleep(std::time::Duration::from_secs(1));
    run_dhclient(&behind, folder, &["-1"])?;
    Ok(vec![Box::new(running), Box::new(behind)])
}

fn run_dhclient(host: &Namespace, folder: &Path, mode: &[&str]) -> Result<()> {
    let config = folder.join("dhclient.conf");
    fs::write(&config, "send host-name \"web7\";\n").context("writing dhclient.conf")?;
    let file = |name: &str| folder.join(name).display().to_string();
    let (config, leases, process) = (file("dhclient.conf"), file("leases"), file("pid"));
    // It releases its address from that address.
    let script = folder.join("script");
    fs::write(&script, SCRIPT).context("writing dhclient's script")?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))
        .context("making dhclient's script a program")?;
    // It takes a folder without one for a mistake.
    if !folder.join("leases").exists() {
        fs::write(folder.join("leases"), "").context("making the file of leases")?;
    }
    let mut command = host.command("dhclient");
    command
        .args(mode)
        .args(["-d", "-4", "-cf", &config, "-lf", &leases, "-pf", &process])
        .args(["-sf", &file("script"), "eth0"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // In the foreground, so that it ends here; it has its lease within seconds.
    let mut running = Running(command.spawn().context("starting dhclient")?);
    let is_release = mode == ["-r"];
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while std::time::Instant::now() < deadline {
        let ended = running.0.try_wait().context("waiting for dhclient")?;
        let has_lease =
            fs::read_to_string(&leases).is_ok_and(|text| text.contains("fixed-address"));
        if ended.is_some() || (has_lease && !is_release) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    Ok(())
}

/// The client's interface as a machine's that is not declared, without an address.
fn become_stranger(host: &Namespace) -> Result<()> {
    host.run(["ip", "address", "flush", "dev", "eth0"])?;
    host.run(["ip", "link", "set", "eth0", "down"])?;
    host.run(["ip", "link", "set", "eth0", "address", STRANGER])?;
    host.run(["ip", "link", "set", "eth0", "up"])?;
    Ok(())
}
