//! cluster.yaml's config parts → one machine's configuration, as the agent gets it.

use std::path::Path;

use hardway_ignition::{Circumstances, Part, PartKind, Report, compile, operations};
use hardway_model::cluster::{Cluster, Machine, template};
use hardway_model::desired::ConfigApplier;
use hardway_model::identity::Sha256;
use sha2::Digest as _;

use crate::configuration;
use crate::local_folder::LocalFolder;

/// One machine's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// Exactly the bytes that the agent gets: ordered operations as JSON, or the Ignition config
    /// where the image brings its own Ignition.
    pub json: Vec<u8>,
    /// Their SHA-256.
    pub digest: Sha256,
}

/// Renders the parts of the machine's profile, merges them and puts them in order. The error holds
/// every problem, each with its file and place.
pub fn render(config: &Path, cluster: &Cluster, machine: &Machine) -> Result<Rendered, String> {
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
    let parts: Vec<Part> = parts.into_iter().flatten().collect();
    let files = LocalFolder(configuration::folder(config).to_owned());
    let compiled = compile(&parts, &files).map_err(|report| report.to_string())?;
    let applier = cluster.image(&profile.image).map(|image| image.config);
    let json = match applier {
        Some(ConfigApplier::Flatcar | ConfigApplier::FedoraCoreos) => compiled.json.into_bytes(),
        Some(ConfigApplier::Agent) | None => {
            let operations = operations(&compiled.config, &Circumstances::default());
            let operations = operations.map_err(|problems| Report::from(problems).to_string())?;
            serde_json::to_vec(&operations).map_err(|error| error.to_string())?
        }
    };
    Ok(Rendered {
        digest: Sha256(sha2::Sha256::digest(&json).into()),
        json,
    })
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
        render(&appliance.context.options.config, cluster, machine)
    }

    #[tokio::test]
    async fn parts_become_operations_for_one_machine() {
        let rendered = rendered(&[]).await.unwrap();
        let text = String::from_utf8(rendered.json.clone()).unwrap();
        assert!(text.contains("/etc/hostname"), "{text}");
        let work: hardway_ignition::Operations = serde_json::from_str(&text).unwrap();
        assert_eq!(work.operations.len(), 1);
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
