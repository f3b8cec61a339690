//! What is proven end to end: one scenario a file, each in a lab of its own.

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use hardway_model::lifecycle::Phase;
use hardway_model::view::MachineDetail;

use crate::accelerator::Accelerator;
use crate::appliance;
use crate::artifacts::Artifacts;
use crate::interrupt;
use crate::lab::{Lab, LabOptions};
use crate::up::default_memory;
use crate::vm::{BootOrder, Firmware, NicModel};

mod alone;
mod broken_wire;
mod config_mistake;
mod disk_kinds;
mod duplicate_uuid;
mod etcd_cluster;
mod exchanged_image;
mod foreign_disk;
mod http_boot;
mod ignition_disks;
mod inside;
mod large_sectors;
mod links;
mod loaders;
mod lossy_segment;
mod own_ignition;
mod own_images;
pub mod power_cuts;
mod proxy_dhcp;
mod refusals;
mod reinstall;
mod restarted_appliance;
mod rogue_dhcp;
mod secure_boot;
mod side_by_side;
mod swapped_nic;
mod uefi;
mod write_error;

/// One scenario.
struct Scenario {
    name: &'static str,
    /// What it proves, in a line.
    proves: &'static str,
    /// What its lab has different from the usual: one BIOS machine with a virtio NIC.
    arrange: fn(&mut LabOptions) -> Result<()>,
    /// Plays it. The appliance is off when it begins.
    play: fn(&mut Lab) -> Result<()>,
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "etcd-cluster",
        proves: "three blank BIOS machines become a healthy etcd cluster",
        arrange: |options| {
            options.nodes = Some(3);
            Ok(())
        },
        play: etcd_cluster::play,
    },
    Scenario {
        name: "uefi",
        proves: "a UEFI machine is installed by PXE and, network first again, sent on to its disk; its \
                 firmware gets a boot entry, and gets it back when it forgot it",
        arrange: uefi::arrange,
        play: uefi::play,
    },
    Scenario {
        name: "restarted-appliance",
        proves: "an installation survives the appliance's power cut and happens once",
        arrange: |_| Ok(()),
        play: restarted_appliance::play,
    },
    Scenario {
        name: "power-cuts",
        proves: "wherever the power goes, a machine ends installed once and never boots half written",
        arrange: power_cuts::arrange,
        play: power_cuts::play,
    },
    Scenario {
        name: "reinstall",
        proves: "an image is read back; installed again, only what differs of it is written",
        arrange: |_| Ok(()),
        play: reinstall::play,
    },
    Scenario {
        name: "disk-kinds",
        proves: "NVMe, SATA and SCSI disks are installed and start",
        arrange: disk_kinds::arrange,
        play: disk_kinds::play,
    },
    Scenario {
        name: "large-sectors",
        proves: "a disk with sectors of 4096 bytes is installed from an image for such sectors, and starts",
        arrange: large_sectors::arrange,
        play: large_sectors::play,
    },
    Scenario {
        name: "refusals",
        proves: "two equal disks, another disk's grant, a disk too small and one of other sectors are \
                 refused by name, and stay as they are",
        arrange: refusals::arrange,
        play: refusals::play,
    },
    Scenario {
        name: "write-error",
        proves: "a disk that fails in mid-write is named, never boots, and is installed when it is mended",
        arrange: |_| Ok(()),
        play: write_error::play,
    },
    Scenario {
        name: "broken-wire",
        proves: "a chunk damaged on the wire and a link lost for a minute in mid-write cost time alone",
        arrange: |_| Ok(()),
        play: broken_wire::play,
    },
    Scenario {
        name: "exchanged-image",
        proves: "an image whose hash does not match never becomes bootable",
        arrange: |options| {
            options.exchanged_images = true;
            Ok(())
        },
        play: exchanged_image::play,
    },
    Scenario {
        name: "foreign-disk",
        proves: "a disk that holds something is untouched until it is granted (with an e1000 NIC)",
        arrange: foreign_disk::arrange,
        play: foreign_disk::play,
    },
    Scenario {
        name: "ignition-disks",
        proves: "a UEFI machine gets an array, an encrypted volume and filesystems on two disks, \
                 one of which had to be granted",
        arrange: ignition_disks::arrange,
        play: ignition_disks::play,
    },
    Scenario {
        name: "links",
        proves: "machines are installed by a bond of two NICs, one of them by a VLAN on it, and their systems \
                 have the links, addresses and MTUs of cluster.yaml",
        arrange: links::arrange,
        play: links::play,
    },
    Scenario {
        name: "loaders",
        proves: "systems that systemd-boot starts, or a unified kernel image, are handed over to by kexec with \
                 the kernel that their loader chooses",
        arrange: loaders::arrange,
        play: loaders::play,
    },
    Scenario {
        name: "own-ignition",
        proves: "images laid out like Fedora CoreOS and Flatcar get their config where they look for it",
        arrange: own_ignition::arrange,
        play: own_ignition::play,
    },
    Scenario {
        name: "http-boot",
        proves: "a UEFI machine gets the agent by HTTP Boot alone, without iPXE, and then its disk",
        arrange: http_boot::arrange,
        play: http_boot::play,
    },
    Scenario {
        name: "secure-boot",
        proves: "a machine under Secure Boot is installed by signed programs alone; unsigned ones are \
                 named as the cause where nothing starts",
        arrange: secure_boot::arrange,
        play: secure_boot::play,
    },
    Scenario {
        name: "proxy-dhcp",
        proves: "beside a dnsmasq that owns the addresses, BIOS and UEFI machines get their boot files",
        arrange: proxy_dhcp::arrange,
        play: proxy_dhcp::play,
    },
    Scenario {
        name: "rogue-dhcp",
        proves: "a second DHCP server is reported by its addresses, and stops nobody",
        arrange: |_| Ok(()),
        play: rogue_dhcp::play,
    },
    Scenario {
        name: "lossy-segment",
        proves: "a machine is installed although one frame of ten is lost",
        arrange: |_| Ok(()),
        play: lossy_segment::play,
    },
    Scenario {
        name: "lossy-segment-uefi",
        proves: "a UEFI machine is installed although one frame of ten is lost",
        arrange: lossy_segment::arrange_uefi,
        play: lossy_segment::play,
    },
    Scenario {
        name: "duplicate-uuid",
        proves: "two machines with one UUID stay two, and are told of it",
        arrange: |options| {
            options.nodes = Some(2);
            Ok(())
        },
        play: duplicate_uuid::play,
    },
    Scenario {
        name: "swapped-nic",
        proves: "a machine with another NIC is the same machine, and is not installed again",
        arrange: |_| Ok(()),
        play: swapped_nic::play,
    },
    Scenario {
        name: "config-mistake",
        proves: "a mistake in cluster.yaml is shown with its place, and nobody is served",
        arrange: |_| Ok(()),
        play: config_mistake::play,
    },
];

/// Under TCG, on two cores that have other work: ten times what a quiet machine takes.
const TO_AGENT: Duration = Duration::from_secs(400);
const TO_INSTALLED: Duration = Duration::from_secs(600);
const TO_RUNNING: Duration = Duration::from_secs(900);

/// Labs of one machine at a time, where there are processors for them.
const SMALL_LABS: usize = 2;

/// The only machine of most scenarios.
const NODE: &str = "node1";

/// What the command line says.
#[derive(Debug)]
pub struct TestOptions {
    /// A part of the scenario's name.
    pub name: Option<String>,
    /// The build's output.
    pub artifacts: PathBuf,
    /// The lab's cluster file.
    pub cluster: PathBuf,
}

/// Prints the scenarios.
pub fn list() {
    for scenario in SCENARIOS {
        println!("{:<22} {}", scenario.name, scenario.proves);
    }
}

/// Plays the scenarios that the name fits, and counts.
pub fn run(options: &TestOptions) -> Result<ExitCode> {
    let wanted = |scenario: &&Scenario| {
        let name = options.name.as_deref();
        name.is_none_or(|name| scenario.name.contains(name))
    };
    let chosen: Vec<&Scenario> = SCENARIOS.iter().filter(wanted).collect();
    if chosen.is_empty() {
        bail!("no scenario fits the name; `hardway-lab list` shows them");
    }
    let usual = usual_lab(options)?;
    interrupt::catch()?;
    let arranged = chosen.into_iter().map(|scenario| {
        let mut options = LabOptions {
            folder: usual.folder.join(scenario.name),
            ..usual.clone()
        };
        (scenario.arrange)(&mut options)
            .with_context(|| format!("arranging the lab of {}", scenario.name))?;
        Ok((scenario, options))
    });
    let arranged = arranged.collect::<Result<Vec<_>>>()?;
    // A lab of one machine leaves a processor to another.
    let (small, large): (Vec<_>, Vec<_>) = arranged
        .into_iter()
        .partition(|(_, options)| options.nodes == Some(1));
    let processors = thread::available_parallelism().map_or(1, |count| count.get());
    let mut outcomes = side_by_side::each(small, processors.min(SMALL_LABS), play);
    outcomes.extend(side_by_side::each(large, 1, play));
    interrupt::check()?;
    let failed = outcomes.iter().filter(|passed| !**passed).count();
    println!("e2e: {} passed, {failed} failed", outcomes.len() - failed);
    Ok(ExitCode::from(u8::from(failed > 0)))
}

/// One BIOS machine with a virtio NIC and one disk.
fn usual_lab(options: &TestOptions) -> Result<LabOptions> {
    let artifacts = Artifacts::open(&options.artifacts)?;
    Ok(LabOptions {
        folder: artifacts.folder().join("lab/test"),
        accelerator: Accelerator::choose(&artifacts.kernel())?,
        artifacts,
        cluster: options.cluster.clone(),
        nodes: Some(1),
        firmware: Firmware::Bios,
        boot: BootOrder::Network,
        memory: default_memory(Firmware::Bios),
        nic: NicModel::Virtio,
        data_disks: 0,
        appliance_firmware: Firmware::Bios,
        exchanged_images: false,
        keep_disks: false,
    })
}

/// Plays a scenario, prints what came of it, and tells whether it passed.
fn play((scenario, options): (&Scenario, LabOptions)) -> bool {
    let start = Instant::now();
    let result = interrupt::check().and_then(|()| play_in(options, scenario.play));
    let seconds = start.elapsed().as_secs_f64();
    match &result {
        Ok(()) => println!("ok      {:<22} {seconds:6.1} s", scenario.name),
        Err(error) => println!("FAILED  {:<22} {seconds:6.1} s\n{error:#}", scenario.name),
    }
    result.is_ok()
}

/// A failure is shown with everything that helps to understand it, while the lab still stands.
fn play_in(options: LabOptions, play: impl FnOnce(&mut Lab) -> Result<()>) -> Result<()> {
    let mut lab = Lab::prepare(options)?;
    let result = panic::catch_unwind(AssertUnwindSafe(|| play(&mut lab)))
        .unwrap_or_else(|_| Err(anyhow!("the scenario panicked")));
    lab.segment.flush_capture()?;
    result.inspect_err(|_| {
        println!("{}", lab.diagnosis());
        let screen = lab.folder().join("appliance.png");
        if lab.appliance.is_on() && lab.appliance.screenshot(&screen).is_ok() {
            println!("screen of the appliance: {}", screen.display());
        }
        println!("logs: {}", lab.folder().display());
    })
}

/// Waits until the machine's disk is complete.
fn wait_installed(lab: &Lab, name: &str) -> Result<MachineDetail> {
    lab.api.wait_for(name, "installed", TO_INSTALLED, |detail| {
        detail.installed.is_some()
            && matches!(detail.machine.phase, Phase::Installed | Phase::Running)
    })
}

/// Waits until the installed system has confirmed that it runs.
fn wait_running(lab: &Lab, name: &str) -> Result<MachineDetail> {
    lab.api.wait_for(name, "running", TO_RUNNING, |detail| {
        detail.machine.phase == Phase::Running
    })
}

/// Waits until at least `bytes` of the image are written.
fn wait_writing(lab: &Lab, name: &str, bytes: u64) -> Result<MachineDetail> {
    lab.api
        .wait_for(name, "writing its disk", TO_AGENT, |detail| {
            matches!(&detail.machine.phase,
            Phase::Installing { step, done, .. } if step == "write-image" && *done >= bytes)
        })
}

/// The timeline has a line that contains `text`.
fn expect_timeline(detail: &MachineDetail, text: &str) -> Result<()> {
    let name = &detail.machine.name;
    let found = detail
        .timeline
        .iter()
        .any(|entry| entry.text.contains(text));
    ensure!(found, "the timeline of {name} does not say {text:?}");
    Ok(())
}

/// How often an installation began writing.
fn expect_installs_begun(detail: &MachineDetail, expected: u32) -> Result<()> {
    let begun = detail.machine.installs_begun;
    ensure!(
        begun == expected,
        "{begun} installations of {} began, not {expected}",
        detail.machine.name
    );
    Ok(())
}

/// A machine that was started from its disk alone, and had confirmed before, confirms anew.
fn wait_restarted(lab: &Lab, name: &str) -> Result<()> {
    let restarted = |detail: &MachineDetail| {
        let mut lines = detail.timeline.iter();
        lines.any(|entry| entry.text.ends_with("restarted from its disk and runs"))
    };
    let what = "running from its disk again";
    lab.api
        .wait_for(name, what, TO_RUNNING, restarted)
        .map(|_| ())
}

/// A machine that was started again, network first, runs from its disk: it confirms anew, nothing was
/// installed, and the timeline says by `words` how it was sent there.
fn expect_running_again(lab: &Lab, before: &MachineDetail, words: &str) -> Result<()> {
    let name = &before.machine.name;
    let first_word = before.machine.figures.running;
    let again = lab
        .api
        .wait_for(name, "running from its disk again", TO_RUNNING, |detail| {
            detail.machine.phase == Phase::Running && detail.machine.figures.running > first_word
        })?;
    expect_installs_begun(&again, before.machine.installs_begun)?;
    expect_timeline(&again, words)
}

/// Spares the processors an etcd that will find no quorum.
fn leave_out_etcd(lab: &mut Lab) -> Result<()> {
    let roles = "config: [roles/base.bu, roles/etcd.bu]";
    change_cluster_file(lab, roles, "config: [roles/base.bu]")
}

/// Changes the cluster file that the lab serves, on the disk of an appliance that is off.
fn change_cluster_file(lab: &mut Lab, from: &str, to: &str) -> Result<()> {
    lab.cluster_file = edit_cluster_file(lab, from, to)?;
    appliance::replace_config(&lab.appliance.spec.disks[0].file, &lab.cluster_file)
}

/// Changes the cluster file that the lab serves, before the appliance's disk is composed.
fn edit_cluster_file(lab: &Lab, from: &str, to: &str) -> Result<PathBuf> {
    let text = fs::read_to_string(&lab.cluster_file)
        .with_context(|| format!("reading {}", lab.cluster_file.display()))?;
    ensure!(
        text.contains(from),
        "the cluster file does not say {from:?}"
    );
    let edited = lab.folder().join("cluster.yaml");
    fs::write(&edited, text.replacen(from, to, 1))
        .with_context(|| format!("writing {}", edited.display()))?;
    Ok(edited)
}
