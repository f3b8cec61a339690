//! The files that are served: generated, so that the bench needs no image, and of the sizes that real
//! ones have.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// A PXE boot program.
pub const BOOT_FILE: (&str, usize) = ("undionly.kpxe", 110_000);
/// The agent's kernel.
pub const KERNEL: (&str, usize) = ("vmlinuz", 12_000_000);
/// The agent's initramfs.
pub const INITRAMFS: (&str, usize) = ("agent.initramfs", 11_000_000);
/// For throughput by TFTP: the largest that blocks of 512 bytes can number without starting over.
pub const TFTP_FILE: (&str, usize) = ("tftp.bin", 512 * 65_000);
/// For throughput by HTTP.
pub const HTTP_FILE: (&str, usize) = ("http.bin", 16 << 20);

/// A payload folder as `hardway serve` expects it.
#[derive(Debug, Clone)]
pub struct Payload {
    /// Holds boot/, modules/ and images/.
    pub root: PathBuf,
}

impl Payload {
    /// Writes the files, each divided by `shrink`.
    pub fn write(root: &Path, shrink: usize) -> anyhow::Result<Self> {
        let payload = Self {
            root: root.to_owned(),
        };
        for folder in ["boot", "modules", "images", "toolbox"] {
            let path = root.join(folder);
            fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        }
        for (name, size) in [BOOT_FILE, KERNEL, INITRAMFS, TFTP_FILE, HTTP_FILE] {
            write_noise(&payload.boot().join(name), size / shrink)?;
        }
        Ok(payload)
    }

    /// The folder of the boot files.
    pub fn boot(&self) -> PathBuf {
        self.root.join("boot")
    }
}

/// Content that does not compress and is the same each time.
fn write_noise(path: &Path, size: usize) -> anyhow::Result<()> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut data = Vec::with_capacity(size + 8);
    while data.len() < size {
        // xorshift64, Marsaglia 2003.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        data.extend_from_slice(&state.to_le_bytes());
    }
    data.truncate(size);
    let written = fs::File::create(path).and_then(|mut file| file.write_all(&data));
    written.with_context(|| format!("writing {}", path.display()))
}
