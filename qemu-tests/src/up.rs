//! `hardway-lab up`: a rack on this computer.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result};
use hardway_model::lifecycle::Phase;
use hardway_model::view::MachineView;

use crate::accelerator::Accelerator;
use crate::artifacts::Artifacts;
use crate::figures::{ApplianceFigures, Figures, MachineFigures, carry_over};
use crate::interrupt;
use crate::lab::{Lab, LabOptions, now};
use crate::rack::SSH;
use crate::table::Table;
use crate::vm::{BootOrder, Firmware, NicModel};

/// From the machines' power-on to the last check, under TCG on a machine that is busy otherwise:
/// three machines take about four minutes on a quiet one.
const PATIENCE: Duration = Duration::from_secs(20 * 60);
const POLL: Duration = Duration::from_millis(500);
/// Folders of earlier labs that are kept.
const KEPT_RUNS: usize = 5;

/// What the command line says.
#[derive(Debug)]
pub struct UpOptions {
    /// The cluster file.
    pub file: PathBuf,
    /// Whether to end when everything runs.
    pub once: bool,
    /// How many machines.
    pub nodes: Option<usize>,
    /// Firmware of the machines.
    pub firmware: Firmware,
    /// What the machines boot from first.
    pub boot: BootOrder,
    /// Memory of each machine in MiB.
    pub memory: Option<u32>,
    /// Further blank disks of each machine.
    pub data_disks: usize,
    /// Where logs and disks are kept.
    pub keep: Option<PathBuf>,
    /// Where the figures go.
    pub json: Option<PathBuf>,
    /// The build's output.
    pub artifacts: PathBuf,
}

/// What a machine needs at least: OVMF takes a share of its own.
pub fn default_memory(firmware: Firmware) -> u32 {
    match firmware {
        Firmware::Bios => 512,
        Firmware::Uefi | Firmware::SecureBoot => 640,
    }
}

/// Runs the lab; success is every machine running and ready, or Ctrl-C of a lab that stays up.
pub fn run(options: &UpOptions) -> Result<ExitCode> {
    let artifacts = Artifacts::open(&options.artifacts)?;
    let folder = match &options.keep {
        Some(folder) => folder.clone(),
        None => fresh_folder(&artifacts.folder().join("lab"))?,
    };
    let accelerator = Accelerator::choose(&artifacts.kernel())?;
    interrupt::catch()?;
    println!("logs: {}", folder.display());
    let mut lab = Lab::prepare(LabOptions {
        artifacts,
        accelerator,
        cluster: options.file.clone(),
        nodes: options.nodes,
        firmware: options.firmware,
        boot: options.boot,
        memory: options
            .memory
            .unwrap_or_else(|| default_memory(options.firmware)),
        nic: NicModel::Virtio,
        data_disks: options.data_disks,
        appliance_firmware: Firmware::Bios,
        exchanged_images: false,
        keep_disks: options.keep.is_some(),
        folder,
    })?;
    println!("cluster file, as served: {}", lab.cluster_file.display());
    let mut watch = Watch::start(&mut lab)?;
    println!("UI: {}/", lab.api.base());
    let is_ready = watch.until_ready(&lab)?;
    let figures = watch.figures(&lab)?;
    println!("{figures}");
    if let Some(file) = &options.json {
        write_json(file, &figures)?;
    }
    if !is_ready && !interrupt::happened() {
        eprintln!("{}", lab.diagnosis());
        eprintln!(
            "error: not every machine is ready after {} s",
            PATIENCE.as_secs()
        );
    }
    if !options.once && !interrupt::happened() {
        print_ways_in(&lab);
        watch.until_interrupted(&lab);
        return Ok(ExitCode::SUCCESS);
    }
    Ok(if is_ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What is observed while the lab runs.
struct Watch {
    table: Table,
    appliance: ApplianceFigures,
    clock_offset: i64,
    start: Instant,
    all_ready: Option<Duration>,
    machines: Vec<MachineView>,
}

impl Watch {
    /// Switches on the appliance, then every machine.
    fn start(lab: &mut Lab) -> Result<Self> {
        let start = Instant::now();
        lab.start_appliance()?;
        let appliance = ApplianceFigures {
            to_serving: start.elapsed().as_secs_f64(),
            memory: u64::from(lab.appliance.spec.memory) << 20,
            ..ApplianceFigures::default()
        };
        let clock_offset = lab.api.time()? as i64 - now() as i64;
        for machine in &mut lab.machines {
            machine.power_on()?;
        }
        Ok(Self {
            table: Table::default(),
            appliance,
            clock_offset,
            start: Instant::now(),
            all_ready: None,
            machines: Vec::new(),
        })
    }

    fn until_ready(&mut self, lab: &Lab) -> Result<bool> {
        while !interrupt::happened() && self.start.elapsed() < PATIENCE {
            self.look(lab);
            if self.is_ready(lab) {
                self.all_ready = Some(self.start.elapsed());
                break;
            }
            thread::sleep(POLL);
        }
        self.table.close();
        lab.segment.flush_capture()?;
        Ok(self.all_ready.is_some())
    }

    fn until_interrupted(&mut self, lab: &Lab) {
        while !interrupt::happened() {
            self.look(lab);
            thread::sleep(POLL);
        }
        self.table.close();
    }

    /// A question that the appliance does not answer in time is asked again by the next look.
    fn look(&mut self, lab: &Lab) {
        if let Ok(status) = lab.api.status() {
            self.appliance.observe(&status);
        }
        if let Ok(mut machines) = lab.api.machines() {
            machines.retain(|machine| machine.declared);
            machines
                .iter_mut()
                .for_each(|machine| self.remember(machine));
            self.machines = machines;
            self.table.show(&self.machines);
        }
    }

    /// The appliance begins to count anew when a machine boots from its network again, as it does after
    /// an installation that ends in a reboot.
    fn remember(&self, machine: &mut MachineView) {
        let former = self.machines.iter().find(|one| one.name == machine.name);
        if let Some(former) = former {
            carry_over(&former.figures, &mut machine.figures);
        }
    }

    /// Every declared machine runs its installed system and passes every check of its profile.
    fn is_ready(&self, lab: &Lab) -> bool {
        lab.machines.iter().all(|machine| {
            let declared = &machine.declared;
            let checks = lab.cluster.checks.iter();
            let expected = checks.filter(|check| check.profile == declared.profile);
            let passed = |view: &MachineView| view.checks.iter().filter(|check| check.ok).count();
            let view = self.machines.iter().find(|view| view.name == declared.name);
            view.is_some_and(|view| {
                view.phase == Phase::Running && passed(view) == expected.count()
            })
        })
    }

    fn figures(&self, lab: &Lab) -> Result<Figures> {
        let machines = lab
            .machines
            .iter()
            .filter_map(|machine| {
                let view = self
                    .machines
                    .iter()
                    .find(|view| view.name == machine.declared.name)?;
                Some(MachineFigures::new(machine, view, self.clock_offset))
            })
            .collect();
        let options = lab.options();
        Ok(Figures {
            accelerator: options.accelerator.name(),
            all_ready: self.all_ready.map(|time| time.as_secs_f64()),
            machines,
            appliance: self.appliance,
            sizes: options.artifacts.sizes()?,
        })
    }
}

fn print_ways_in(lab: &Lab) {
    println!("UI: {}/", lab.api.base());
    for machine in &lab.machines {
        let declared = &machine.declared;
        for (port, host_port) in lab.ways_to(declared) {
            match port {
                SSH => println!("{}: ssh -p {host_port} root@127.0.0.1", declared.name),
                _ => println!("{}: port {port} is 127.0.0.1:{host_port}", declared.name),
            }
        }
    }
    println!("Ctrl-C ends the lab");
}

fn write_json(file: &Path, figures: &Figures) -> Result<()> {
    let json = serde_json::to_string_pretty(figures).context("encoding the figures")?;
    fs::write(file, json + "\n").with_context(|| format!("writing {}", file.display()))
}

/// A folder named by the time, after the oldest ones beyond [`KEPT_RUNS`] are deleted.
fn fresh_folder(labs: &Path) -> Result<PathBuf> {
    fs::create_dir_all(labs).with_context(|| format!("creating {}", labs.display()))?;
    let mut earlier: Vec<PathBuf> = fs::read_dir(labs)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .with_context(|| format!("listing {}", labs.display()))?;
    earlier.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("up-")
    });
    earlier.sort();
    let surplus = (earlier.len() + 1).saturating_sub(KEPT_RUNS);
    for old in &earlier[..surplus] {
        fs::remove_dir_all(old).with_context(|| format!("deleting {}", old.display()))?;
    }
    Ok(labs.join(format!("up-{}", now() / 1000)))
}
