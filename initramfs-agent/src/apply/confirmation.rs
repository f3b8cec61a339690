//! What the installed system needs to say that it runs.

use anyhow::{Context, Result};
use hardway_model::plan::Plan;

use super::root::{Attributes, TargetRoot};
use crate::confirm::{Confirmation, FILE};

const PROGRAM: &str = "/var/lib/hardway/hardway-agent";
const UNIT: &str = "/etc/systemd/system/hardway-confirm.service";
const WANTED: &str = "/etc/systemd/system/multi-user.target.wants/hardway-confirm.service";

const UNIT_TEXT: &str = "\
[Unit]
Description=Tell the appliance that this system runs
Documentation=file:///var/lib/hardway/confirm.json
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=/var/lib/hardway/hardway-agent confirm
Restart=on-failure
RestartSec=30
RemainAfterExit=yes
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes

[Install]
WantedBy=multi-user.target
";

/// Leaves the program, its file and its unit in the installed system.
pub fn install(
    root: &TargetRoot,
    url: &str,
    plan: &Plan,
    key: &str,
    sets_boot_entries: bool,
) -> Result<String> {
    let program = std::fs::read("/proc/self/exe").context("reading this very program")?;
    let confirmation = Confirmation {
        url: url.to_owned(),
        machine: plan.machine.clone(),
        generation: plan.generation,
        key: key.to_owned(),
        sets_boot_entries,
    };
    let json = serde_json::to_vec_pretty(&confirmation).context("encoding the confirmation")?;
    write(root, &program, &json)?;
    Ok(format!("{UNIT} confirms generation {}", plan.generation))
}

fn write(root: &TargetRoot, program: &[u8], json: &[u8]) -> Result<()> {
    root.replace(PROGRAM, program, &Attributes::root(0o755))?;
    root.replace(FILE, json, &Attributes::root(0o600))?;
    root.replace(UNIT, UNIT_TEXT.as_bytes(), &Attributes::root(0o644))?;
    root.remove(WANTED)?;
    root.symlink("../hardway-confirm.service", WANTED)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn program_file_and_unit_are_left_behind_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let root = TargetRoot::open(folder.path()).unwrap();
        for _ in 0..2 {
            write(&root, b"program", b"{}").unwrap();
        }
        let path = |name: &str| folder.path().join(name.trim_start_matches('/'));
        let mode = |name: &str| path(name).metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!(
            [mode(PROGRAM), mode(FILE), mode(UNIT)],
            [0o755, 0o600, 0o644]
        );
        assert_eq!(std::fs::read_to_string(path(WANTED)).unwrap(), UNIT_TEXT);
    }
}
