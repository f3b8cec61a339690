//! Where the loop gets files from, and where it says what became of them.

use std::net::{IpAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use hardway_netboot::tftp::Request;
use tokio::sync::mpsc;

use super::{Bell, Told};
use crate::context::Context;
use crate::serve::boot_files::{self, Missing};
use crate::serve::content::Content;

/// The loop's ways to the rest of the appliance.
#[derive(Clone)]
pub struct Doors {
    pub(super) context: Context,
    runtime: tokio::runtime::Handle,
    pub(super) ends: mpsc::Sender<Told>,
    composed: Arc<Mutex<Vec<Composed>>>,
    pub(super) bell: Arc<Bell>,
}

/// A file that was made for one client.
pub struct Composed {
    /// Who asked for it.
    pub peer: SocketAddrV4,
    /// What was asked for.
    pub request: Request,
    /// The file, or why there is none.
    pub result: Result<Content, Missing>,
}

impl Doors {
    /// To be called where the runtime is.
    pub fn new(context: Context, ends: mpsc::Sender<Told>) -> anyhow::Result<Self> {
        Ok(Self {
            context,
            runtime: tokio::runtime::Handle::try_current().context("looking for the runtime")?,
            ends,
            composed: Arc::default(),
            bell: Bell::new()?,
        })
    }

    /// Has a file made; the bell rings when it is.
    pub fn compose(&self, peer: SocketAddrV4, request: Request) {
        let doors = self.clone();
        self.runtime.spawn(async move {
            let address = IpAddr::V4(*peer.ip());
            let result = boot_files::open(&doors.context, &request.file, address).await;
            doors.lock().push(Composed {
                peer,
                request,
                result,
            });
            doors.bell.ring();
        });
    }

    /// What has been made since the last call.
    pub fn composed(&self) -> Vec<Composed> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Composed>> {
        // Nobody panics while holding it.
        self.composed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
