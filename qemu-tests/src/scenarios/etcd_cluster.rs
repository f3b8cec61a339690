//! Three blank BIOS machines become a healthy etcd cluster that runs from their own disks.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{expect_installs_begun, wait_running};
use crate::api::Api;
use crate::lab::Lab;

/// From the last machine's first word to a quorum.
const TO_HEALTHY: Duration = Duration::from_secs(300);
const ETCD: u16 = 2379;

pub(super) fn play(lab: &mut Lab) -> Result<()> {
    lab.start_appliance()?;
    for machine in &mut lab.machines {
        machine.power_on()?;
    }
    for machine in &lab.machines {
        let detail = wait_running(lab, &machine.declared.name)?;
        expect_installs_begun(&detail, 1)?;
    }
    for machine in &lab.machines {
        let name = &machine.declared.name;
        lab.api
            .wait_for(name, "ready by every check", TO_HEALTHY, |detail| {
                let checks = &detail.machine.checks;
                !checks.is_empty() && checks.iter().all(|check| check.ok)
            })?;
    }
    // The appliance's word is not taken for it: the members are asked from outside.
    for machine in &lab.machines {
        let name = &machine.declared.name;
        let port = lab
            .host_port(&machine.declared, ETCD)
            .with_context(|| format!("{name} has no way in"))?;
        let etcd = Api::new(format!("http://127.0.0.1:{port}"), String::new());
        let health = etcd.page("/health")?;
        ensure!(health.contains(r#""health":"true""#), "{name}: {health}");
        let members = etcd.post_for_text("/v3/cluster/member/list", "{}")?;
        let count = members.matches("clientURLs").count();
        ensure!(count == lab.machines.len(), "{name} knows {count} members");
    }
    Ok(())
}
