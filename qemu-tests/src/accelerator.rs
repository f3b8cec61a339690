//! Whether VMs run under KVM or by emulation (TCG).
//!
//! A readable `/dev/kvm` proves nothing: on some hosts, nested ones above all, guests hang under it.
//! So a real kernel is started as a probe, under a time limit.

use std::path::Path;
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, bail};

/// The variable that chooses: `tcg`, `kvm` or `auto`.
pub const VARIABLE: &str = "HARDWAY_ACCEL";

/// Under KVM the first line comes within a second, the panic for want of a root within two or three.
const FIRST_WORD: Duration = Duration::from_secs(5);
const WHOLE_BOOT: Duration = Duration::from_secs(15);

/// How VMs are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// Emulation.
    Tcg,
    /// The processor's own virtualisation.
    Kvm,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Auto,
    This(Accelerator),
}

impl FromStr for Wish {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "" | "auto" => Ok(Self::Auto),
            "tcg" => Ok(Self::This(Accelerator::Tcg)),
            "kvm" => Ok(Self::This(Accelerator::Kvm)),
            other => bail!("{VARIABLE}={other}: write tcg, kvm or auto"),
        }
    }
}

impl Accelerator {
    /// Follows [`VARIABLE`]; `auto`, also when it is not set, probes with the Linux kernel at
    /// `kernel` and says on standard error what was found.
    pub fn choose(kernel: &Path) -> Result<Self> {
        let wish = std::env::var(VARIABLE).unwrap_or_default();
        if let Wish::This(accelerator) = wish.parse()? {
            return Ok(accelerator);
        }
        if fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_err()
        {
            return Ok(Self::Tcg);
        }
        if kvm_works(kernel)? {
            return Ok(Self::Kvm);
        }
        eprintln!(
            "KVM is there, but a guest does not start under it: using TCG ({VARIABLE}=tcg saves this probe)"
        );
        Ok(Self::Tcg)
    }

    /// `tcg` or `kvm`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcg => "tcg",
            Self::Kvm => "kvm",
        }
    }

    /// QEMU's arguments.
    pub fn arguments(self) -> [&'static str; 4] {
        match self {
            // A code cache of 128 MiB halves QEMU's own memory without being felt.
            Self::Tcg => [
                "-accel",
                "tcg,thread=multi,tb-size=128",
                "-cpu",
                "qemu64,+rdrand",
            ],
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
        }
    }
}

fn kvm_works(kernel: &Path) -> Result<bool> {
    let directory = tempfile::tempdir().context("making a folder for the KVM probe")?;
    let serial = directory.path().join("serial");
    let mut guest = Command::new("qemu-system-x86_64")
        .args(["-nodefaults", "-display", "none", "-no-reboot", "-m", "256"])
        .args(Accelerator::Kvm.arguments())
        .args([
            "-append",
            "console=ttyS0 earlyprintk=serial panic=-1",
            "-kernel",
        ])
        .arg(kernel)
        .arg("-serial")
        .arg(format!("file:{}", serial.display()))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting qemu-system-x86_64 for the KVM probe")?;
    let works = boots(&serial);
    // It may have ended by itself.
    let _ = guest.kill();
    guest.wait().context("ending the KVM probe")?;
    Ok(works)
}

/// A kernel without a root filesystem ends in a panic: that far it has to come.
fn boots(serial: &Path) -> bool {
    let start = Instant::now();
    loop {
        let said = fs::read(serial).unwrap_or_default();
        if String::from_utf8_lossy(&said).contains("Kernel panic") {
            return true;
        }
        let patience = if said.is_empty() {
            FIRST_WORD
        } else {
            WHOLE_BOOT
        };
        if start.elapsed() > patience {
            return false;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes() {
        assert_eq!("".parse::<Wish>().unwrap(), Wish::Auto);
        assert_eq!("auto".parse::<Wish>().unwrap(), Wish::Auto);
        assert_eq!("kvm".parse::<Wish>().unwrap(), Wish::This(Accelerator::Kvm));
        assert!("hvf".parse::<Wish>().is_err());
    }
}
