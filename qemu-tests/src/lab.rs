//! A whole lab: the appliance from its image, one blank VM for each declared machine, a segment
//! between them, and a way in for the host.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use hardway_model::cluster::{Cluster, Machine};
use hardway_model::view::MachineDetail;

use crate::accelerator::Accelerator;
use crate::api::Api;
use crate::artifacts::Artifacts;
use crate::host_port::{self, Forward, HostPort};
use crate::rack::{self, HTTP};
use crate::segment::Segment;
use crate::vm::{BootOrder, Firmware, NicModel, Vm, VmFolders};
use crate::working_copy::WorkingCopy;
use crate::{appliance, interrupt};

/// From the appliance's power-on to its API's first answer: 15 s on a quiet machine under TCG.
const APPLIANCE_START: Duration = Duration::from_secs(240);
/// The operator's token in labs. It guards nothing: the API is reached from 127.0.0.1 alone.
const ADMIN_TOKEN: &str = "lab-operator-token-0123456789";

/// What a lab is made of.
#[derive(Debug, Clone)]
pub struct LabOptions {
    /// The build's output.
    pub artifacts: Artifacts,
    /// How VMs are run.
    pub accelerator: Accelerator,
    /// The operator's cluster.yaml.
    pub cluster: PathBuf,
    /// How many machines, if not those of the file.
    pub nodes: Option<usize>,
    /// Firmware of the machines.
    pub firmware: Firmware,
    /// What the machines boot from first.
    pub boot: BootOrder,
    /// Memory of each machine in MiB.
    pub memory: u32,
    /// NICs of the machines.
    pub nic: NicModel,
    /// Further blank disks of each machine, smaller than the first.
    pub data_disks: usize,
    /// Firmware of the appliance.
    pub appliance_firmware: Firmware,
    /// Whether the OS images are exchanged for others before they are put on the appliance.
    pub exchanged_images: bool,
    /// Whether the disks outlast the lab.
    pub keep_disks: bool,
    /// Where logs, capture and disks go. What an earlier lab left there is replaced.
    pub folder: PathBuf,
}

/// A lab. Dropping it ends every VM.
pub struct Lab {
    /// The cluster, as served.
    pub cluster: Cluster,
    /// The cluster.yaml that is served, on the host.
    pub cluster_file: PathBuf,
    /// The segment between the VMs.
    pub segment: Segment,
    /// The appliance.
    pub appliance: Vm,
    /// One VM for each declared machine, in the file's order.
    pub machines: Vec<LabMachine>,
    /// The appliance's API.
    pub api: Api,
    forwards: Vec<Forward>,
    options: LabOptions,
    // Dropped last: the sockets' folder and the way in.
    host_port: HostPort,
    _sockets: tempfile::TempDir,
}

/// One declared machine and its VM.
pub struct LabMachine {
    /// What the cluster file says of it.
    pub declared: Machine,
    /// The VM.
    pub vm: Vm,
    /// When it was last switched on, in milliseconds since 1970-01-01 UTC by the host's clock.
    pub power_on: Option<u64>,
}

impl LabMachine {
    /// Its (first) disk's file.
    pub fn disk(&self) -> &Path {
        &self.vm.spec.disks[0].file
    }

    /// Switches it on and notes when.
    pub fn power_on(&mut self) -> Result<()> {
        self.power_on = Some(now());
        self.vm.power_on()
    }
}

impl Lab {
    /// Makes everything; nothing but the host's port is switched on.
    pub fn prepare(options: LabOptions) -> Result<Self> {
        if options.folder.exists() {
            fs::remove_dir_all(&options.folder)
                .with_context(|| format!("clearing {}", options.folder.display()))?;
        }
        let disks = options.folder.join("disks");
        fs::create_dir_all(&disks).with_context(|| format!("creating {}", disks.display()))?;
        let copy = WorkingCopy::make(
            &options.cluster,
            &options.folder,
            &options.artifacts,
            options.nodes,
        )?;
        if options.exchanged_images {
            copy.exchange_images()?;
        }
        let appliance_disk = disks.join("appliance.img");
        appliance::compose(
            &options.artifacts,
            &copy,
            ADMIN_TOKEN,
            options.exchanged_images,
            &appliance_disk,
        )?;

        let sockets = tempfile::Builder::new()
            .prefix("hardway-lab-")
            .tempdir()
            .context("making a folder for sockets")?;
        let segment = Segment::new(sockets.path(), &options.folder.join("segment.pcap"))?;
        let folders = VmFolders {
            logs: options.folder.clone(),
            sockets: sockets.path().to_owned(),
        };
        let forwards = rack::forwards(&copy.cluster)?;
        let host_port = rack::open_host_port(&segment, &copy.cluster, &forwards, &options)?;
        let appliance = rack::appliance_vm(&segment, &folders, &options, appliance_disk)?;
        let machines = copy
            .cluster
            .machines
            .iter()
            .map(|machine| rack::machine_vm(&segment, &folders, &options, &copy.cluster, machine))
            .collect::<Result<_>>()?;
        let ui = host_port::find(&forwards, copy.cluster.network.address, HTTP)
            .context("the appliance has no way in")?;
        Ok(Self {
            api: Api::new(format!("http://127.0.0.1:{ui}"), ADMIN_TOKEN.to_owned()),
            cluster: copy.cluster,
            cluster_file: copy.file,
            segment,
            appliance,
            machines,
            forwards,
            options,
            host_port,
            _sockets: sockets,
        })
    }

    /// Switches the appliance on and waits until its API answers.
    pub fn start_appliance(&mut self) -> Result<()> {
        self.appliance.power_on()?;
        let deadline = Instant::now() + APPLIANCE_START;
        loop {
            interrupt::check()?;
            let error = match self.api.status() {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            self.host_port.check()?;
            if !self.appliance.is_on() {
                bail!("the appliance's VM ended; see appliance.qemu.log");
            }
            if Instant::now() > deadline {
                return Err(error).with_context(|| {
                    format!(
                        "the appliance does not answer after {} s; its last lines:\n{}",
                        APPLIANCE_START.as_secs(),
                        self.appliance.serial().tail(30)
                    )
                });
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// A machine by its name in the cluster file.
    pub fn machine(&mut self, name: &str) -> Result<&mut LabMachine> {
        self.machines
            .iter_mut()
            .find(|machine| machine.declared.name == name)
            .with_context(|| format!("the lab has no machine named {name}"))
    }

    /// The port on 127.0.0.1 that leads to `port` of a machine.
    pub fn host_port(&self, machine: &Machine, port: u16) -> Option<u16> {
        host_port::find(&self.forwards, machine.address?, port)
    }

    /// Every way in that leads to a machine: its port and the host's.
    pub fn ways_to(&self, machine: &Machine) -> Vec<(u16, u16)> {
        self.forwards
            .iter()
            .filter(|forward| Some(forward.address) == machine.address)
            .map(|forward| (forward.port, forward.host_port))
            .collect()
    }

    /// Where logs and capture stand.
    pub fn folder(&self) -> &Path {
        &self.options.folder
    }

    /// What the lab was made of.
    pub fn options(&self) -> &LabOptions {
        &self.options
    }

    /// What helps to understand a failure: the end of every serial log, and every timeline.
    pub fn diagnosis(&self) -> String {
        let mut text = serial_tail(&self.appliance);
        for machine in &self.machines {
            text += &serial_tail(&machine.vm);
            let name = &machine.declared.name;
            text += &match self.api.machine(name) {
                Ok(detail) => timeline(name, &detail),
                Err(error) => format!("--- timeline of {name}: {error:#}\n"),
            };
        }
        text
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for machine in &mut self.machines {
            let _ = machine.vm.power_cut();
        }
        let _ = self.appliance.power_cut();
        if !self.options.keep_disks {
            // Gigabytes that nobody reads: what cannot be deleted is replaced by the next lab.
            for folder in ["disks", "images"] {
                let _ = fs::remove_dir_all(self.options.folder.join(folder));
            }
        }
    }
}

/// Milliseconds since 1970-01-01 UTC by the host's clock.
pub fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    since.as_millis() as u64
}

fn serial_tail(vm: &Vm) -> String {
    format!("--- serial of {}\n{}\n", vm.spec.name, vm.serial().tail(30))
}

fn timeline(name: &str, detail: &MachineDetail) -> String {
    let mut text = format!("--- timeline of {name}: {:?}\n", detail.machine.phase);
    let start = detail.timeline.first().map_or(0, |entry| entry.time);
    for entry in &detail.timeline {
        let seconds = entry.time.saturating_sub(start) as f64 / 1000.0;
        text += &format!("{seconds:8.1} s {:?} {}\n", entry.severity, entry.text);
    }
    text
}
