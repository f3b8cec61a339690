//! Who writes the image, and by which command.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;

use super::Tools;
use super::cost::{self, Cost};
use super::disk::Disk;
use super::images::{Images, XZ, ZSTD};
use super::orders::Orders;
use crate::ours::{self, Stored};
use crate::peers::said;
use crate::section::Bench;
use crate::server::{Port, Server};

/// Where the agent leaves the receipt of an installation (crates/model/src/receipt.rs).
const RECEIPT: Range<u64> = 960 << 10..976 << 10;
/// Room behind the image, as on any disk.
const ROOM: u64 = 1 << 30;
/// How long a server has nothing to do before a run begins, and how long it may take to come to that.
const QUIET: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(60);

/// A way to get the image onto a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contender {
    /// The agent, in chunks.
    Imported,
    /// The same, and what was written is read again.
    ReadBack,
    /// The agent, the .xz as it is.
    StreamedXz,
    /// The agent, the .zst as it is.
    StreamedZstd,
    /// coreos-installer, the .xz.
    CoreosXz,
    /// coreos-installer, the .zst.
    CoreosZstd,
    /// `curl | zstd -dc | dd`, the file's SHA-256 compared.
    Checked,
    /// The same without comparing anything.
    Unchecked,
    /// As [`Contender::Checked`], with zeros left out where the blank disk has them.
    Sparse,
}

/// How dd writes: all of it, or only what is not zero, looked at in blocks as long as the agent's chunks.
const EVERYTHING: &str = "bs=1M conv=fsync";
const SPARSE: &str = "bs=256K conv=sparse,fsync";

/// In the order of the first repeat.
pub const ALL: [Contender; 9] = [
    Contender::Imported,
    Contender::CoreosXz,
    Contender::Checked,
    Contender::StreamedZstd,
    Contender::CoreosZstd,
    Contender::ReadBack,
    Contender::StreamedXz,
    Contender::Unchecked,
    Contender::Sparse,
];

/// What all runs share.
pub struct Arena<'a> {
    bench: &'a Bench,
    tools: &'a Tools,
    images: &'a Images,
    /// coreos-installer asks it whether it has settled.
    _udev: Udev,
    coreos_version: String,
    zstd_version: String,
}

impl<'a> Arena<'a> {
    /// Starts what the contenders need.
    pub fn prepare(bench: &'a Bench, tools: &'a Tools, images: &'a Images) -> anyhow::Result<Self> {
        let version = |program: &Path, word| -> anyhow::Result<String> {
            let said = said(Command::new(program).arg("--version"))?;
            let mut words = said.split_whitespace();
            let version = words.nth(word).unwrap_or("unknown");
            Ok(version.trim_matches(|c| c == 'v' || c == ',').to_owned())
        };
        Ok(Self {
            bench,
            tools,
            images,
            _udev: Udev::start(bench)?,
            coreos_version: version(&tools.coreos_installer, 1)?,
            // *** Zstandard CLI (64-bit) v1.5.4, by Yann Collet ***
            zstd_version: version(Path::new("zstd"), 4)?,
        })
    }

    /// Name and version, as they are shown.
    pub fn name(&self, contender: Contender) -> (&'static str, &str) {
        match contender {
            Contender::Imported
            | Contender::ReadBack
            | Contender::StreamedXz
            | Contender::StreamedZstd => (ours::NAME, self.bench.ours.version()),
            Contender::CoreosXz | Contender::CoreosZstd => {
                ("coreos-installer", &self.coreos_version)
            }
            Contender::Checked => ("curl, sha256sum, zstd, dd", &self.zstd_version),
            Contender::Unchecked => ("curl, zstd, dd", &self.zstd_version),
            Contender::Sparse => ("curl, sha256sum, zstd, dd (sparse)", &self.zstd_version),
        }
    }

    /// One run on a blank disk, whose content is compared with the image afterwards.
    pub fn run(&self, contender: Contender) -> anyhow::Result<Cost> {
        let state = self.bench.state("disk")?;
        let disk = Disk::blank(&state.join("disk"), self.images.size + ROOM)?;
        let server = self.serve(contender)?;
        let command = self.command(contender, &disk, &state)?;
        await_quiet(&server)?;
        let cost = cost::run(
            command,
            &self.bench.log(&format!("{contender:?}").to_lowercase()),
        )?;
        let except = match contender {
            Contender::Imported
            | Contender::ReadBack
            | Contender::StreamedXz
            | Contender::StreamedZstd => RECEIPT,
            _ => 0..0,
        };
        disk.compare(&self.images.raw, &except)?;
        Ok(cost)
    }

    /// The appliance with this image for a machine. Everybody fetches from it.
    fn serve(&self, contender: Contender) -> anyhow::Result<Server> {
        let Images {
            plain,
            imported,
            sha256,
            ..
        } = self.images;
        let (folder, file, sha256) = match contender {
            Contender::Imported | Contender::ReadBack => (imported, XZ, &sha256.xz),
            Contender::StreamedXz | Contender::CoreosXz => (plain, XZ, &sha256.xz),
            _ => (plain, ZSTD, &sha256.zstd),
        };
        let stored = Stored {
            folder: folder.clone(),
            file,
            sha256,
            read_back: contender == Contender::ReadBack,
        };
        let recipe = self
            .bench
            .ours
            .with_image(self.bench, &stored, &[Port::Tcp(80)])?;
        Server::start(recipe, &self.bench.network)
    }

    fn command(&self, contender: Contender, disk: &Disk, state: &Path) -> anyhow::Result<Command> {
        let url = |file: &str| format!("http://{}/images/{file}", ours::ADDRESS);
        Ok(match contender {
            Contender::Imported
            | Contender::ReadBack
            | Contender::StreamedXz
            | Contender::StreamedZstd => self.agent(disk, state)?,
            Contender::CoreosXz => self.coreos(disk, &url(XZ)),
            Contender::CoreosZstd => self.coreos(disk, &url(ZSTD)),
            Contender::Checked => self.checked(disk, &url(ZSTD), EVERYTHING, state)?,
            Contender::Unchecked => unchecked(disk, &url(ZSTD)),
            Contender::Sparse => self.checked(disk, &url(ZSTD), SPARSE, state)?,
        })
    }

    fn agent(&self, disk: &Disk, state: &Path) -> anyhow::Result<Command> {
        let orders = Orders::ask(disk, self.bench.ours.version(), &state.join("plan.json"))?;
        let mut command = Command::new(&self.tools.agent);
        command.arg("replay").arg("--plan").arg(&orders.plan);
        command.args(["--token", &orders.token]);
        command.args(["--appliance", &format!("http://{}", ours::ADDRESS)]);
        Ok(command)
    }

    /// Its signature check knows the keys of Fedora only, so it is left out, by its own option.
    fn coreos(&self, disk: &Disk, url: &str) -> Command {
        let mut command = Command::new(&self.tools.coreos_installer);
        command.args(["install", &disk.path, "--insecure", "--image-url", url]);
        command
    }

    /// As [`unchecked`], with the packed file's SHA-256 taken on its way.
    fn checked(&self, disk: &Disk, url: &str, how: &str, state: &Path) -> anyhow::Result<Command> {
        let (pipe, sum) = (state.join("pipe"), state.join("sum"));
        let mode = Mode::from_bits_truncate(0o600);
        nix::unistd::mkfifo(&pipe, mode).context("making a named pipe")?;
        let (path, pipe, sum) = (&disk.path, pipe.display(), sum.display());
        let sha256 = &self.images.sha256.zstd;
        Ok(shell(&format!(
            "sha256sum <{pipe} >{sum} & \
             curl -sSf {url} | tee {pipe} | zstd -dcq | \
             dd of={path} {how} iflag=fullblock status=none && wait $! && grep -q {sha256} {sum}"
        )))
    }
}

/// The limit: everything by programs that do one thing each, and at the same time.
fn unchecked(disk: &Disk, url: &str) -> Command {
    let path = &disk.path;
    shell(&format!(
        "curl -sSf {url} | zstd -dcq | dd of={path} {EVERYTHING} iflag=fullblock status=none"
    ))
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("bash");
    command.args(["-o", "pipefail", "-c", script]);
    command
}

/// Waits until the server has done what it does at its start.
fn await_quiet(server: &Server) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut before = server.cpu_seconds();
    while began.elapsed() < PATIENCE {
        std::thread::sleep(QUIET);
        let now = server.cpu_seconds();
        if now == before {
            return Ok(());
        }
        before = now;
    }
    anyhow::bail!("{} has not come to rest in {PATIENCE:?}", server.name)
}

/// A device manager without rules: coreos-installer does not write a disk without one. It sees this
/// computer's devices, and is to change nothing about them.
struct Udev(Child);

impl Udev {
    fn start(bench: &Bench) -> anyhow::Result<Self> {
        let none = bench.state("no-rules")?;
        let nothing = None::<&str>;
        for rules in ["/usr/lib/udev/rules.d", "/etc/udev/rules.d"] {
            if Path::new(rules).is_dir() {
                let bound = mount(Some(&none), rules, nothing, MsFlags::MS_BIND, nothing);
                bound.with_context(|| format!("hiding {rules}"))?;
            }
        }
        let mut command = Command::new("/usr/lib/systemd/systemd-udevd");
        let log = std::fs::File::create(bench.log("udevd")).context("making a log")?;
        command.stdin(Stdio::null());
        command
            .stdout(log.try_clone().context("duplicating a log")?)
            .stderr(log);
        let udev = Self(command.spawn().context("starting systemd-udevd")?);
        let control = PathBuf::from("/run/udev/control");
        let began = Instant::now();
        while !control.exists() {
            anyhow::ensure!(began.elapsed() < PATIENCE, "systemd-udevd did not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(udev)
    }
}

impl Drop for Udev {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
