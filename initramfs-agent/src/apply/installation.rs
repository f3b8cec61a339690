//! What the steps of a plan have come to: the claimed disk, what runs on the disks, what is mounted.

use std::path::Path;

use anyhow::{Context, Result, bail};
use hardway_ignition::operation::Stage;
use hardway_model::desired::ConfigApplier;
use hardway_model::inventory::Disk;
use hardway_model::messages::AgentEvent;
use hardway_model::plan::DiskBinding;
use hardway_model::receipt::Receipt;
use hardway_userspace::mounts::Flags;

use super::content::Sources;
use super::disk::{BlockDevice, TargetDisk};
use super::disks::{self, Opened, Work};
use super::filesystem::Mounted;
use super::kernel_arguments::{self, Edit};
use super::modules::Modules;
use super::own_ignition::Place;
use super::read_back::Written;
use super::{Execution, FetchedConfig, filesystem, table};
use crate::inventory;
use hardway_recognition::table::Table;

/// What the steps so far have come to.
#[derive(Default)]
pub struct Installation {
    /// By the place that it was looked for; the system itself by none.
    mounted: Option<(Option<&'static Place>, Mounted)>,
    /// Closed after that: the order of the fields is the order of the end.
    opened: Opened,
    /// Programs have written to disks, and perhaps not everything is on them yet.
    prepared: bool,
    disk: Option<TargetDisk<BlockDevice>>,
    /// What write-image put on it.
    written: Option<Written>,
}

impl Installation {
    /// Takes possession of the disk that gets the system. The data disks are compared with their
    /// bindings here, too: one that is not the planned one is to be known before the first write.
    pub fn claim(
        &mut self,
        binding: &DiskBinding,
        data_disks: &[DiskBinding],
        receipt: &Receipt,
    ) -> Result<String> {
        let path = &binding.path;
        // Opened before it is looked at: what is checked is then what is written, or nothing is.
        let device = BlockDevice::open(path)?;
        check_binding(binding)?;
        data_disks.iter().try_for_each(check_binding)?;
        filesystem::forget(device.file(), path)?;
        let claimed = TargetDisk::claim(device, receipt);
        self.disk = Some(claimed.with_context(|| format!("claiming {path}"))?);
        let generation = receipt.generation;
        Ok(format!(
            "{path} ({}) is claimed for generation {generation}",
            binding.id
        ))
    }

    /// Remembers what write-image put on the disk.
    pub fn written(&mut self, written: Written) {
        self.written = Some(written);
    }

    /// Compares the disk with what write-image put on it.
    pub fn read_back(&mut self) -> Result<String> {
        let written = self.written.take();
        let written = written.context("the plan writes no image before this step")?;
        written.compare(self.disk()?)
    }

    /// Carries out the disks stage of a configuration. Every data disk is compared with its binding
    /// before any of them is written.
    pub fn prepare(
        &mut self,
        data_disks: &[DiskBinding],
        erase: &[String],
        config: &FetchedConfig,
        execution: &mut Execution<'_>,
    ) -> Result<String> {
        data_disks.iter().try_for_each(check_binding)?;
        self.unmount()?;
        self.prepared = true;
        for path in erase {
            disks::erase(path).with_context(|| format!("erasing {path}"))?;
            execution.reports.log(&format!("{path}: erased"));
        }
        if self.disk.is_some() {
            self.announce()?;
        }
        let operations = config.operations()?;
        let sources = Sources {
            fetching: &operations.fetching,
            reports: execution.reports,
        };
        let mut work = Work {
            system: self.disk.as_mut(),
            modules: Modules::Store(&mut *execution.drivers),
            sources: &sources,
            reports: execution.reports,
            opened: &mut self.opened,
        };
        let count = disks::carry_out(operations.of(Stage::Disks), &mut work)?;
        Ok(format!("{count} operations on disks carried out"))
    }

    /// Lets go of the claimed disk.
    pub fn release(&mut self) {
        drop(self.disk.take());
    }

    /// Makes the disk boot, when everything else is at its place, and gives the receipt that stands on it.
    /// It tells the disk's partitions where they stay.
    pub fn commit(&mut self, receipt: &Receipt, partitions_stay: bool) -> Result<Receipt> {
        self.unmount()?;
        self.opened.close()?;
        // All that was written to other disks. What is unmounted is on its disk; this waits for every
        // disk of the machine.
        if self.prepared {
            rustix::fs::sync();
        }
        let disk = self.disk()?;
        disk.sync()?;
        let receipt = match partitions_stay {
            true => table::told(receipt, disk)?,
            false => receipt.clone(),
        };
        disk.commit(&receipt)?;
        Ok(receipt)
    }

    /// The claimed disk.
    pub fn disk(&mut self) -> Result<&mut TargetDisk<BlockDevice>> {
        self.disk
            .as_mut()
            .context("the plan claims no disk before this step")
    }

    /// Edits the kernel arguments of every boot entry, on whichever partition of the disk it stands.
    pub fn edit_kernel_arguments(
        &mut self,
        edits: &[Edit],
        execution: &mut Execution<'_>,
    ) -> Result<()> {
        self.unmount()?;
        let table = self.announce()?;
        let disk = self.disk()?.device().path();
        let mut count = 0;
        for partition in &table.partitions {
            let mounted = match Mounted::of(disk, partition, Flags::MS_RDONLY, execution) {
                Ok(Some(mounted)) => mounted,
                Ok(None) => continue,
                // A FAT for other sectors, say, which only firmware reads.
                Err(error) => {
                    let text = format!("kernel arguments are not looked for there: {error:#}");
                    execution.reports.event(AgentEvent::Warning { text });
                    continue;
                }
            };
            let root = mounted.root()?;
            let files = kernel_arguments::files(&root)?;
            if !files.is_empty() {
                mounted.make_writable()?;
                kernel_arguments::edit(&root, &files, edits)?;
            }
            count += files.len();
            drop(root);
            mounted.unmount()?;
        }
        kernel_arguments::must_be_some(count)
    }

    /// The installed system, mounted.
    pub fn system(&mut self, execution: &mut Execution<'_>) -> Result<&Mounted> {
        self.filesystem_for(ConfigApplier::Agent, execution)
    }

    /// Where a configuration goes, mounted: the system itself, or where its own Ignition looks.
    pub fn filesystem_for(
        &mut self,
        applier: ConfigApplier,
        execution: &mut Execution<'_>,
    ) -> Result<&Mounted> {
        let place = Place::of(applier);
        if self
            .mounted
            .as_ref()
            .is_some_and(|(mounted, _)| *mounted != place)
        {
            self.unmount()?;
        }
        let mounted = match self.mounted.take() {
            Some((_, mounted)) => mounted,
            None => self.mount(place, execution)?,
        };
        Ok(&self.mounted.insert((place, mounted)).1)
    }

    fn mount(&mut self, place: Option<&Place>, execution: &mut Execution<'_>) -> Result<Mounted> {
        let table = self.announce()?;
        let device = self.disk()?.device();
        match place {
            None => Mounted::system(device.path(), &table, Flags::empty(), execution),
            Some(place) => Mounted::labelled(device.path(), &table, place, execution),
        }
    }

    /// Makes the kernel know the partitions of the claimed disk as they are to become.
    fn announce(&mut self) -> Result<Table> {
        let disk = self.disk()?;
        // The partitions are read through device nodes of their own, past this one's page cache.
        disk.sync()?;
        let table = table::read(disk)?;
        let device = disk.device();
        filesystem::announce(device.file(), device.path(), &table)?;
        Ok(table)
    }

    fn unmount(&mut self) -> Result<()> {
        match self.mounted.take() {
            Some((_, mounted)) => mounted.unmount(),
            None => Ok(()),
        }
    }
}

/// Compares the disk with what the plan was made for, on the spot.
fn check_binding(binding: &DiskBinding) -> Result<()> {
    let found = inventory::read_disk(Path::new("/"), &binding.path)
        .with_context(|| format!("{} is not there any more", binding.path))?;
    compare(binding, &found)
}

fn compare(binding: &DiskBinding, found: &Disk) -> Result<()> {
    let path = &binding.path;
    if found.id() != binding.id {
        bail!(
            "{path} is {} now, and the plan is for {}",
            found.id(),
            binding.id
        );
    }
    if found.size != binding.size {
        bail!(
            "{path} has {} bytes now, and the plan is for {}",
            found.size,
            binding.size
        );
    }
    if found.content != binding.content {
        bail!("{path} holds something else than when the plan was made; it was not written");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hardway_model::inventory::Content;

    use super::*;

    #[test]
    fn a_disk_that_is_not_the_planned_one_is_refused() {
        let planned = Disk {
            path: "/dev/vda".into(),
            size: 4 << 30,
            sector_size: 512,
            model: None,
            serial: Some("disk-1".into()),
            wwn: None,
            rotational: false,
            removable: false,
            read_only: false,
            transport: None,
            content: Content::Blank,
            aliases: Vec::new(),
            layout: None,
        };
        let binding = DiskBinding {
            path: planned.path.clone(),
            id: planned.id(),
            size: planned.size,
            content: planned.content.clone(),
        };
        compare(&binding, &planned).unwrap();
        let swapped = Disk {
            serial: Some("disk-2".into()),
            ..planned.clone()
        };
        let smaller = Disk {
            size: 2 << 30,
            ..planned.clone()
        };
        let content = Content::Foreign {
            signatures: vec!["swap at 0".into()],
        };
        let filled = Disk { content, ..planned };
        for (found, message) in [
            (
                swapped,
                "/dev/vda is disk-2 now, and the plan is for disk-1",
            ),
            (
                smaller,
                "/dev/vda has 2147483648 bytes now, and the plan is for 4294967296",
            ),
            (
                filled,
                "/dev/vda holds something else than when the plan was made; it was not written",
            ),
        ] {
            assert_eq!(compare(&binding, &found).unwrap_err().to_string(), message);
        }
    }
}
