//! A VM's disk as QEMU gets it: how it is attached, how fast it is, and which accesses fail.

use std::path::PathBuf;

/// How a disk is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskKind {
    /// virtio-blk-pci: /dev/vda.
    Virtio,
    /// NVMe: /dev/nvme0n1.
    Nvme,
    /// SATA on an AHCI controller: /dev/sda.
    Ahci,
    /// virtio-scsi: /dev/sda.
    Scsi,
    /// A USB stick: /dev/sda, removable.
    Usb,
}

/// A disk, as a raw file.
#[derive(Debug, Clone)]
pub struct Disk {
    /// The file.
    pub file: PathBuf,
    /// How it is attached.
    pub kind: DiskKind,
    /// Its serial number.
    pub serial: String,
    /// Bytes of a logical sector: 512 or 4096.
    pub sector_size: u32,
    /// Bytes a second that may be written; `None` for no limit. For scenarios that have to hit
    /// the middle of an installation.
    pub write_limit: Option<u64>,
    /// Accesses that fail.
    pub faults: Vec<Fault>,
    /// What a failed access comes to.
    pub on_fault: OnFault,
    /// Whether what is written is forgotten when the VM ends.
    pub is_snapshot: bool,
}

impl Disk {
    /// A disk without anything special about it.
    pub fn new(file: PathBuf, kind: DiskKind, serial: String) -> Self {
        Self {
            file,
            kind,
            serial,
            sector_size: 512,
            write_limit: None,
            faults: Vec::new(),
            on_fault: OnFault::Report,
            is_snapshot: false,
        }
    }

    /// What QEMU is told of the disk at that place in the boot order, counted from 0.
    pub(crate) fn arguments(&self, index: usize) -> Vec<String> {
        let mut arguments = vec!["-drive".to_owned(), self.drive(index)];
        for device in self.devices(index) {
            arguments.extend(["-device".to_owned(), device]);
        }
        arguments
    }

    fn drive(&self, index: usize) -> String {
        let file = self.file.display();
        // The host's page cache outlives a killed QEMU, so nothing that it took is lost by not syncing.
        let mut drive =
            format!("if=none,id=d{index},format=raw,cache=unsafe,discard=unmap,werror=");
        drive += match self.on_fault {
            OnFault::Report => "report",
            OnFault::Stop => "stop",
        };
        match &self.faults[..] {
            [] => drive += &format!(",file={file}"),
            faults => {
                drive += &format!(",file.driver=blkdebug,file.image.filename={file}");
                for (number, fault) in faults.iter().enumerate() {
                    drive += &fault.rule(number, self.on_fault);
                }
            }
        }
        if let Some(limit) = self.write_limit {
            drive += &format!(",throttling.bps-write={limit}");
        }
        if self.is_snapshot {
            drive += ",snapshot=on";
        }
        drive
    }

    /// The disk behind its controller, where it has one of its own.
    fn devices(&self, index: usize) -> Vec<String> {
        let Self {
            serial,
            sector_size,
            ..
        } = self;
        let common = format!("drive=d{index},bootindex={}", index + 1);
        let sectors = format!("logical_block_size={sector_size},physical_block_size={sector_size}");
        let device = match self.kind {
            DiskKind::Virtio => format!("virtio-blk-pci,{common},serial={serial},{sectors}"),
            DiskKind::Nvme => format!("nvme,{common},serial={serial},{sectors}"),
            DiskKind::Ahci => {
                format!("ide-hd,bus=ahci{index}.0,{common},serial={serial},{sectors}")
            }
            DiskKind::Scsi => {
                format!("scsi-hd,bus=scsi{index}.0,{common},serial={serial},{sectors}")
            }
            DiskKind::Usb => format!("usb-storage,bus=usb{index}.0,{common},removable=on"),
        };
        let controller = match self.kind {
            DiskKind::Ahci => Some(format!("ich9-ahci,id=ahci{index}")),
            DiskKind::Scsi => Some(format!("virtio-scsi-pci,id=scsi{index}")),
            DiskKind::Usb => Some(format!("qemu-xhci,id=usb{index}")),
            DiskKind::Virtio | DiskKind::Nvme => None,
        };
        controller.into_iter().chain([device]).collect()
    }
}

/// An access that fails with EIO and changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Which kind of access.
    pub access: Access,
    /// It fails if it touches this place, in units of 512 bytes from the disk's start.
    pub sector: u64,
}

/// A kind of access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Bytes are written.
    Write,
    /// A stretch is made zero without sending zeros.
    Zero,
}

impl Fault {
    /// A rule of QEMU's block driver blkdebug. The event `none` makes it count from the start.
    fn rule(&self, number: usize, on_fault: OnFault) -> String {
        let access = match self.access {
            Access::Write => "write",
            Access::Zero => "write-zeroes",
        };
        let once = match on_fault {
            OnFault::Report => "off",
            OnFault::Stop => "on",
        };
        let rule = format!("file.inject-error.{number}");
        format!(
            ",{rule}.event=none,{rule}.iotype={access},{rule}.sector={},{rule}.errno=5,{rule}.once={once}",
            self.sector
        )
    }
}

/// What a failed access comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFault {
    /// The system is told, each time.
    Report,
    /// The VM stands still with the access undone, as if time had ended there. When it goes on, the access is
    /// tried again, and succeeds.
    Stop,
}
