//! cluster.yaml's config parts → one machine's configuration, as the agent gets it.

use std::path::Path;

use hardway_ignition::{Circumstances, Compiled, Operations, Part, PartKind, Report, operations};
use hardway_model::cluster::{Cluster, Machine, template};
use hardway_model::desired::ConfigApplier;
use hardway_model::identity::Sha256;
use sha2::Digest as _;

use crate::configuration;
use crate::fetcher::{self, NetworkFetcher};
use crate::local_folder::LocalFolder;
use crate::network_part;

/// One machine's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// Exactly the bytes that the agent gets: ordered operations as JSON, or the Ignition config
    /// where the image brings its own Ignition.
    pub json: Vec<u8>,
    /// Their SHA-256.
    pub digest: Sha256,
}

impl Rendered {
    /// A document of these bytes.
    pub fn new(json: Vec<u8>) -> Self {
        Self {
            digest: Sha256(sha2::Sha256::digest(&json).into()),
            json,
        }
    }

    /// The document of these operations.
    pub fn of(work: &Operations) -> Result<Self, String> {
        let json = serde_json::to_vec(work).map_err(|error| error.to_string())?;
        Ok(Self::new(json))
    }
}

/// Renders the parts of the machine's profile and merges them into its network, `more` last. The error holds every
/// problem, each with its file and place.
pub fn compiled(
    config: &Path,
    cluster: &Cluster,
    machine: &Machine,
    more: Option<Part>,
) -> Result<Compiled, String> {
    let profile = cluster.profile(&machine.profile);
    let profile = profile.ok_or_else(|| format!("there is no profile {}", machine.profile))?;
    let (parts, problems): (Vec<_>, Vec<_>) = profile
        .config
        .iter()
        .map(|name| part(config, name, cluster, machine))
        .partition(Result::is_ok);
    let problems: Vec<String> = problems.into_iter().filter_map(Result::err).collect();
    if !problems.is_empty() {
        return Err(problems.join("\n"));
    }
    let network = network_part::part(cluster, machine).into_iter();
    let parts = network.chain(parts.into_iter().flatten());
    let parts: Vec<Part> = parts.chain(more).collect();
    let files = LocalFolder(configuration::folder(config).to_owned());
    fetcher::compile(&parts, &files, NetworkFetcher::bounded()).map_err(|report| report.to_string())
}

/// What a compiled configuration itself brings for the planning of its operations.
pub fn circumstances(compiled: &Compiled) -> Circumstances<'static> {
    Circumstances {
        authorities: compiled.authorities.clone(),
        ..Circumstances::default()
    }
}

/// Judges a machine's configuration as far as that goes without the machine.
pub fn check(config: &Path, cluster: &Cluster, machine: &Machine) -> Result<(), String> {
    let profile = cluster.profile(&machine.profile);
    let image = profile.and_then(|profile| cluster.image(&profile.image));
    let compiled = compiled(config, cluster, machine, None)?;
    // Another Ignition, of a version that is not known here, is to carry it out.
    if image.is_some_and(|image| image.config != ConfigApplier::Agent) {
        return Ok(());
    }
    let operations = operations(&compiled.config, &circumstances(&compiled));
    match operations {
        Ok(_) => Ok(()),
        Err(problems) => Err(Report::from(problems).to_string()),
    }
}

fn part(config: &Path, name: &str, cluster: &Cluster, machine: &Machine) -> Result<Part, String> {
    let kind = PartKind::of_file_name(name).ok_or_else(|| {
        format!("config part {name}: Butane ends in .bu, .yaml or .yml, Ignition in .ign or .json")
    })?;
    let source = configuration::read_part(config, name).map_err(|error| format!("{error:#}"))?;
    let text = template::render(&source, name, cluster, machine);
    Ok(Part {
        name: name.to_owned(),
        kind,
        text: text.map_err(|error| error.to_string())?,
    })
}

#[cfg(test)]
mod tests {
    use hardway_ignition::operation::Stage;

    use super::*;
    use crate::fixture::Appliance;

    async fn rendered(parts: &[(&str, &str)]) -> Result<Rendered, String> {
        let appliance = Appliance::start().await;
        for (name, text) in parts {
            std::fs::write(appliance.folder.path().join(name), text).unwrap();
        }
        let snapshot = appliance.context.fleet.snapshot();
        let cluster = snapshot.cluster.as_ref().unwrap();
        let machine = cluster.machine("node1").unwrap();
        let config = &appliance.context.options.config;
        check(config, cluster, machine)?;
        let compiled = compiled(config, cluster, machine, None)?;
        Rendered::of(&operations(&compiled.config, &Circumstances::default()).unwrap())
    }

    #[tokio::test]
    async fn parts_become_operations_for_one_machine() {
        let rendered = rendered(&[]).await.unwrap();
        let text = String::from_utf8(rendered.json.clone()).unwrap();
        assert!(text.contains("/etc/hostname"), "{text}");
        let work: hardway_ignition::Operations = serde_json::from_str(&text).unwrap();
        assert_eq!(work.of(Stage::Disks).count(), 0);
        assert_eq!(
            rendered.digest,
            Sha256(sha2::Sha256::digest(&rendered.json).into())
        );
        assert_eq!(
            rendered,
            super::tests::rendered(&[]).await.unwrap(),
            "always the same bytes"
        );
    }

    #[tokio::test]
    async fn problems_name_the_part_and_the_place() {
        for (text, place) in [
            (
                "variant: fcos\nversion: 1.5.0\nstorage: {fils: []}\n",
                "base.bu:3",
            ),
            (
                "variant: fcos\nversion: 1.5.0\nkey: {{ nothing }}\n",
                "base.bu:3",
            ),
            (
                "variant: fcos\nversion: 1.5.0\nstorage:\n  files:\n    - path: etc/x\n",
                "base.bu:5",
            ),
        ] {
            match rendered(&[("base.bu", text)]).await {
                Err(problem) => assert!(problem.contains(place), "{problem}"),
                // Butane ignores an unknown key and says so.
                Ok(_) => assert!(text.contains("fils"), "{text}"),
            }
        }
    }
}
