//! Changes to a device, in memory first: what is read already shows them, and nothing is written
//! before all of them are known to be right.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};

use anyhow::{Context, Result};

use crate::apply::disk::Device;

/// A device's bytes with changes over them.
pub struct Edits<'a, D> {
    device: &'a D,
    changes: Changes,
    position: u64,
}

/// Bytes by sector, and the sector's size.
pub struct Changes {
    sectors: BTreeMap<u64, Vec<u8>>,
    sector_size: usize,
}

impl<'a, D: Device> Edits<'a, D> {
    /// No changes yet.
    pub fn new(device: &'a D) -> Self {
        let sectors = BTreeMap::new();
        let sector_size = device.sector_size() as usize;
        Self {
            device,
            changes: Changes {
                sectors,
                sector_size,
            },
            position: 0,
        }
    }

    /// What was changed.
    pub fn into_changes(self) -> Changes {
        self.changes
    }

    fn sector(&self, number: u64) -> io::Result<Vec<u8>> {
        if let Some(bytes) = self.changes.sectors.get(&number) {
            return Ok(bytes.clone());
        }
        let mut bytes = vec![0; self.changes.sector_size];
        let offset = number * bytes.len() as u64;
        if offset + bytes.len() as u64 > self.device.size() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.device.read(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// The sector at the position, and where in it the position is.
    fn here(&self) -> (u64, usize) {
        let size = self.changes.sector_size as u64;
        (self.position / size, (self.position % size) as usize)
    }
}

impl Changes {
    /// Brings the changes to the device: those in its second half first, then those in its first half,
    /// each on the medium before the next. A table's copy so stands before its first sectors change.
    pub fn commit(self, device: &mut impl Device) -> Result<()> {
        let size = self.sector_size as u64;
        let middle = device.size() / 2;
        let (head, tail): (Vec<_>, Vec<_>) = self
            .sectors
            .into_iter()
            .partition(|(number, _)| number * size < middle);
        for half in [tail, head] {
            for (number, bytes) in half {
                let written = device.write(&bytes, number * size);
                written.with_context(|| format!("writing sector {number}"))?;
            }
            device.sync().context("flushing the disk")?;
        }
        Ok(())
    }
}

impl<D: Device> Read for Edits<'_, D> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.device.size() || bytes.is_empty() {
            return Ok(0);
        }
        let (number, at) = self.here();
        let sector = self.sector(number)?;
        let length = bytes.len().min(sector.len() - at);
        bytes[..length].copy_from_slice(&sector[at..at + length]);
        self.position += length as u64;
        Ok(length)
    }
}

impl<D: Device> Write for Edits<'_, D> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let (number, at) = self.here();
        let mut sector = self.sector(number)?;
        let length = bytes.len().min(sector.len() - at);
        sector[at..at + length].copy_from_slice(&bytes[..length]);
        self.changes.sectors.insert(number, sector);
        self.position += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<D: Device> Seek for Edits<'_, D> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.device.size().checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
