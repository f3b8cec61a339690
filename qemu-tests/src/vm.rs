//! One virtual machine: a QEMU process that can be switched on, cut off from power, and switched on
//! again with the same disks.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, bail};
use hardway_model::identity::MacAddress;
use serde_json::json;

use crate::accelerator::Accelerator;
use crate::drive::Disk;
use crate::interrupt;
use crate::qmp::Qmp;
use crate::serial::Serial;

pub(crate) const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
pub(crate) const OVMF_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
/// OVMF that keeps its variables from the system by SMM, and variables with Microsoft's keys.
const OVMF_SECURE_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";
const OVMF_SECURE_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.ms.fd";

/// The machine's firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Firmware {
    /// SeaBIOS; the NIC's ROM is iPXE.
    Bios,
    /// OVMF, with its own PXE stack.
    Uefi,
    /// The same under Secure Boot, with Microsoft's keys.
    SecureBoot,
}

impl Firmware {
    /// Whether it is UEFI.
    pub fn is_uefi(self) -> bool {
        matches!(self, Self::Uefi | Self::SecureBoot)
    }
}

/// What the firmware tries first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum BootOrder {
    /// The NIC by PXE, then the disks.
    Network,
    /// The NIC by HTTP Boot alone, then the disks. UEFI only.
    HttpBoot,
    /// The disks alone.
    Disk,
}

/// A NIC's model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NicModel {
    /// virtio-net-pci.
    Virtio,
    /// Intel 82540EM.
    E1000,
}

/// A NIC on the segment.
#[derive(Debug, Clone)]
pub struct Nic {
    /// Its model.
    pub model: NicModel,
    /// Its hardware address.
    pub mac: MacAddress,
    /// The segment's port, from [`crate::segment::Segment::add_port`].
    pub port: PathBuf,
}

/// Everything about a VM that outlasts a power cut.
#[derive(Debug, Clone)]
pub struct VmSpec {
    /// Its name: that of its logs and sockets.
    pub name: String,
    /// Memory in MiB.
    pub memory: u32,
    /// Virtual processors.
    pub processors: u32,
    /// Its firmware.
    pub firmware: Firmware,
    /// What it boots from.
    pub boot: BootOrder,
    /// Its SMBIOS UUID; without one, zeros.
    pub uuid: Option<String>,
    /// Its NICs; it boots from the first.
    pub nics: Vec<Nic>,
    /// Its disks, in boot order.
    pub disks: Vec<Disk>,
    /// Whether it has a screen, for screenshots.
    pub screen: bool,
}

/// The folders that a VM's files stand in.
#[derive(Debug, Clone)]
pub struct VmFolders {
    /// Serial log and QEMU's own messages.
    pub logs: PathBuf,
    /// Sockets; a short path.
    pub sockets: PathBuf,
}

/// A VM, on or off. Dropping it switches it off.
pub struct Vm {
    /// Changes count from the next power-on.
    pub spec: VmSpec,
    folders: VmFolders,
    accelerator: Accelerator,
    serial: Serial,
    process: Option<Child>,
}

impl Vm {
    /// A VM that is switched off.
    pub fn new(spec: VmSpec, folders: VmFolders, accelerator: Accelerator) -> Self {
        let serial = Serial::new(&folders.logs.join(format!("{}.serial.log", spec.name)));
        Self {
            spec,
            folders,
            accelerator,
            serial,
            process: None,
        }
    }

    /// Switches it on. [`Serial::expect`] counts from here.
    pub fn power_on(&mut self) -> Result<()> {
        if self.is_on() {
            bail!("{} is on already", self.spec.name);
        }
        self.serial.skip_to_end();
        let messages = self
            .folders
            .logs
            .join(format!("{}.qemu.log", self.spec.name));
        let messages = File::options()
            .create(true)
            .append(true)
            .open(&messages)
            .with_context(|| format!("opening {}", messages.display()))?;
        // A socket that a killed QEMU left behind.
        let _ = fs::remove_file(self.qmp_socket());
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(self.arguments()?)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(messages)
            // Ctrl-C is for the lab, which then ends its VMs in order.
            .process_group(0);
        end_with_parent(&mut command);
        let child = command
            .spawn()
            .with_context(|| format!("starting qemu-system-x86_64 for {}", self.spec.name))?;
        self.process = Some(child);
        Ok(())
    }

    /// Pulls the plug.
    pub fn power_cut(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            let name = &self.spec.name;
            process.kill().with_context(|| format!("killing {name}"))?;
            process.wait().with_context(|| format!("ending {name}"))?;
        }
        Ok(())
    }

    /// Whether it runs; a VM whose QEMU ended, by itself or by an error, is off.
    pub fn is_on(&mut self) -> bool {
        match self.process.as_mut().map(Child::try_wait) {
            Some(Ok(None)) => true,
            _ => {
                self.process = None;
                false
            }
        }
    }

    /// Presses the reset button.
    pub fn reset(&self) -> Result<()> {
        self.qmp()?.execute("system_reset", json!({}))?;
        Ok(())
    }

    /// Presses the power button for a moment: ACPI asks the system to shut down.
    pub fn press_power_button(&self) -> Result<()> {
        self.qmp()?.execute("system_powerdown", json!({}))?;
        Ok(())
    }

    /// Takes the link from a NIC, by its number from 0, or gives it back: as if the switch's port went down.
    pub fn set_link(&self, nic: usize, up: bool) -> Result<()> {
        let arguments = json!({"name": format!("n{nic}"), "up": up});
        self.qmp()?.execute("set_link", arguments)?;
        Ok(())
    }

    /// Writes what is on the screen to a PNG file. Needs [`VmSpec::screen`].
    pub fn screenshot(&self, file: &Path) -> Result<()> {
        let arguments = json!({"filename": file, "format": "png"});
        self.qmp()?.execute("screendump", arguments)?;
        Ok(())
    }

    /// Waits until it stands still at a fault of a disk that has [`OnFault::Stop`].
    ///
    /// [`OnFault::Stop`]: crate::drive::OnFault::Stop
    pub fn wait_stopped(&self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        let mut session = self.qmp()?;
        loop {
            interrupt::check()?;
            let status = session.execute("query-status", json!({}))?;
            if status["status"] == "io-error" {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "{} does not stand still after {} s: {status}",
                    self.spec.name,
                    patience.as_secs()
                );
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets it go on; the access that it stood still at is tried again.
    pub fn resume(&self) -> Result<()> {
        self.qmp()?.execute("cont", json!({}))?;
        Ok(())
    }

    /// What it says on its serial port.
    pub fn serial(&self) -> &Serial {
        &self.serial
    }

    /// A QMP session of its own.
    pub fn qmp(&self) -> Result<Qmp> {
        let socket = self.qmp_socket();
        // QEMU makes the socket a moment after its start.
        for _ in 0..100 {
            if socket.exists() {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
        Qmp::connect(&socket)
    }

    /// The file with the UEFI firmware's variables. Removed while the machine is off, it is made anew:
    /// firmware that has forgotten everything.
    pub fn nvram(&self) -> PathBuf {
        nvram(&self.spec, &self.folders)
    }

    fn qmp_socket(&self) -> PathBuf {
        self.folders.sockets.join(format!("{}.qmp", self.spec.name))
    }

    fn arguments(&self) -> Result<Vec<String>> {
        let spec = &self.spec;
        let mut arguments: Vec<String> = ["-nodefaults", "-display", "none", "-rtc", "base=utc"]
            .into_iter()
            .chain(self.accelerator.arguments())
            .map(str::to_owned)
            .collect();
        let mut add = |option: &str, value: String| {
            arguments.extend([option.to_owned(), value]);
        };
        add("-name", spec.name.clone());
        add("-m", spec.memory.to_string());
        add("-smp", spec.processors.to_string());
        add("-device", "virtio-rng-pci".to_owned());
        let serial = self.serial.path().display();
        add(
            "-chardev",
            format!("file,id=serial,path={serial},append=on"),
        );
        add("-serial", "chardev:serial".to_owned());
        let qmp = self.qmp_socket();
        add("-qmp", format!("unix:{},server=on,wait=off", qmp.display()));
        if let Some(uuid) = &spec.uuid {
            add("-uuid", uuid.clone());
        }
        if spec.screen {
            add("-device", "VGA,vgamem_mb=8".to_owned());
        }
        arguments.extend(firmware_arguments(spec, &self.folders)?);
        let nics = spec.nics.iter().enumerate();
        arguments.extend(nics.flat_map(|(index, nic)| nic_arguments(spec, index, nic)));
        let disks = spec.disks.iter().enumerate();
        arguments.extend(disks.flat_map(|(index, disk)| disk.arguments(index)));
        Ok(arguments)
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // Nothing can be done about a process that cannot be killed.
        let _ = self.power_cut();
    }
}

/// Lets a QEMU end with the process that started it, however that ends.
pub(crate) fn end_with_parent(command: &mut Command) {
    let die_with_parent = || {
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
            .map_err(std::io::Error::from)
    };
    // SAFETY: between fork and exec only prctl(2) is called, which is async-signal-safe.
    unsafe {
        command.pre_exec(die_with_parent);
    }
}

fn nvram(spec: &VmSpec, folders: &VmFolders) -> PathBuf {
    folders.logs.join(format!("{}.nvram", spec.name))
}

fn firmware_arguments(spec: &VmSpec, folders: &VmFolders) -> Result<Vec<String>> {
    let (code, fresh, machine) = match spec.firmware {
        // With graphics off SeaBIOS, iPXE and GRUB speak on serial.
        Firmware::Bios => return Ok(owned(["-machine", "pc,graphics=off"])),
        Firmware::Uefi => (OVMF_CODE, OVMF_VARIABLES, "q35"),
        Firmware::SecureBoot => (OVMF_SECURE_CODE, OVMF_SECURE_VARIABLES, "q35,smm=on"),
    };
    let variables = nvram(spec, folders);
    if !variables.exists() {
        fs::copy(fresh, &variables).with_context(|| format!("copying {fresh}"))?;
    }
    let code = format!("if=pflash,format=raw,readonly=on,file={code}");
    let variables = format!("if=pflash,format=raw,file={}", variables.display());
    let mut arguments = owned(["-machine", machine, "-drive", &code, "-drive", &variables]);
    if spec.firmware == Firmware::SecureBoot {
        // Without it the system could write the variables past the firmware.
        let secure = "driver=cfi.pflash01,property=secure,value=on";
        arguments.extend(owned(["-global", secure]));
    }
    if spec.boot == BootOrder::HttpBoot {
        for support in ["IPv4PXESupport", "IPv6PXESupport"] {
            let name = format!("name=opt/org.tianocore/{support},string=n");
            arguments.extend(owned(["-fw_cfg", &name]));
        }
    }
    Ok(arguments)
}

fn nic_arguments(spec: &VmSpec, index: usize, nic: &Nic) -> Vec<String> {
    let model = match nic.model {
        // A bond by LACP takes no port whose speed it does not know.
        NicModel::Virtio => "virtio-net-pci,speed=1000,duplex=full",
        NicModel::E1000 => "e1000",
    };
    let boot = match (spec.boot, spec.firmware.is_uefi()) {
        _ if index > 0 => ",romfile=",
        (BootOrder::Disk, _) => ",bootindex=9,romfile=",
        // The NIC's own ROM is iPXE even under OVMF; without it OVMF's PXE stack is used.
        (BootOrder::Network | BootOrder::HttpBoot, true) => ",bootindex=0,romfile=",
        (BootOrder::Network | BootOrder::HttpBoot, false) => ",bootindex=0",
    };
    let port = nic.port.display();
    owned([
        "-netdev",
        &format!("stream,id=n{index},server=off,addr.type=unix,addr.path={port}"),
        "-device",
        &format!("{model},netdev=n{index},mac={}{boot}", nic.mac),
    ])
}

fn owned<const COUNT: usize>(arguments: [&str; COUNT]) -> Vec<String> {
    arguments.map(str::to_owned).to_vec()
}
