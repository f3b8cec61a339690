//! PID 1 of the guest: mounts, modules and servers first, then case after case, and off.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use hardway_userspace::links;
use hardway_userspace::modules::{Index, ModuleLoader, Source};
use hardway_userspace::mounts::{self, Flags};
use hardway_userspace::power;
use nix::sys::termios;

use super::certificates::Authorities;
use super::corpus::Corpus;
use super::play::{self, Stand};
use super::report::{Event, Outcome, Work};
use super::servers::Servers;

/// The port that events go to; the first one is the kernel's.
const PORT: &str = "/dev/ttyS1";
/// Where the host puts things.
const OWN: &str = "/blackbox";
/// What the cases need of the kernel. Any of them may be built in.
const MODULES: [&str; 16] = [
    "loop",
    "ext4",
    "xfs",
    "btrfs",
    "vfat",
    "nls_cp437",
    "nls_ascii",
    "nls_iso8859_1",
    "dm_mod",
    "dm_crypt",
    "raid0",
    "raid1",
    "raid10",
    "raid456",
    "xts",
    "algif_skcipher",
];

/// Runs the guest. Called as `modprobe`, by the kernel or by a program, it loads modules instead.
pub fn main() {
    let name = std::env::args().next().unwrap_or_default();
    if Path::new(&name)
        .file_name()
        .is_some_and(|name| name == "modprobe")
    {
        std::process::exit(modprobe());
    }
    let outcome = run();
    if let Err(error) = &outcome {
        let why = format!("{error:#}");
        eprintln!("{why}");
        if let Ok(mut port) = File::options().write(true).open(PORT) {
            // The host notices a guest that is off without a word, too.
            let _ = writeln!(port, "{}", Event::Broken { why }.line());
        }
    }
    let _ = power::poweroff();
    // PID 1 must not end; the host ends the machine.
    loop {
        std::thread::park();
    }
}

fn run() -> Result<()> {
    for error in mounts::mount_system() {
        eprintln!("{error}");
    }
    let mut port = open_port()?;
    prepare()?;
    let corpus: Corpus = read("corpus.json")?;
    let work: Work = read("work.json")?;
    let authorities = Arc::new(Authorities::new(&corpus.servers.fixtures)?);
    let stand = Stand {
        folder: PathBuf::from("/disks"),
        servers: Servers::start(&corpus.servers, &authorities)?,
        authorities,
    };
    let mut tell = |event: Event| -> Result<()> {
        writeln!(port, "{}", event.line()).context("telling the host")
    };
    for index in work.cases {
        let Some(case) = corpus.tests.get(index) else {
            continue;
        };
        eprintln!("case {index}: {}", case.name);
        tell(Event::Begin { index })?;
        let outcome = catch_unwind(AssertUnwindSafe(|| play::play(case, &stand)));
        let outcome = outcome.unwrap_or_else(|_| {
            Outcome::Failed("the harness panicked; its console says why".to_owned())
        });
        tell(Event::End { index, outcome })?;
    }
    tell(Event::Done)
}

/// Opens the port, so that lines go through as they are.
fn open_port() -> Result<File> {
    let port = File::options()
        .read(true)
        .write(true)
        .open(PORT)
        .with_context(|| format!("opening {PORT}"))?;
    let mut settings = termios::tcgetattr(&port)?;
    termios::cfmakeraw(&mut settings);
    termios::tcsetattr(&port, termios::SetArg::TCSANOW, &settings)?;
    Ok(port)
}

fn prepare() -> Result<()> {
    if !Path::new("/dev/fd").exists() {
        symlink("/proc/self/fd", "/dev/fd").context("making /dev/fd")?;
    }
    fs::create_dir_all("/usr/sbin")?;
    if !Path::new("/usr/sbin/modprobe").exists() {
        symlink("/init", "/usr/sbin/modprobe").context("making modprobe")?;
    }
    fs::write("/proc/sys/kernel/modprobe", "/usr/sbin/modprobe").context("naming modprobe")?;
    // SAFETY: nothing else runs yet that could read the environment.
    unsafe {
        std::env::set_var("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        // mkfs.xfs refuses disks under 300 MB unless these tell it that this is a test.
        for name in ["TEST_DIR", "TEST_DEV", "QA_CHECK_FS"] {
            std::env::set_var(name, "1");
        }
    }
    let mut loader = loader()?;
    for name in MODULES {
        // Built in, or missing: what needs it will say so.
        let _ = loader.load(name);
    }
    loader.coldplug(Path::new("/sys"), std::time::Duration::from_millis(100));
    links::up("lo").context("bringing up the loopback interface")?;
    let disks = Path::new("/disks");
    mounts::mount(
        "tmpfs",
        disks,
        "tmpfs",
        Flags::empty(),
        "size=90%,mode=0755",
    )?;
    Ok(())
}

fn loader() -> Result<ModuleLoader> {
    let folder = Path::new(OWN).join("modules");
    let index = Index::load(&folder.join("index.json"))?;
    Ok(ModuleLoader::new(index, Source::Folder(folder)))
}

/// Loads what the arguments name, by name or alias; options are for the real one.
fn modprobe() -> i32 {
    let Ok(mut loader) = loader() else {
        return 1;
    };
    let names = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'));
    names.fold(0, |status, name| match loader.load(&name) {
        Ok(_) => status,
        Err(_) => 1,
    })
}

fn read<T: serde::de::DeserializeOwned>(name: &str) -> Result<T> {
    let path = Path::new(OWN).join(name);
    let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("reading {}", path.display()))
}
