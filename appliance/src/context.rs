//! What `hardway serve` was started with, and what every loop and request is given.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use hardway_netboot::recorder::Recorder;
use tokio::sync::mpsc;

use crate::fleet::Fleet;
use crate::init::Ending;
use crate::metrics::Metrics;
use crate::seal::Sealer;
use crate::serve::boot_files::BootFiles;
use crate::{checks, doctor, images, planning};

/// Set in the environment of a `serve` that PID 1 of the appliance supervises.
pub const UNDER_INIT: &str = "HARDWAY_UNDER_INIT";

/// Options of `hardway serve`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The cluster's file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Folder of the durable state
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
    /// Folder that holds boot/ and modules/
    #[arg(long, value_name = "DIR")]
    pub payload: PathBuf,
    /// Folder of the OS images
    #[arg(long, value_name = "DIR")]
    pub images: PathBuf,
    /// Folder of the toolbox; without it, toolbox/ in the payload folder
    #[arg(long, value_name = "DIR")]
    pub toolbox: Option<PathBuf>,
    /// Serve on this interface only
    #[arg(long, value_name = "IF")]
    pub interface: Option<String>,
    /// TCP port of the API, the pages and the files
    #[arg(long, default_value_t = 80, value_name = "PORT")]
    pub http_port: u16,
    /// File with the token for writes; without it a token is made and kept in the state folder
    #[arg(long, value_name = "FILE")]
    pub admin_token: Option<PathBuf>,
    /// Run only these services: http, dhcp, tftp, dns, ntp, router-advertisement
    #[arg(long, value_delimiter = ',', value_name = "SERVICE")]
    pub only: Vec<String>,
}

impl Options {
    /// Folder of the toolbox.
    pub fn toolbox(&self) -> PathBuf {
        let beside = || self.payload.join("toolbox");
        self.toolbox.clone().unwrap_or_else(beside)
    }
}

/// What every loop is given.
#[derive(Clone)]
pub struct Context {
    /// Desired state and lifecycle of every machine.
    pub fleet: Fleet,
    /// What `hardway serve` was started with.
    pub options: Arc<Options>,
    /// The token that writes to the API need.
    pub admin_token: Arc<str>,
    /// What receipts are signed with.
    pub sealer: Arc<Sealer>,
    /// When `hardway serve` started.
    pub started: Instant,
    /// What the readiness checks found.
    pub checks: Arc<checks::Results>,
    /// What the machines' plans were made with.
    pub documents: Arc<planning::Documents>,
    /// Held while a configuration is handed out.
    pub config_gate: Arc<tokio::sync::Mutex<()>>,
    /// Where requests to restart or switch off the appliance go; `None` in a daemon.
    pub ending: Option<mpsc::Sender<Ending>>,
    /// What is wrong with the image store.
    pub images: Arc<images::Warnings>,
    /// What was noticed of the network.
    pub notices: Arc<doctor::Notices>,
    /// What the services count.
    pub metrics: Arc<Metrics>,
    /// What was said on the wire while each machine booted.
    pub recorder: Arc<Mutex<Recorder>>,
    /// The payload's boot files, kept open.
    pub boot_files: Arc<BootFiles>,
}

impl Context {
    /// The interface that sockets are to be bound to (SO_BINDTODEVICE), if one was named.
    pub fn interface(&self) -> Option<&str> {
        self.options.interface.as_deref()
    }

    /// The appliance's own address by cluster.yaml, `None` while the file is broken.
    pub fn address(&self) -> Option<Ipv4Addr> {
        let snapshot = self.fleet.snapshot();
        snapshot
            .cluster
            .as_ref()
            .map(|cluster| cluster.network.address)
    }

    /// The URL that machines reach the appliance by, without a trailing slash.
    pub fn url(&self) -> Option<String> {
        let address = self.address()?;
        Some(match self.options.http_port {
            80 => format!("http://{address}"),
            port => format!("http://{address}:{port}"),
        })
    }
}
