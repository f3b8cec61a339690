//! What the sections share: where everything stands, sizes, and repeats in turns.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

use crate::network::Network;
use crate::ours::{self, Ours};
use crate::payload::Payload;
use crate::peers;

/// A part of the bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Name {
    /// Leases.
    Dhcp,
    /// Boot files by TFTP.
    Tftp,
    /// Files by HTTP.
    Http,
    /// A thousand machines at once.
    Storm,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dhcp => "dhcp",
            Self::Tftp => "tftp",
            Self::Http => "http",
            Self::Storm => "storm",
        })
    }
}

/// What the operator chose.
pub struct Settings {
    /// The program that is measured.
    pub hardway: PathBuf,
    /// Where state, payload and logs go.
    pub folder: PathBuf,
    /// How often each figure is taken.
    pub repeats: u32,
    /// Tiny sizes.
    pub smoke: bool,
}

/// Everything that a section needs.
pub struct Bench {
    /// What the operator chose.
    pub settings: Settings,
    /// The link that is measured over.
    pub network: Network,
    /// The files that are served.
    pub payload: Payload,
    /// The program that is measured.
    pub ours: Ours,
}

impl Bench {
    /// Makes folders, files and the network.
    pub fn prepare(mut settings: Settings) -> anyhow::Result<Self> {
        if settings.smoke {
            settings.repeats = 1;
        }
        let shrink = if settings.smoke { 20 } else { 1 };
        for folder in ["state", "logs"] {
            let path = settings.folder.join(folder);
            std::fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        }
        let payload = Payload::write(&settings.folder.join("payload"), shrink)?;
        let network = Network::new(&[
            ours::ADDRESS,
            peers::DNSMASQ,
            peers::TFTPD_HPA,
            peers::ASYNC_TFTP,
            peers::NGINX,
            peers::KEA,
        ])?;
        let ours = Ours::new(&settings, &payload)?;
        Ok(Self {
            settings,
            network,
            payload,
            ours,
        })
    }

    /// `normal`, or little of it in a smoke test.
    pub fn duration(&self, normal: Duration) -> Duration {
        if self.settings.smoke {
            normal / 5
        } else {
            normal
        }
    }

    /// A fresh folder of a server's state.
    pub fn state(&self, name: &str) -> anyhow::Result<PathBuf> {
        fresh(self.settings.folder.join("state").join(name))
    }

    /// Where a server's output goes.
    pub fn log(&self, name: &str) -> PathBuf {
        self.settings
            .folder
            .join("logs")
            .join(format!("{name}.log"))
    }

    /// The order of one repeat over `count` servers: forwards, then backwards, and so on, so that what
    /// slowly changes on the machine meets all of them alike.
    pub fn turns(&self, count: usize) -> impl Iterator<Item = (u32, usize)> + use<> {
        turns(self.settings.repeats, count)
    }
}

fn turns(repeats: u32, count: usize) -> impl Iterator<Item = (u32, usize)> {
    (0..repeats).flat_map(move |repeat| {
        (0..count).map(move |at| {
            let index = if repeat % 2 == 0 { at } else { count - 1 - at };
            (repeat, index)
        })
    })
}

fn fresh(path: PathBuf) -> anyhow::Result<PathBuf> {
    if path.exists() {
        std::fs::remove_dir_all(&path).with_context(|| format!("deleting {}", path.display()))?;
    }
    std::fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_go_there_and_back() {
        let order: Vec<usize> = turns(2, 3).map(|(_, index)| index).collect();
        assert_eq!(order, [0, 1, 2, 2, 1, 0]);
    }
}
