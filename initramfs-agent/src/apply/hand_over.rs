//! The agent's last step: the installed system's kernel, or the firmware.

use std::convert::Infallible;
use std::fs::File;
use std::io::Write;
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
use super::root::TargetRoot;
use hardway_recognition::table::Table;

/// How long the last reports may take.
const LAST_WORDS: Duration = Duration::from_secs(15);

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
    let holds_entry = |target: &std::path::Path| {
        let entry = TargetRoot::open(target).and_then(|root| boot_entries::default_entry(&root));
        !matches!(entry, Ok(None))
    };
    let mounted = Mounted::first(path, &table, Flags::MS_RDONLY, execution, holds_entry)?
        .with_context(|| {
            format!("no partition of {path} has a GRUB configuration or boot entries")
        })?;
    let loaded = load_from(&mounted.root()?);
    mounted.unmount()?;
    loaded
}

fn load_from(root: &TargetRoot) -> Result<()> {
    let entry = boot_entries::default_entry(root)?.context("the boot entry has vanished")?;
    let BootEntry {
        kernel,
        initrds,
        arguments,
    } = entry;
    let kernel = root.open_file(&kernel)?;
    let initrd = match &initrds[..] {
        [] => None,
        [one] => Some(root.open_file(one)?),
        several => Some(joined(root, several)?),
    };
    kexec::load(&kernel, initrd.as_ref(), &arguments)?;
    Ok(())
}

/// Several initrds are one after the other for the kernel.
fn joined(root: &TargetRoot, paths: &[String]) -> Result<File> {
    const JOINED: &str = "/run/initrd";
    let mut whole = File::create(JOINED).context("making /run/initrd")?;
    for path in paths {
        std::io::copy(&mut root.open_file(path)?, &mut whole)
            .with_context(|| format!("copying {path}"))?;
    }
    whole.flush().context("writing /run/initrd")?;
    File::open(JOINED).context("opening /run/initrd")
}
