//! Daemons that are used on the host without becoming its services.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{process, setup};

/// What Debian's packages ask before they start a service (invoke-rc.d(8), deb-systemd-invoke(1)).
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// Says that nothing may be started.
const DENY: &str = "#!/bin/sh\nexit 101\n";

/// Installs the packages that are missing, by package and program; none of them is started.
pub fn ensure(packages: &[(&'static str, &str)]) -> Result<()> {
    let missing: Vec<&'static str> = packages
        .iter()
        .filter(|(_, program)| !process::exists(program))
        .map(|(package, _)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !process::exists("apt-get") {
        bail!(
            "these are missing, by the names of Debian's packages: {}",
            missing.join(" ")
        );
    }
    eprintln!("setup: missing on this machine: {}", missing.join(" "));
    // A machine that denies already is left as it is.
    if Path::new(POLICY).exists() {
        return setup::install(&missing);
    }
    deny()?;
    let installed = setup::install(&missing);
    process::run(setup::as_root("rm")?.arg(POLICY)).context("letting packages start services")?;
    installed
}

fn deny() -> Result<()> {
    let folder = tempfile::tempdir().context("making a temporary folder")?;
    let script = folder.path().join("policy-rc.d");
    fs::write(&script, DENY).with_context(|| format!("writing {}", script.display()))?;
    let mut install: Command = setup::as_root("install")?;
    install.args(["-m", "755"]).arg(&script).arg(POLICY);
    process::run(&mut install).context("keeping packages from starting services")?;
    Ok(())
}
