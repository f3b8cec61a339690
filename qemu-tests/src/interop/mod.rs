//! Real clients against `hardway serve`, in network namespaces.
//!
//! | case | clients |
//! | --- | --- |
//! | `leases` | udhcpc, over a kill of the appliance; datagrams that are no DHCP |
//! | `names` | `dig`; udhcpc for a name of its own; dnsmasq upstream |
//! | `time` | `chronyd -Q` |
//! | [`tftp`] | tftp-hpa, atftp and curl, over a cable that loses a tenth of the frames |

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::lossy_cable::LossyCable;
use crate::namespace::{self, Namespace, Plug};
use crate::vm::end_with_parent;

mod leases;
mod names;
mod tftp;
mod time;

/// Plays a case; it fails with what was seen.
type Play = fn(&Options) -> Result<()>;

/// Every case, in order of what it costs.
const CASES: [(&str, Play); 4] = [
    ("interop-leases", leases::run),
    ("interop-names", names::run),
    ("interop-time", time::run),
    ("interop-tftp", tftp::run),
];

/// Which frames a lossy cable loses follows from this.
const SEED: u64 = 77;

/// How long `hardway serve` may take to start.
const START: Duration = Duration::from_secs(30);

/// What the cases are played with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The `hardway` program.
    pub program: PathBuf,
    /// The folder that holds `boot/` and `modules/`; an empty one, where it is not given.
    pub payload: Option<PathBuf>,
}

/// Plays every case, or those whose name holds `name`, and says what came of them.
pub fn run(options: &Options, name: Option<&str>) -> Result<ExitCode> {
    namespace::become_root()?;
    let chosen = CASES
        .iter()
        .filter(|(case, _)| name.is_none_or(|name| case.contains(name)));
    let (mut played, mut failed) = (0, 0);
    for (case, play) in chosen {
        let began = Instant::now();
        let result = play(options);
        let seconds = began.elapsed().as_secs_f64();
        played += 1;
        match result {
            Ok(()) => println!("ok      {case} ({seconds:.1} s)"),
            Err(error) => {
                failed += 1;
                println!("FAILED  {case} ({seconds:.1} s): {error:#}");
            }
        }
    }
    if played == 0 {
        let known: Vec<_> = CASES.iter().map(|(case, _)| *case).collect();
        bail!("there is no such case; there are {}", known.join(", "));
    }
    println!("interop: {} of {played} passed", played - failed);
    Ok(match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// The appliance's address in these cases.
pub const APPLIANCE: &str = "10.77.0.1";

/// The hardware address of the one declared machine.
pub const NODE1: &str = "52:54:00:00:00:01";

/// A cluster of one declared machine. `more` goes under `network:`, indented by two.
pub fn cluster_file(more: &str) -> String {
    let hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    format!(
        "version: 1\n\
         cluster: {{name: lab, domain: lab.internal}}\n\
         network:\n  address: {APPLIANCE}/24\n{more}\
         images:\n  node: {{file: node.img.zst, sha256: {hash}}}\n\
         profiles:\n  server: {{image: node}}\n\
         machines:\n  - {{name: node1, match: {{mac: \"{NODE1}\"}}, profile: server, \
         address: 10.77.0.11}}\n"
    )
}

/// `hardway serve` on a host of its own, and another host with a client, on one cable.
pub struct Rack {
    /// Cut before its ends go.
    cable: Option<LossyCable>,
    /// The client's host; its interface is `eth0`, its address 10.77.0.2/24.
    pub client: Namespace,
    /// The appliance's host; its interface is `eth0`, its address [`APPLIANCE`]/24.
    pub appliance: Namespace,
    serve: Child,
    folder: tempfile::TempDir,
}

impl Rack {
    /// Starts it. `services` are those of `hardway serve --only`.
    pub fn start(options: &Options, cluster: &str, services: &str) -> Result<Self> {
        Self::start_with(options, cluster, services, |left, right| {
            Namespace::link(left, right).map(|()| None)
        })
    }

    /// As [`Rack::start`]; of a thousand frames each way about `per_mille` are lost.
    pub fn start_over_lossy_cable(
        options: &Options,
        cluster: &str,
        services: &str,
        per_mille: u32,
    ) -> Result<Self> {
        Self::start_with(options, cluster, services, |left, right| {
            LossyCable::lay(left, right, per_mille, SEED).map(Some)
        })
    }

    fn start_with(
        options: &Options,
        cluster: &str,
        services: &str,
        lay: impl FnOnce(Plug<'_>, Plug<'_>) -> Result<Option<LossyCable>>,
    ) -> Result<Self> {
        let appliance = Namespace::new("the appliance")?;
        let client = Namespace::new("the client")?;
        let plug = |host, address| Plug {
            host,
            interface: "eth0",
            mac: None,
            address: Some(address),
        };
        let cable = lay(
            plug(&appliance, "10.77.0.1/24"),
            plug(&client, "10.77.0.2/24"),
        )?;
        let folder = tempfile::tempdir().context("making a folder for the appliance")?;
        let serve = serve(&appliance, options, folder.path(), cluster, services)?;
        let mut rack = Self {
            client,
            appliance,
            cable,
            serve,
            folder,
        };
        rack.wait_for_http()?;
        Ok(rack)
    }

    fn wait_for_http(&mut self) -> Result<()> {
        self.wait_for("the appliance's HTTP service", |rack| {
            rack.appliance
                .inside(|| std::net::TcpStream::connect((APPLIANCE, 80)).is_ok())
        })
    }

    /// Kills `hardway serve` as a power cut would, and starts it again on what it left.
    pub fn cut_power(&mut self, options: &Options, cluster: &str, services: &str) -> Result<()> {
        self.serve.kill().context("killing hardway serve")?;
        self.serve.wait().context("waiting for hardway serve")?;
        let folder = self.folder.path();
        self.serve = serve(&self.appliance, options, folder, cluster, services)?;
        self.wait_for_http()
    }

    /// Where the cluster file, the state and the log are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Frames that the cable has lost.
    pub fn lost(&self) -> u64 {
        self.cable.as_ref().map_or(0, LossyCable::lost)
    }

    /// What `hardway serve` has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Looks again until something is so, or `hardway serve` has ended, or it takes too long.
    pub fn wait_for(
        &mut self,
        what: &str,
        mut is_so: impl FnMut(&Self) -> Result<bool>,
    ) -> Result<()> {
        let deadline = Instant::now() + START;
        loop {
            if is_so(self)? {
                return Ok(());
            }
            let ended = self.serve.try_wait().context("looking at hardway serve")?;
            if let Some(status) = ended {
                bail!("hardway serve ended with {status}:\n{}", self.log());
            }
            if Instant::now() > deadline {
                bail!("waited too long for {what}; the log:\n{}", self.log());
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Rack {
    fn drop(&mut self) {
        // Nothing can be done about a process that cannot be killed.
        let _ = self.serve.kill();
        let _ = self.serve.wait();
    }
}

/// A program that ends with this value.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing can be done about a process that cannot be killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(
    host: &Namespace,
    options: &Options,
    folder: &Path,
    cluster: &str,
    services: &str,
) -> Result<Child> {
    let file = folder.join("cluster.yaml");
    fs::write(&file, cluster).with_context(|| format!("writing {}", file.display()))?;
    for name in ["state", "images", "payload"] {
        let path = folder.join(name);
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
    }
    let log = fs::File::create(folder.join("log")).context("making the log")?;
    let program = options.program.to_string_lossy();
    let own_payload = folder.join("payload");
    let mut command = host.command(&program);
    command
        .args(["serve", "--interface", "eth0", "--only", services])
        .arg("--config")
        .arg(&file)
        .arg("--state")
        .arg(folder.join("state"))
        .arg("--images")
        .arg(folder.join("images"))
        .arg("--payload")
        .arg(options.payload.as_ref().unwrap_or(&own_payload))
        .stdout(Stdio::null())
        .stderr(log);
    end_with_parent(&mut command);
    command
        .spawn()
        .with_context(|| format!("starting {program} serve"))
}
