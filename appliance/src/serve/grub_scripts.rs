//! The scripts of the signed GRUB, made for the machine whose NIC they are asked for by.

use std::net::IpAddr;

use axum::body::Bytes;
use hardway_model::identity::MacAddress;
use hardway_model::lifecycle::Event;
use hardway_netboot::answer::{Answer, Choice, Script, answer};
use hardway_netboot::grub::{self, GrubFile};
use hardway_netboot::ipxe;

use super::boot_files::Missing;
use super::content::{Content, Piece};
use crate::api::boot;
use crate::context::Context;
use crate::token;

/// The script of this name; `None` where it is no name of GRUB's. Handing out the agent issues the
/// boot token that its run is bound to.
pub async fn open(context: &Context, name: &str, peer: IpAddr) -> Option<Result<Content, Missing>> {
    Some(match GrubFile::parse(name)? {
        GrubFile::First => Ok(text(grub::first_script().to_owned())),
        GrubFile::Script { mac, choice } => {
            let made = machine_script(context, mac, choice, peer).await;
            made.map(text).map_err(Missing::Refused)
        }
    })
}

fn text(script: String) -> Content {
    Content::of(vec![Piece::Bytes(Bytes::from(script))])
}

/// What this machine is to do, or in words why it is told nothing.
async fn machine_script(
    context: &Context,
    mac: MacAddress,
    choice: Option<Choice>,
    peer: IpAddr,
) -> Result<String, String> {
    let snapshot = context.fleet.snapshot();
    let Some(cluster) = snapshot.cluster.as_ref() else {
        return Err("there is no valid cluster.yaml".to_owned());
    };
    let client = grub::client(mac, choice);
    let name = snapshot.name_of(&client.identity).unwrap_or_default();
    let found = snapshot.find(&client.identity);
    let (script, summary, token) = match answer(&client, cluster, found) {
        Answer::Script(Script::Agent) => {
            let checked = boot::check_address(context, &client.identity, peer);
            checked.map_err(|error| error.message().to_owned())?;
            let token = token::random().map_err(|error| format!("{error:#}"))?;
            let url = ipxe::appliance_url(cluster, context.options.http_port);
            let more = cluster.agent_arguments(found.map(|(machine, _)| machine));
            let script = grub::agent_script(&url, &token, mac, &more);
            let script = script.map_err(|error| error.to_string())?;
            (script, "GRUB was given the agent", Some(token))
        }
        Answer::Script(Script::LocalDisk(_)) => {
            let script = grub::local_disk_script().to_owned();
            (script, "GRUB was sent to the disk", None)
        }
        Answer::Script(Script::Menu) => (grub::menu_script(mac), "GRUB was given the menu", None),
        Answer::Silence(reason) | Answer::AddressOnly(reason) => return Err(reason.to_string()),
        other => return Err(format!("no script answers this request: {other:?}")),
    };
    let summary = summary.to_owned();
    let event = Event::Script { summary, token };
    let recorded = context.fleet.record(&name, event).await;
    recorded.map_err(|error| format!("{error:#}"))?;
    Ok(script)
}

#[cfg(test)]
mod tests {
    use hardway_netboot::dhcp::Lease;

    use super::super::boot_files;
    use super::*;
    use crate::clock;
    use crate::fixture::Appliance;

    async fn script(appliance: &Appliance, name: &str, peer: [u8; 4]) -> Result<String, String> {
        let content = boot_files::open(&appliance.context, name, IpAddr::from(peer)).await;
        let content = content.map_err(|missing| missing.to_string())?;
        let mut bytes = vec![0; content.size() as usize];
        content.read_exact_at(&mut bytes, 0).unwrap();
        Ok(String::from_utf8(bytes).unwrap())
    }

    #[tokio::test]
    async fn the_first_script_leads_to_the_machines_own_with_a_live_token() {
        let appliance = Appliance::start().await;
        let node1 = [10, 77, 0, 11];
        let first = script(&appliance, "grub/grub.cfg", node1).await.unwrap();
        assert!(first.contains("$prefix/$net_default_mac.cfg"), "{first}");
        let own = script(&appliance, "grub/52:54:00:00:00:01.cfg", node1).await;
        let own = own.unwrap();
        let token = own.split_once("'hardway.token=").unwrap().1;
        let token = token.split_once('\'').unwrap().0;
        let snapshot = appliance.context.fleet.snapshot();
        assert_eq!(snapshot.by_token(token).unwrap().0, "node1");
    }

    #[tokio::test]
    async fn another_machines_address_gets_no_token() {
        let appliance = Appliance::start().await;
        let node1 = MacAddress([0x52, 0x54, 0, 0, 0, 1]);
        let lease = Lease::new([10, 77, 0, 11].into(), Some(node1), clock::now() + 60_000);
        appliance.context.fleet.store_lease(lease).await.unwrap();
        let refused = script(&appliance, "grub/52:54:00:00:00:09.cfg", [10, 77, 0, 11]).await;
        assert_eq!(
            refused.unwrap_err(),
            "a boot token is for the machine alone that boots: 10.77.0.11 is leased to 52:54:00:00:00:01"
        );
        let given = script(&appliance, "grub/52:54:00:00:00:01.cfg", [10, 77, 0, 11]).await;
        assert!(given.unwrap().contains("hardway.token="));
        let nothing = script(&appliance, "grub/x86_64-efi/fs.lst", [10, 77, 0, 11]).await;
        assert!(nothing.is_err());
    }
}
