//! Packages together with everything that they depend on, as apt would install them.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::apt::{Apt, Package};
use crate::process;

/// The packages that an installation of `wanted` on an empty system consists of, without
/// recommendations, sorted. Besides names, apt's patterns such as `?essential` are understood.
pub fn resolve(apt: &Apt, wanted: &[&str]) -> Result<Vec<Package>> {
    let simulated = process::run(
        tool(apt, "apt-get")
            .args(["-qq", "--simulate", "--no-install-recommends", "install"])
            .args(wanted),
    )
    .with_context(|| format!("resolving {}", wanted.join(" ")))?;
    let chosen = parse_simulation(&simulated);
    let shown = process::run(tool(apt, "apt-cache").arg("show").args(&chosen))
        .context("reading the package lists")?;
    let mut packages = shown
        .split("\n\n")
        .filter(|stanza| !stanza.trim().is_empty())
        .map(parse_stanza)
        .collect::<Result<Vec<_>>>()?;
    packages.sort();
    // More than one archive may offer the same file.
    packages.dedup();
    ensure!(
        packages.len() == chosen.len(),
        "apt chose {} packages, and its lists describe {}",
        chosen.len(),
        packages.len()
    );
    Ok(packages)
}

fn tool(apt: &Apt, program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env("APT_CONFIG", apt.configuration())
        .env("LC_ALL", "C.UTF-8");
    command
}

/// `Inst NAME (VERSION …)` lines as `NAME=VERSION`.
fn parse_simulation(output: &str) -> Vec<String> {
    output
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.strip_prefix("Inst ")?.split_once(" (")?;
            Some(format!("{name}={}", rest.split_whitespace().next()?))
        })
        .collect()
}

fn parse_stanza(stanza: &str) -> Result<Package> {
    let field = |name: &str| {
        let pairs = stanza.lines().filter_map(|line| line.split_once(": "));
        let mut values = pairs.filter(|(key, _)| *key == name);
        values.next().map(|(_, value)| value.trim().to_owned())
    };
    let required = |name: &str| field(name).with_context(|| format!("no field {name} in {stanza}"));
    Ok(Package {
        name: required("Package")?,
        version: required("Version")?,
        architecture: required("Architecture")?,
        sha256: required("SHA256")?,
        depends: field("Depends").unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simulated_installation() {
        let output = "Inst libc6 (2.41-12 Debian:13.7/stable [amd64])\n\
            Inst zlib1g (1:1.3 Debian:13.7/stable [amd64]) []\n\
            Conf libc6 (2.41-12 Debian:13.7/stable [amd64])\n";
        assert_eq!(parse_simulation(output), ["libc6=2.41-12", "zlib1g=1:1.3"]);
    }

    #[test]
    fn a_stanza_without_hash_is_refused() {
        let stanza = "Package: a\nVersion: 1\nArchitecture: all\n";
        assert!(parse_stanza(stanza).is_err());
        let package = parse_stanza(&format!("{stanza}SHA256: 00\n")).unwrap();
        assert_eq!(
            (package.name.as_str(), package.sha256.as_str()),
            ("a", "00")
        );
    }
}
