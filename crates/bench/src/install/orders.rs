//! What the appliance orders a machine with such a disk to do. The bench is the machine: it asks for its
//! script as iPXE does, takes the boot token from it, and says hello as the agent does.

use std::fs;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use super::disk::Disk;
use crate::http_client::Connection;
use crate::network::CLIENT;
use crate::ours::{self, colons, machine_mac};

/// The steps that write the disk. The others install no image, and the last hands the machine over.
const REPLAYED: [&str; 5] = [
    "claim-disk",
    "write-image",
    "write-chunks",
    "read-back",
    "commit-disk",
];

/// A plan in hand.
pub struct Orders {
    /// The plan's file.
    pub plan: PathBuf,
    /// This boot's token.
    pub token: String,
}

impl Orders {
    /// Boots the machine with the number 0, as far as its plan.
    pub fn ask(disk: &Disk, agent: &str, plan: &Path) -> anyhow::Result<Self> {
        let mac = machine_mac(0);
        let host = SocketAddrV4::new(ours::ADDRESS, 80);
        let mut connection = Connection::open(CLIENT, host)?;
        let dashes = colons(mac).replace(':', "-");
        let path = format!("/ipxe?mac={dashes}&uuid=&serial=&buildarch=x86_64&platform=pcbios");
        let script = connection
            .text(&path)
            .context("asking for the machine's script")?;
        let token = token(&script).context("the machine's script has no boot token")?;
        let hello = hello(disk, agent, &token, &colons(mac)).to_string();
        let answer = connection.post("/agent/v1/hello", &hello);
        let answer = answer.context("saying hello")?;
        let orders = serde_json::from_str(&answer).context("reading the orders")?;
        let replayed = replayed(orders)?.to_string();
        fs::write(plan, replayed).with_context(|| format!("writing {}", plan.display()))?;
        Ok(Self {
            plan: plan.to_owned(),
            token,
        })
    }
}

fn token(script: &str) -> Option<String> {
    let mut words = script.split_whitespace();
    let token = words.find_map(|word| word.strip_prefix("hardway.token="))?;
    Some(token.to_owned())
}

/// What the agent would find on a machine with this disk and nothing else.
fn hello(disk: &Disk, agent: &str, token: &str, mac: &str) -> Value {
    json!({
        "token": token,
        "boot_mac": mac,
        "agent": agent,
        "fetched": 0,
        "inventory": {
            "firmware": "bios",
            "system": {"manufacturer": null, "product": null, "serial": null, "uuid": null},
            "memory": 1 << 30,
            "processor": {"model": null, "count": 1},
            "nics": [
                {"name": "eth0", "mac": mac, "driver": null, "carrier": true, "speed": null}
            ],
            "disks": [{
                "path": disk.path,
                "size": disk.size,
                "sector_size": 512,
                "model": null,
                "serial": null,
                "wwn": null,
                "rotational": false,
                "removable": false,
                "read_only": false,
                "transport": null,
                "content": {"kind": "blank"}
            }]
        }
    })
}

/// The plan of the orders, with the steps that are replayed only.
fn replayed(mut orders: Value) -> anyhow::Result<Value> {
    if let Some(reason) = orders["reason"].as_str() {
        bail!("the appliance has the machine wait: {reason}");
    }
    let mut plan = orders["plan"].take();
    let steps = plan["steps"]
        .as_array_mut()
        .context("the orders have no plan")?;
    steps.retain(|step| {
        step["step"]
            .as_str()
            .is_some_and(|name| REPLAYED.contains(&name))
    });
    let names: Vec<&str> = steps
        .iter()
        .filter_map(|step| step["step"].as_str())
        .collect();
    ensure!(
        names.first() == Some(&"claim-disk") && names.last() == Some(&"commit-disk"),
        "the plan writes no disk: {names:?}"
    );
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_the_kernels() {
        let script =
            "#!ipxe\nkernel http://10.99.0.1/boot/vmlinuz hardway.url=x hardway.token=ab12 a\n";
        assert_eq!(token(script).as_deref(), Some("ab12"));
        assert_eq!(token("#!ipxe\nexit\n"), None);
    }

    #[test]
    fn a_plan_ends_with_the_disk() {
        let steps = |names: &[&str]| {
            let steps: Vec<Value> = names.iter().map(|name| json!({"step": name})).collect();
            replayed(json!({"orders": "execute", "plan": {"machine": "m", "steps": steps}}))
        };
        let plan = steps(&[
            "claim-disk",
            "write-chunks",
            "grow-filesystem",
            "commit-disk",
            "hand-over",
        ]);
        let expected =
            ["claim-disk", "write-chunks", "commit-disk"].map(|name| json!({"step": name}));
        assert_eq!(plan.unwrap(), json!({"machine": "m", "steps": expected}));
        assert_eq!(
            steps(&["hand-over"]).unwrap_err().to_string(),
            "the plan writes no disk: []"
        );
        let hold = replayed(json!({"orders": "hold", "reason": "no disk fits"}));
        assert_eq!(
            hold.unwrap_err().to_string(),
            "the appliance has the machine wait: no disk fits"
        );
    }
}
