//! The agent's last step: the installed system's kernel, or the firmware.

use std::convert::Infallible;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use hardway_model::desired::AfterInstall;
use hardway_model::messages::AgentEvent;
use hardway_model::plan::DiskBinding;
use hardway_userspace::mounts::Flags;
use hardway_userspace::{kexec, power};

use super::Execution;
use super::boot_entries::{self, BootEntry};
use super::filesystem::{Mounted, announce};
use super::loader_entries;
use super::root::TargetRoot;
use super::unified_kernel::{Program, append};
use hardway_recognition::table::{Partition, Table};

/// How long the last reports may take.
const LAST_WORDS: Duration = Duration::from_secs(15);
/// Is there where UEFI is.
const EFI: &str = "/sys/firmware/efi";
/// Variables by which systemd-boot is told of another entry than its own default (the Boot Loader
/// Interface of systemd).
const TOLD: [&str; 2] = ["LoaderEntryOneShot", "LoaderEntryDefault"];
const LOADER_VENDOR: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// Types of an EFI system partition and of an extended boot partition, as a GPT holds them (UEFI 2.10,
/// section 5.3.3; UAPI.2, XBOOTLDR).
const FOR_UEFI: [[u8; 16]; 2] = [
    *b"\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b",
    *b"\xff\xc2\x13\xbc\xe6\x59\x62\x42\xa3\x52\xb2\x75\xfd\x6f\x71\x72",
];
/// The type of an EFI system partition in an MBR.
const MBR_FOR_UEFI: u8 = 0xef;

/// Passes control to the system on the disk. Returns only with an error.
pub fn run(
    disk: &DiskBinding,
    how: AfterInstall,
    execution: &mut Execution<'_>,
) -> Result<Infallible> {
    match how {
        AfterInstall::Poweroff => {
            say(execution, "poweroff", None);
            Ok(power::poweroff()?)
        }
        AfterInstall::Reboot => {
            say(execution, "reboot", None);
            Ok(power::reboot()?)
        }
        AfterInstall::Kexec => {
            let failure = match load_kernel(disk, execution) {
                Ok(()) => {
                    say(execution, "kexec", None);
                    kexec::execute()
                        .map_err(anyhow::Error::from)
                        .map(|never| match never {})
                        .err()
                }
                Err(error) => Some(error),
            };
            say(
                execution,
                "reboot",
                failure.map(|error| format!("{error:#}")),
            );
            Ok(power::reboot()?)
        }
    }
}

fn say(execution: &Execution<'_>, how: &str, fallback: Option<String>) {
    let because = fallback
        .as_ref()
        .map(|cause| format!(", because kexec did not work: {cause}"));
    execution.reports.show(&format!(
        "handing over by {how}{}",
        because.unwrap_or_default()
    ));
    execution.reports.event(AgentEvent::HandingOver {
        how: how.to_owned(),
        fallback,
    });
    execution.reports.flush(LAST_WORDS);
}

fn load_kernel(binding: &DiskBinding, execution: &mut Execution<'_>) -> Result<()> {
    let path = &binding.path;
    let mut file = File::options()
        .read(true)
        .write(true)
        .open(path)
        .with_context(|| format!("opening {path}"))?;
    let sector_size = hardway_userspace::partitions::sector_size(&file, path)?;
    let table = Table::read(&mut file, sector_size)
        .with_context(|| format!("reading the partition table of {path}"))?
        .with_context(|| format!("{path} has no partition table"))?;
    announce(&file, path, &table)?;
    if Path::new(EFI).exists()
        && let Some((partition, entry)) = chosen_by_uefi(path, &table, execution)?
    {
        let mounted = Mounted::of(path, &partition, Flags::MS_RDONLY, execution)?;
        return load_and_unmount(mounted.context("the boot entry has vanished")?, &entry);
    }
    let holds_entry = |target: &Path| {
        let entry = TargetRoot::open(target).and_then(|root| boot_entries::default_entry(&root));
        !matches!(entry, Ok(None))
    };
    let mounted = Mounted::first(path, &table, Flags::MS_RDONLY, execution, holds_entry)?
        .with_context(|| {
            format!("no partition of {path} has a GRUB configuration or boot entries")
        })?;
    let entry = boot_entries::default_entry(&mounted.root()?)?;
    load_and_unmount(mounted, &entry.context("the boot entry has vanished")?)
}

/// What systemd-boot or the firmware itself would start, and from which partition.
fn chosen_by_uefi(
    disk: &str,
    table: &Table,
    execution: &mut Execution<'_>,
) -> Result<Option<(Partition, BootEntry)>> {
    let mut partitions = Vec::new();
    let mut found = Vec::new();
    for partition in &table.partitions {
        let is_looked_at =
            FOR_UEFI.contains(&partition.type_guid) || partition.mbr_type == MBR_FOR_UEFI;
        if is_looked_at
            && let Some(mounted) = Mounted::of(disk, partition, Flags::MS_RDONLY, execution)?
        {
            found.push(loader_entries::look(&mounted.root()?)?);
            partitions.push(partition.clone());
            mounted.unmount()?;
        }
    }
    let told = |name: &&&str| {
        let variable = format!("{EFI}/efivars/{name}-{LOADER_VENDOR}");
        Path::new(&variable).exists()
    };
    let told = TOLD.iter().find(told).copied();
    let chosen = loader_entries::choose(found, told)?;
    Ok(chosen.map(|(at, entry)| (partitions.swap_remove(at), entry)))
}

fn load_and_unmount(mounted: Mounted, entry: &BootEntry) -> Result<()> {
    let loaded = load_from(&mounted.root()?, entry);
    mounted.unmount()?;
    loaded
}

fn load_from(root: &TargetRoot, entry: &BootEntry) -> Result<()> {
    let mut kernel = root.open_file(&entry.kernel)?;
    let initrd = if entry.is_unified {
        let whole = kernel;
        let program = Program::open(&whole)?;
        kernel = collected("/run/kernel", &|to| program.copy(".linux", to))?;
        // The stub loads a processor's microcode ahead of the rest.
        Some(collected("/run/initrd", &|to| {
            program.copy(".ucode", to)?;
            program.copy(".initrd", to)
        })?)
    } else {
        match &entry.initrds[..] {
            [] => None,
            [one] => Some(root.open_file(one)?),
            several => Some(collected("/run/initrd", &|to| joined(root, several, to))?),
        }
    };
    let has_bytes = |file: &File| file.metadata().is_ok_and(|metadata| metadata.len() > 0);
    let initrd = initrd.filter(has_bytes);
    kexec::load(&kernel, initrd.as_ref(), &entry.arguments)?;
    Ok(())
}

/// Several initrds are one after the other for the kernel.
fn joined(root: &TargetRoot, paths: &[String], to: &File) -> Result<()> {
    for path in paths {
        let file = root.open_file(path)?;
        let length = file.metadata()?.len();
        append(&file, 0, length, to).with_context(|| format!("copying {path}"))?;
    }
    Ok(())
}

/// A file in memory, with what `write` puts there.
fn collected(path: &str, write: &dyn Fn(&File) -> Result<()>) -> Result<File> {
    let file = File::create(path).with_context(|| format!("making {path}"))?;
    write(&file).with_context(|| format!("writing {path}"))?;
    File::open(path).with_context(|| format!("opening {path}"))
}
