//! What whoever stands before the appliance reads, on every console.

use super::media::Media;
use super::network::Network;

const WIDTH: usize = 78;

/// How `hardway serve` is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Services {
    /// Not started yet: there is no link.
    Waiting,
    /// It runs.
    Running,
    /// It ended like this and is started again.
    Restarting(String),
}

/// Everything that the screen tells.
pub struct Facts<'a> {
    /// The cluster's name, when its file is right.
    pub cluster: Option<&'a str>,
    /// What is wrong with the file.
    pub problem: Option<&'a str>,
    /// The appliance's link.
    pub network: &'a Network,
    /// Its disk.
    pub media: &'a Media,
    /// The operator's token, empty as long as there is none.
    pub token: String,
    /// The services.
    pub services: Services,
}

/// The screen: plain lines, so that a serial log stays readable.
pub fn text(facts: &Facts<'_>) -> String {
    let rule = "=".repeat(WIDTH);
    let mut lines = vec![String::new(), rule.clone()];
    let cluster = facts.cluster.unwrap_or("no cluster");
    lines.push(format!("Hardway {}: {cluster}", env!("CARGO_PKG_VERSION")));
    match &facts.network.configured {
        Some(link) => {
            let wanted = &link.wanted;
            let address = format!("{}/{}", wanted.address, wanted.prefix);
            lines.push(format!(
                "  address   {address} on {} ({})",
                link.name, link.mac
            ));
            lines.push(format!("  page      http://{}/", wanted.address));
        }
        None => lines.push("  address   none yet".into()),
    }
    if let Some(problem) = &facts.network.problem {
        lines.push(format!("  network   {problem}"));
    }
    if !facts.token.is_empty() {
        lines.push(format!("  token     {}", facts.token));
    }
    lines.push(match &facts.services {
        Services::Waiting => "  services  wait for the network".into(),
        Services::Running => "  services  running".into(),
        Services::Restarting(how) => format!("  services  ended ({how}), starting again"),
    });
    for problem in &facts.media.problems {
        lines.push(format!("  disk      {problem}"));
    }
    if let Some(problem) = facts.problem {
        lines.push(String::new());
        lines.push("cluster.yaml is broken or missing: nobody is served until it is mended".into());
        lines.extend(problem.lines().map(str::to_owned));
    }
    lines.push(rule);
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use hardway_model::cluster::Interface;
    use hardway_model::identity::MacAddress;

    use super::super::network::{Configured, Wanted};
    use super::*;

    fn network() -> Network {
        let mut network = Network::new();
        network.configured = Some(Configured {
            name: "eth0".into(),
            mac: MacAddress([0x52, 0x54, 0, 0, 0, 1]),
            wanted: Wanted {
                interface: Interface::Auto,
                address: [10, 77, 0, 1].into(),
                prefix: 24,
                gateway: None,
            },
        });
        network
    }

    #[test]
    fn a_healthy_appliance() {
        let shown = text(&Facts {
            cluster: Some("lab"),
            problem: None,
            network: &network(),
            media: &Media {
                durable: true,
                ..Media::default()
            },
            token: "0123456789abcdef".into(),
            services: Services::Running,
        });
        let rule = "=".repeat(WIDTH);
        let version = env!("CARGO_PKG_VERSION");
        let expected = format!(
            "\n{rule}\nHardway {version}: lab\n  address   10.77.0.1/24 on eth0 (52:54:00:00:00:01)\n  \
             page      http://10.77.0.1/\n  token     0123456789abcdef\n  services  running\n{rule}\n"
        );
        assert_eq!(shown, expected);
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let media = Media {
            problems: vec!["there is no usable partition DATA".into()],
            ..Media::default()
        };
        let shown = text(&Facts {
            cluster: None,
            problem: Some("error: unknown profile `etdc`\n  ┌─ cluster.yaml:41:14"),
            network: &Network::new(),
            media: &media,
            token: String::new(),
            services: Services::Restarting("exit status 1".into()),
        });
        for part in [
            "no cluster",
            "none yet",
            "ended (exit status 1)",
            "no usable partition DATA",
            "nobody is served",
            "\n  ┌─ cluster.yaml:41:14\n",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
}
