//! What real DHCP clients send, recorded for `crates/netboot/tests/clients`.
//!
//! Each client starts on a cable of its own to a host where `hardway serve` runs, and what it sends to
//! ports 67 and 4011 is written down as hexadecimal text. What the messages mean and what they are
//! answered is added by the test that replays them.
//!
//! | module | what it does |
//! | --- | --- |
//! | `recording` | messages to a DHCP server, off the wire and into a text |
//! | `firmware` | SeaBIOS and OVMF in QEMU |
//! | `systems` | dhclient, udhcpc, systemd-networkd, and a client behind isc-dhcp-relay |

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use self::recording::Recording;
use crate::interop::{self, Options, Rack};
use crate::namespace;

mod firmware;
mod recording;
mod systems;

/// A client: its file, what it is, and how it is started. Recording ends when the appliance's answer
/// to so many of its messages should have come, or when time is up.
struct Client {
    file: &'static str,
    title: &'static str,
    messages: usize,
    start: fn(&Rack, &Path) -> Result<Started>,
}

/// What ends when recording does.
type Started = Vec<Box<dyn std::any::Any>>;

const CLIENTS: [Client; 7] = [
    Client {
        file: "seabios-ipxe-rom",
        title: "SeaBIOS with the iPXE of the NIC's ROM (QEMU, virtio-net-pci)",
        messages: 2,
        start: firmware::bios,
    },
    Client {
        file: "ovmf-pxe",
        title: "OVMF's own PXE over IPv4 (QEMU, virtio-net-pci without a ROM)",
        messages: 2,
        start: firmware::uefi_pxe,
    },
    Client {
        file: "ovmf-http-boot",
        title: "OVMF's HTTP Boot (QEMU, virtio-net-pci without a ROM, IPv4PXESupport=n)",
        messages: 2,
        start: firmware::uefi_http,
    },
    Client {
        file: "dhclient",
        title: "ISC dhclient: a first lease, and its release",
        messages: 3,
        start: systems::dhclient,
    },
    Client {
        file: "udhcpc",
        title: "BusyBox udhcpc: a first lease, and its renewal, twice",
        messages: 4,
        start: systems::udhcpc,
    },
    Client {
        file: "systemd-networkd",
        title: "systemd-networkd",
        messages: 2,
        start: systems::networkd,
    },
    Client {
        file: "isc-dhcp-relay",
        title: "dhclient behind isc-dhcp-relay, which adds option 82",
        messages: 2,
        start: systems::relayed,
    },
];

/// How long a client may take: firmware under emulation, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);
/// How long is waited for what comes behind the last message that is expected.
const REST: Duration = Duration::from_millis(500);

/// Records every client, or those whose file's name holds `name`, into `folder`, where the
/// `cluster.yaml` stands that they are served by.
pub fn capture(options: &Options, name: Option<&str>, folder: &Path) -> Result<()> {
    namespace::become_root()?;
    let cluster = folder.join("cluster.yaml");
    let cluster =
        fs::read_to_string(&cluster).with_context(|| format!("reading {}", cluster.display()))?;
    let chosen = CLIENTS
        .iter()
        .filter(|client| name.is_none_or(|name| client.file.contains(name)));
    let mut failed = Vec::new();
    for client in chosen {
        let path = folder.join(format!("{}.txt", client.file));
        match record(client, options, &cluster, &path) {
            Ok(count) => println!("{}: {count} messages", client.file),
            Err(error) => {
                println!("{}: {error:#}", client.file);
                failed.push(client.file);
            }
        }
    }
    if !failed.is_empty() {
        bail!("not recorded: {}", failed.join(", "));
    }
    println!(
        "now let the test add what they mean: see {}",
        folder.display()
    );
    Ok(())
}

fn record(client: &Client, options: &Options, cluster: &str, path: &PathBuf) -> Result<usize> {
    let rack = Rack::start(options, cluster, "http,dhcp")?;
    // The services behind the first one that answers start at the same moment.
    std::thread::sleep(REST);
    let recording = Recording::start(&rack.appliance)?;
    let folder = tempfile::tempdir().context("making a folder for the client")?;
    let started = (client.start)(&rack, folder.path())?;
    let deadline = Instant::now() + PATIENCE;
    while recording.count() < client.messages && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(REST);
    drop(started);
    let messages = recording.end();
    if messages.len() < client.messages {
        bail!(
            "{} of {} messages came; the appliance says:\n{}",
            messages.len(),
            client.messages,
            rack.log()
        );
    }
    let text = recording::text(client.title, &messages[..client.messages]);
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    Ok(client.messages)
}

/// The hardware address of the clients: the declared machine's in `cluster.yaml`.
const DECLARED: &str = interop::NODE1;
/// One that is not declared.
const STRANGER: &str = "52:54:00:00:00:09";
