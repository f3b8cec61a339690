//! Snapshots → what the API answers, the pages show and the command line prints.

use std::net::Ipv4Addr;

use hardway_model::cluster::Machine;
use hardway_model::lifecycle::{MachineState, Phase};
use hardway_model::view::{MachineDetail, MachineView, Status};
use serde::Serialize;

use super::ApiError;
use crate::clock;
use crate::context::Context;
use crate::fleet::Snapshot;

/// [`Status`], and what is worth a look although everything is served.
#[derive(Debug, Clone, Serialize)]
pub struct StatusWithWarnings {
    /// The status.
    #[serde(flatten)]
    pub status: Status,
    /// Missing images and images with the wrong hash.
    pub warnings: Vec<String>,
}

/// The appliance now.
pub fn status(context: &Context) -> StatusWithWarnings {
    let snapshot = context.fleet.snapshot();
    let declared = snapshot
        .cluster
        .iter()
        .flat_map(|cluster| &cluster.machines);
    let rows: Vec<MachineView> = declared
        .filter_map(|machine| view(context, &snapshot, &machine.name))
        .collect();
    let runs = |row: &&MachineView| row.phase == Phase::Running;
    let expected = |row: &MachineView| {
        let checks = snapshot.cluster.iter().flat_map(|cluster| &cluster.checks);
        checks
            .filter(|check| Some(&check.profile) == row.profile.as_ref())
            .count()
    };
    let ready = |row: &&MachineView| {
        row.checks.len() == expected(row) && row.checks.iter().all(|check| check.ok)
    };
    StatusWithWarnings {
        status: Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: snapshot
                .cluster
                .as_ref()
                .map(|cluster| cluster.name.clone()),
            problems: snapshot.problems.clone(),
            addresses: addresses(),
            uptime: context.started.elapsed().as_secs(),
            resident_memory: resident_memory().unwrap_or(0),
            used_memory: used_memory().unwrap_or(0),
            declared: rows.len(),
            running: rows.iter().filter(runs).count(),
            ready: rows.iter().filter(runs).filter(ready).count(),
            notices: context.notices.list(),
        },
        warnings: context.images.list(),
    }
}

/// Every machine: the declared ones in the file's order, then the others by name.
pub fn rows(context: &Context) -> Vec<MachineView> {
    let snapshot = context.fleet.snapshot();
    let declared = snapshot
        .cluster
        .iter()
        .flat_map(|cluster| &cluster.machines);
    let declared = declared.map(|machine| machine.name.as_str());
    let others = snapshot.machines.keys().map(String::as_str);
    let others = others.filter(|name| snapshot.declared(name).is_none());
    declared
        .chain(others)
        .filter_map(|name| view(context, &snapshot, name))
        .collect()
}

/// One machine's row.
pub fn view(context: &Context, snapshot: &Snapshot, name: &str) -> Option<MachineView> {
    let state = snapshot.machines.get(name)?;
    let machine = snapshot.declared(name);
    Some(MachineView {
        name: name.to_owned(),
        declared: machine.is_some(),
        profile: machine.map(|machine| machine.profile.clone()),
        address: machine
            .and_then(|machine| machine.address)
            .or(state.address),
        macs: macs(machine, state),
        phase: state.phase.clone(),
        generation: state.generation,
        installed_generation: state.installed.as_ref().map(|receipt| receipt.generation),
        installs_begun: state.installs_begun,
        checks: context.checks.of(name),
        diagnosis: state.boot.diagnosis(clock::now()),
        last_seen: state.last_seen,
        figures: state.figures.clone(),
    })
}

/// Everything about one machine.
pub async fn detail(context: &Context, name: &str) -> Result<MachineDetail, ApiError> {
    let snapshot = context.fleet.snapshot();
    let missing = || ApiError::no_machine(name);
    let state = snapshot.machines.get(name).ok_or_else(missing)?;
    Ok(MachineDetail {
        machine: view(context, &snapshot, name).ok_or_else(missing)?,
        inventory: state.inventory.clone(),
        installed: state.installed.clone(),
        planned: state.planned.clone(),
        grants: state.grants.clone(),
        armed: state.armed.clone(),
        boot: state.boot.clone(),
        timeline: context.fleet.timeline(name).await?,
    })
}

fn macs(
    machine: Option<&Machine>,
    state: &MachineState,
) -> Vec<hardway_model::identity::MacAddress> {
    let declared = machine
        .into_iter()
        .flat_map(|machine| &machine.matches.macs);
    let mut macs = Vec::new();
    for mac in declared.chain(&state.identity.macs) {
        if !macs.contains(mac) {
            macs.push(*mac);
        }
    }
    macs
}

/// IPv4 addresses of this machine, loopback excluded.
pub fn addresses() -> Vec<Ipv4Addr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    interfaces
        .filter_map(|interface| {
            interface
                .address?
                .as_sockaddr_in()
                .map(|address| address.ip())
        })
        .filter(|address| !address.is_loopback())
        .collect()
}

/// From /proc/self/statm, proc(5): the second field, in pages.
fn resident_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * page as u64)
}

/// From /proc/meminfo, proc(5): what is neither free nor cache. A tmpfs counts as used.
fn used_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    used_of(&text)
}

fn used_of(meminfo: &str) -> Option<u64> {
    let field = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes: u64 = line.trim_end_matches("kB").trim().parse().ok()?;
        Some(kibibytes * 1024)
    };
    let cache = field("Buffers:")? + field("Cached:")? + field("SReclaimable:")?;
    let held = field("MemTotal:")? + field("Shmem:")?;
    Some(held.saturating_sub(field("MemFree:")? + cache))
}

#[cfg(test)]
mod tests {
    #[test]
    fn used_memory_leaves_out_the_cache() {
        let meminfo = "MemTotal:  1000 kB\nMemFree:  300 kB\nMemAvailable: 600 kB\n\
                       Buffers:   50 kB\nCached:   250 kB\nShmem:     20 kB\nSReclaimable: 70 kB\n";
        assert_eq!(super::used_of(meminfo), Some(350 * 1024));
        assert_eq!(super::used_of("MemTotal: 1 kB\n"), None);
    }
}
