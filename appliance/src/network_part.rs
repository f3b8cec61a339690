//! The installed system's network as a config part, which stands before the operator's own: theirs
//! may name the same files and say something else.

use hardway_ignition::{Part, PartKind};
use hardway_model::cluster::{Cluster, Machine};
use hardway_model::desired::ConfigApplier;
use hardway_model::network::{NetworkFile, keyfiles, networkd};
use serde_json::json;

use crate::planning::data_url;

/// The part; `None` where the profile leaves the network to the image.
pub fn part(cluster: &Cluster, machine: &Machine) -> Option<Part> {
    let network = cluster.machine_network(machine)?;
    let profile = cluster.profile(&machine.profile)?;
    let files = match cluster.image(&profile.image)?.config {
        ConfigApplier::Agent | ConfigApplier::Flatcar => networkd::files(&network),
        ConfigApplier::FedoraCoreos => keyfiles::files(&network),
    };
    let file = |file: &NetworkFile| {
        json!({
            "path": file.path,
            "mode": file.mode,
            "overwrite": true,
            "contents": {"source": data_url(&file.text)},
        })
    };
    let files: Vec<_> = files.iter().map(file).collect();
    // The oldest version there is: a newer one would raise that of the operator's parts.
    let config = json!({"ignition": {"version": "3.0.0"}, "storage": {"files": files}});
    Some(Part {
        name: "the network of cluster.yaml".to_owned(),
        kind: PartKind::Ignition,
        text: config.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use crate::fixture::Appliance;
    use crate::render;

    const PROFILE: &str = "    config: [base.bu]\n";
    const NETWORK: &str = "    network: {bonds: {bond0: {mode: lacp}}}\n";

    /// The configuration of a machine with a bond, for an image with this `config:`, whose own part
    /// writes `path`, too.
    async fn config(applier: &str, path: &str) -> serde_json::Value {
        let text = crate::fixture::CLUSTER
            .replace(PROFILE, &format!("{PROFILE}{NETWORK}"))
            .replace(
                "    file: node.img.zst\n",
                &format!("    file: node.img.zst\n    config: {applier}\n"),
            );
        let appliance = Appliance::with(&text).await;
        let part = format!(
            "variant: fcos\nversion: 1.0.0\nstorage:\n  files:\n    - path: {path}\n      contents: \
             {{inline: mine}}\n"
        );
        std::fs::write(appliance.folder.path().join("base.bu"), part).unwrap();
        let snapshot = appliance.context.fleet.snapshot();
        let cluster = snapshot.cluster.as_ref().unwrap();
        let machine = cluster.machine("node1").unwrap();
        let config = &appliance.context.options.config;
        render::check(config, cluster, machine).unwrap();
        let compiled = render::compiled(config, cluster, machine, None).unwrap();
        serde_json::from_str(&compiled.json).unwrap()
    }

    fn files(config: &serde_json::Value) -> Vec<(&str, u64, &str)> {
        let files = config["storage"]["files"].as_array().unwrap().iter();
        files
            .map(|file| {
                let source = file["contents"]["source"].as_str().unwrap();
                (
                    file["path"].as_str().unwrap(),
                    file["mode"].as_u64().unwrap_or(0),
                    source,
                )
            })
            .collect()
    }

    #[tokio::test]
    async fn files_are_those_that_the_image_reads() {
        for (applier, paths) in [
            ("agent", "/etc/systemd/network/10-hardway-"),
            ("flatcar", "/etc/systemd/network/10-hardway-"),
            (
                "fedora-coreos",
                "/etc/NetworkManager/system-connections/hardway-",
            ),
        ] {
            let config = config(applier, "/etc/motd").await;
            assert_eq!(config["ignition"]["version"], "3.0.0", "{applier}");
            let files = files(&config);
            assert!(files.len() > 2, "{files:?}");
            let (last, network) = files.split_last().unwrap();
            assert_eq!(last.0, "/etc/motd");
            assert!(
                network.iter().all(|file| file.0.starts_with(paths)),
                "{files:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_profiles_own_part_has_the_last_word() {
        let path = "/etc/systemd/network/10-hardway-bond0.network";
        let config = config("agent", path).await;
        let files = files(&config);
        let of_the_path: Vec<_> = files.iter().filter(|file| file.0 == path).collect();
        assert_eq!(of_the_path, [&(path, 0o644, "data:,mine")]);
        assert!(
            files
                .iter()
                .any(|file| file.2.contains("PermanentMACAddress")),
            "{files:?}"
        );
    }
}
