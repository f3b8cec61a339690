//! The guest's machine: QEMU with a kernel and an initramfs of its own, and a TPM where swtpm is there.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::accelerator::Accelerator;
use crate::vm::end_with_parent;

/// MiB. Two of these run at once.
const MEMORY: u32 = 3500;
/// Under emulation on a busy computer the kernel's test of its timer fails, and it panics.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 quiet panic=-1 rdinit=/init no_timer_check";
/// What is shown of the console of a guest that went wrong.
const SHOWN_LINES: usize = 15;

/// A machine that runs. Dropping it switches it off.
pub struct Machine {
    process: Child,
    tpm: Option<Child>,
    folder: PathBuf,
}

impl Machine {
    /// Starts it, with its files in `folder`.
    pub fn start(
        kernel: &Path,
        initramfs: &[u8],
        folder: &Path,
        accelerator: Accelerator,
    ) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let archive = folder.join("initramfs");
        fs::write(&archive, initramfs).context("writing the guest's initramfs")?;
        let tpm = start_tpm(folder)?;
        let mut command = Command::new("qemu-system-x86_64");
        command.args([
            "-nodefaults",
            "-display",
            "none",
            "-no-reboot",
            "-rtc",
            "base=utc",
        ]);
        command.args(accelerator.arguments());
        command.args(["-machine", "q35", "-m", &MEMORY.to_string()]);
        command.args(["-device", "virtio-rng-pci"]);
        command
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(&archive);
        command.args(["-append", KERNEL_ARGUMENTS]);
        for port in ["console", "events"] {
            command.args(["-serial", &format!("file:{}", folder.join(port).display())]);
        }
        if tpm.is_some() {
            let socket = folder.join("tpm.socket");
            command.args([
                "-chardev",
                &format!("socket,id=tpm,path={}", socket.display()),
            ]);
            command.args(["-tpmdev", "emulator,id=tpm0,chardev=tpm"]);
            command.args(["-device", "tpm-tis,tpmdev=tpm0"]);
        }
        let process = spawn(command, &folder.join("qemu"))?;
        Ok(Self {
            process,
            tpm,
            folder: folder.to_owned(),
        })
    }

    /// What the guest has said of its cases.
    pub fn events(&self) -> String {
        self.read("events")
    }

    /// The end of its console, and of QEMU's own words.
    pub fn last_words(&self) -> String {
        let said = self.read("console") + &self.read("qemu");
        let lines: Vec<&str> = said.lines().map(str::trim_end).collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n    ")
    }

    /// Whether it is still on.
    pub fn is_on(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.folder.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for child in [Some(&mut self.process), self.tpm.as_mut()]
            .into_iter()
            .flatten()
        {
            // One that has ended by itself cannot be killed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts a software TPM 2.0 with an empty memory; none where the program is missing.
fn start_tpm(folder: &Path) -> Result<Option<Child>> {
    let state = folder.join("tpm");
    // What an earlier boot left there.
    let _ = fs::remove_dir_all(&state);
    fs::create_dir_all(&state).with_context(|| format!("making {}", state.display()))?;
    let socket = folder.join("tpm.socket");
    let _ = fs::remove_file(&socket);
    let mut command = Command::new("swtpm");
    command.args(["socket", "--tpm2", "--tpmstate"]);
    command.arg(format!("dir={}", state.display()));
    command.arg("--ctrl");
    command.arg(format!("type=unixio,path={}", socket.display()));
    let Ok(child) = spawn(command, &folder.join("swtpm")) else {
        return Ok(None);
    };
    for _ in 0..100 {
        if socket.exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(Some(child))
}

fn spawn(mut command: Command, messages: &Path) -> Result<Child> {
    let name = command.get_program().to_string_lossy().into_owned();
    let messages =
        File::create(messages).with_context(|| format!("making {}", messages.display()))?;
    command
        .stdin(Stdio::null())
        .stdout(messages.try_clone()?)
        .stderr(messages)
        .process_group(0);
    end_with_parent(&mut command);
    command.spawn().with_context(|| format!("starting {name}"))
}
