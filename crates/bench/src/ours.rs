//! `hardway serve` as it is measured: its own cluster.yaml, state on the bench's folder.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::network::{PREFIX, SERVER_INTERFACE, client_address};
use crate::payload::Payload;
use crate::peers;
use crate::section::{Bench, Settings};
use crate::server::{Port, Recipe};

/// The appliance's address.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// What undeclared clients are given, by us and by the peers.
pub const POOL: (Ipv4Addr, Ipv4Addr) =
    (Ipv4Addr::new(10, 99, 16, 0), Ipv4Addr::new(10, 99, 47, 255));
/// As it is shown.
pub const NAME: &str = "Hardway";

/// The program that is measured.
pub struct Ours {
    program: PathBuf,
    version: String,
    payload: Payload,
}

impl Ours {
    /// Asks the program for its version.
    pub fn new(settings: &Settings, payload: &Payload) -> anyhow::Result<Self> {
        let said = peers::said(Command::new(&settings.hardway).arg("--version"))?;
        Ok(Self {
            program: settings.hardway.clone(),
            version: said.trim().trim_start_matches("hardway ").to_owned(),
            payload: payload.clone(),
        })
    }

    /// `hardway serve` with some of its services, and so many declared machines.
    pub fn recipe(
        &self,
        bench: &Bench,
        services: &str,
        ports: &[Port],
        machines: usize,
    ) -> anyhow::Result<Recipe> {
        let images = self.payload.root.join("images");
        write(&images.join("node.img"), "")?;
        self.serving(bench, &cluster_yaml(machines), &images, services, ports)
    }

    /// `hardway serve` with an image in its store for the machine with the number 0; nothing but HTTP.
    pub fn with_image(
        &self,
        bench: &Bench,
        stored: &Stored<'_>,
        ports: &[Port],
    ) -> anyhow::Result<Recipe> {
        let text = cluster_yaml_of(stored);
        self.serving(bench, &text, &stored.folder, "http", ports)
    }

    /// As the program says it.
    pub fn version(&self) -> &str {
        &self.version
    }

    fn serving(
        &self,
        bench: &Bench,
        cluster_yaml: &str,
        images: &Path,
        services: &str,
        ports: &[Port],
    ) -> anyhow::Result<Recipe> {
        let state = bench.state("hardway")?;
        let config = state.join("cluster.yaml");
        write(&config, cluster_yaml)?;
        let mut command = Command::new(&self.program);
        command.arg("serve").arg("--config").arg(&config);
        command.arg("--state").arg(state.join("journal"));
        command.arg("--payload").arg(&self.payload.root);
        command.arg("--images").arg(images);
        command.arg("--only").arg(services);
        Ok(Recipe {
            name: NAME.to_owned(),
            version: self.version.clone(),
            command,
            address: ADDRESS,
            ports: ports.to_vec(),
            log: bench.log("hardway"),
        })
    }
}

/// An image in the store, and how it is installed.
pub struct Stored<'a> {
    /// The store.
    pub folder: PathBuf,
    /// The file; or what it was before it was imported.
    pub file: &'a str,
    /// Of the file, in hexadecimal.
    pub sha256: &'a str,
    /// Whether what was written is read again.
    pub read_back: bool,
}

/// The hardware address of a declared machine.
pub fn machine_mac(number: usize) -> [u8; 6] {
    let [_, high, middle, low] = (number as u32).to_be_bytes();
    [0x52, 0x54, 0x00, high, middle, low]
}

/// As it is written in configurations.
pub fn colons(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn cluster_yaml(machines: usize) -> String {
    let (first, last) = POOL;
    let mut text = format!(
        "version: 1\n\
         cluster: {{name: bench}}\n\
         network:\n\
         \x20 address: {ADDRESS}/{PREFIX}\n\
         \x20 interface: {SERVER_INTERFACE}\n\
         \x20 dhcp: {{mode: server, pool: {first}-{last}, lease: 1h}}\n"
    );
    if machines == 0 {
        return text;
    }
    // The digest of an empty file: no machine comes so far as to fetch it.
    text.push_str(
        "images:\n\
         \x20 node: {file: node.img, sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855}\n\
         profiles:\n\
         \x20 node: {image: node}\n\
         machines:\n",
    );
    for number in 0..machines {
        text.push_str(&machine(number));
    }
    text
}

fn cluster_yaml_of(stored: &Stored<'_>) -> String {
    let Stored {
        file,
        sha256,
        read_back,
        ..
    } = stored;
    format!(
        "{}images:\n\
         \x20 node: {{file: {file}, sha256: {sha256}}}\n\
         profiles:\n\
         \x20 node: {{image: node, read_back: {read_back}}}\n\
         machines:\n{}",
        cluster_yaml(0),
        machine(0)
    )
}

fn machine(number: usize) -> String {
    format!(
        "  - {{name: m{number:04}, match: {{mac: \"{}\"}}, profile: node, address: {}}}\n",
        colons(machine_mac(number)),
        client_address(number)
    )
}

/// Writes a configuration.
pub fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}
