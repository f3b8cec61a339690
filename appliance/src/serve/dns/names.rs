//! The zone, kept up with cluster.yaml and the leases.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use hardway_model::cluster::Cluster;
use hardway_model::lifecycle::Timestamp;
use hardway_netboot::dhcp::Lease;
use hardway_netboot::dns::cache::{Cache, Limits};
use hardway_netboot::dns::{Held, InvalidName, Zone};

use crate::clock;
use crate::context::Context;
use crate::leases::Table;

/// How often it is looked whether the cluster or the leases have changed: the zone of a storm of a
/// thousand machines is built a few times, not a thousand.
const PAUSE: Duration = Duration::from_secs(1);

/// The zone as it is now.
#[derive(Clone, Default)]
pub struct Names(Arc<RwLock<Option<Arc<Current>>>>);

/// A zone, and where other questions go.
pub struct Current {
    /// The names.
    pub zone: Zone,
    /// Upstream servers.
    pub upstream: Vec<Ipv4Addr>,
    /// What they said; others may say otherwise.
    pub cache: Arc<Mutex<Cache>>,
}

const CACHE: Limits = Limits {
    entries: 4096,
    bytes: 4 << 20,
};

impl Names {
    /// The zone, `None` while cluster.yaml is broken: then nobody is answered.
    pub fn current(&self) -> Option<Arc<Current>> {
        let current = self.0.read().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }

    /// Builds the zone whenever cluster or leases have changed.
    pub async fn keep(&self, context: &Context) -> anyhow::Result<()> {
        let mut built_of = None;
        loop {
            self.keep_up(context, &mut built_of);
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn keep_up(&self, context: &Context, built_of: &mut Option<(Arc<Cluster>, Table)>) {
        let Some(cluster) = context.fleet.snapshot().cluster.clone() else {
            return;
        };
        let leases = context.fleet.lease_log().table();
        if let Some((of, with)) = built_of
            && Arc::ptr_eq(of, &cluster)
            && *with == *leases
        {
            return;
        }
        let leases = leases.clone();
        match build(&cluster, leases.values(), clock::now()) {
            Ok(current) => self.replace(current),
            Err(error) => tracing::warn!("dns: {error}"),
        }
        *built_of = Some((cluster, leases));
    }

    pub(super) fn replace(&self, mut current: Current) {
        let mut place = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(former) = place.as_ref()
            && former.upstream == current.upstream
        {
            current.cache = Arc::clone(&former.cache);
        }
        *place = Some(Arc::new(current));
    }
}

pub(super) fn build<'l>(
    cluster: &Cluster,
    leases: impl IntoIterator<Item = &'l Lease>,
    now: Timestamp,
) -> Result<Current, InvalidName> {
    // An address that rests after a conflict is nobody's.
    let leases = leases.into_iter();
    let leases = leases.filter(|lease| lease.holder().is_some());
    let held = leases.map(|lease| Held {
        address: lease.address,
        mac: lease.mac,
        machine: lease.machine.as_deref(),
        host_name: lease.host_name.as_deref(),
        until: lease.expires,
    });
    let own = cluster.network.address;
    let upstream = cluster.network.dns_upstream.iter().copied();
    Ok(Current {
        zone: Zone::of(cluster, held, now)?,
        // An appliance that asks itself would never stop.
        upstream: upstream.filter(|address| *address != own).collect(),
        cache: Arc::new(Mutex::new(Cache::new(CACHE))),
    })
}
