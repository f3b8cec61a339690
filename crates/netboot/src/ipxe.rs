//! The scripts that iPXE runs, and the request by which it asks for one.
//!
//! Nothing that a machine says about itself is put into a script: the request's values are only
//! parsed, and the scripts use iPXE's own variables. What comes from cluster.yaml is checked.

use hardway_model::cluster::Cluster;
use hardway_model::identity::{Identity, MacAddress};
use hardway_model::inventory::Firmware;
use serde::Deserialize;

use crate::answer::{Choice, Client, Program};

/// The query of `GET /ipxe?mac=…&uuid=…&serial=…&buildarch=…&platform=…`, as the static script makes
/// it. iPXE leaves a value empty that it does not know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct ScriptRequest {
    /// `${netX/mac:hexhyp}`: the NIC that booted.
    #[serde(default)]
    pub mac: String,
    /// `${uuid}`: SMBIOS type 1.
    #[serde(default)]
    pub uuid: String,
    /// `${serial:uristring}`: SMBIOS type 1.
    #[serde(default)]
    pub serial: String,
    /// `${buildarch}`: `i386`, `x86_64`, `arm64`.
    #[serde(default)]
    pub buildarch: String,
    /// `${platform}`: `pcbios` or `efi`.
    #[serde(default)]
    pub platform: String,
    /// What was picked in the menu: `discover` or `local-disk`.
    #[serde(default)]
    pub choice: String,
}

/// Why a request for a script, or what should be put into one, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// No usable hardware address.
    #[error("the request names no machine: mac=`{0}` is not a MAC address")]
    NoMac(String),
    /// Neither `pcbios` nor `efi`.
    #[error("platform `{0}` is unknown; iPXE says `pcbios` or `efi`")]
    UnknownPlatform(String),
    /// Would change the script's meaning.
    #[error(
        "kernel argument `{0}` cannot stand in an iPXE script: use printable ASCII without spaces, \
         `$`, `||` and `&&`"
    )]
    UnsafeArgument(String),
}

impl ScriptRequest {
    /// Who asks.
    pub fn client(&self) -> Result<Client, ScriptError> {
        let mac: MacAddress = self
            .mac
            .parse()
            .map_err(|_| ScriptError::NoMac(self.mac.clone()))?;
        let firmware = match self.platform.as_str() {
            "pcbios" => Firmware::Bios,
            "efi" => Firmware::Uefi,
            other => return Err(ScriptError::UnknownPlatform(other.to_owned())),
        };
        let choice = match self.choice.as_str() {
            "discover" => Some(Choice::Discover),
            "local-disk" => Some(Choice::LocalDisk),
            _ => None,
        };
        Ok(Client {
            identity: Identity {
                macs: vec![mac],
                serial: meaningful(&self.serial),
                uuid: meaningful_uuid(&self.uuid),
                disks: Vec::new(),
            },
            program: Program::IpxeScript { firmware, choice },
        })
    }
}

/// Where machines reach the appliance: `http://10.77.0.1`, with the port where it is not 80.
pub fn appliance_url(cluster: &Cluster, http_port: u16) -> String {
    match http_port {
        80 => format!("http://{}", cluster.network.address),
        port => format!("http://{}:{port}", cluster.network.address),
    }
}

/// `/boot.ipxe`: the same for every machine. It asks for the machine's own script, again and again
/// until there is one: a rack powered on before its appliance waits instead of failing.
pub fn boot_script(appliance_url: &str) -> String {
    format!(
        "#!ipxe\n\
         :ask\n\
         chain --replace --autofree {appliance_url}/ipxe?{QUERY} || goto failed\n\
         :failed\n\
         echo Hardway: no script from {appliance_url}; trying again in 5 seconds\n\
         sleep 5\n\
         goto ask\n"
    )
}

const QUERY: &str = "mac=${netX/mac:hexhyp}&uuid=${uuid}&serial=${serial:uristring}\
                     &buildarch=${buildarch}&platform=${platform}";

/// The script that starts the agent. `token` is the boot token that the run is bound to, and
/// `extra_arguments` are appended to the agent's kernel command line.
///
/// After three failed tries the machine reboots: firmware may bring a NIC back that iPXE cannot.
pub fn agent_script(
    appliance_url: &str,
    token: &str,
    extra_arguments: &[String],
) -> Result<String, ScriptError> {
    let mut arguments = String::new();
    for argument in [format!("hardway.token={token}")]
        .iter()
        .chain(extra_arguments)
    {
        arguments.push(' ');
        arguments.push_str(checked_argument(argument)?);
    }
    Ok(format!(
        "#!ipxe\n\
         echo Hardway: starting the agent\n\
         set tries:int32 0\n\
         :fetch\n\
         kernel {appliance_url}/boot/vmlinuz initrd=agent.initramfs hardway.url={appliance_url}\
         {arguments} BOOTIF=01-${{netX/mac:hexhyp}} console=tty0 console=ttyS0 no_timer_check \
         || goto failed\n\
         initrd --name agent.initramfs {appliance_url}/boot/agent.initramfs || goto failed\n\
         boot || goto failed\n\
         :failed\n\
         imgfree\n\
         inc tries\n\
         iseq ${{tries}} 3 && goto give_up ||\n\
         echo Hardway: the agent could not be fetched; trying again in 5 seconds\n\
         sleep 5\n\
         goto fetch\n\
         :give_up\n\
         echo Hardway: the agent could not be fetched from {appliance_url}; rebooting in 30 seconds\n\
         sleep 30\n\
         reboot\n"
    ))
}

/// The script that starts the machine's own disk.
///
/// BIOS: `sanboot` of the first drives in turn, since the first may be blank; then `exit`, which
/// gives back to the firmware's boot order. UEFI: neither `exit` nor `sanboot` works with every
/// iPXE, a GRUB that looks for the EFI boot loader does.
pub fn local_disk_script(appliance_url: &str, firmware: Firmware) -> String {
    match firmware {
        Firmware::Bios => "#!ipxe\n\
             echo Hardway: starting the disk\n\
             sanboot --no-describe --drive 0x80 || \
             sanboot --no-describe --drive 0x81 || \
             sanboot --no-describe --drive 0x82 || \
             sanboot --no-describe --drive 0x83 || \
             echo Hardway: none of the first four disks starts\n\
             exit\n"
            .to_owned(),
        Firmware::Uefi => format!(
            "#!ipxe\n\
             echo Hardway: starting the disk\n\
             chain {appliance_url}/boot/local-disk.efi || \
             echo Hardway: no disk with an EFI boot loader starts\n\
             exit\n"
        ),
    }
}

/// The menu for undeclared machines. Nobody there within 30 seconds means the disk.
pub fn menu_script(appliance_url: &str) -> String {
    format!(
        "#!ipxe\n\
         menu Hardway: no machine in cluster.yaml matches ${{netX/mac:hexhyp}}\n\
         item local-disk Start the disk of this machine\n\
         item discover Start the agent and show this machine to the operator\n\
         choose --timeout 30000 --default local-disk choice || set choice local-disk\n\
         chain --replace --autofree {appliance_url}/ipxe?{QUERY}&choice=${{choice}} || \
         chain --replace --autofree {appliance_url}/boot.ipxe\n"
    )
}

/// iPXE splits a line at white space, expands `${…}`, and takes `||` and `&&` as operators.
fn checked_argument(argument: &str) -> Result<&str, ScriptError> {
    let printable = argument
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'$');
    match argument {
        "" | "||" | "&&" => Err(ScriptError::UnsafeArgument(argument.to_owned())),
        _ if !printable => Err(ScriptError::UnsafeArgument(
            argument.escape_default().to_string(),
        )),
        _ => Ok(argument),
    }
}

fn meaningful(text: &str) -> Option<String> {
    let trimmed = text.trim();
    (!trimmed.is_empty()).then(|| trimmed.to_owned())
}

/// All-zero and all-one UUIDs name no machine.
pub(crate) fn meaningful_uuid(text: &str) -> Option<String> {
    let lower = text.trim().to_ascii_lowercase();
    let digits: Vec<u8> = lower.bytes().filter(|byte| *byte != b'-').collect();
    let is_uuid = digits.len() == 32 && digits.iter().all(u8::is_ascii_hexdigit);
    let is_placeholder = [b'0', b'f']
        .iter()
        .any(|filler| digits.iter().all(|digit| digit == filler));
    (is_uuid && !is_placeholder).then_some(lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://10.77.0.1";

    #[test]
    fn the_static_script_asks_until_there_is_an_answer() {
        assert_eq!(
            boot_script(URL),
            "#!ipxe\n\
             :ask\n\
             chain --replace --autofree http://10.77.0.1/ipxe?mac=${netX/mac:hexhyp}&uuid=${uuid}\
             &serial=${serial:uristring}&buildarch=${buildarch}&platform=${platform} || goto failed\n\
             :failed\n\
             echo Hardway: no script from http://10.77.0.1; trying again in 5 seconds\n\
             sleep 5\n\
             goto ask\n"
        );
    }

    #[test]
    fn the_agent_script_names_the_appliance_the_token_and_the_nic() {
        let script = agent_script(URL, "0123abcd", &["hardway.debug".to_owned()]).unwrap();
        let kernel = script
            .lines()
            .find(|line| line.starts_with("kernel "))
            .unwrap();
        assert_eq!(
            kernel,
            "kernel http://10.77.0.1/boot/vmlinuz initrd=agent.initramfs \
             hardway.url=http://10.77.0.1 hardway.token=0123abcd hardway.debug \
             BOOTIF=01-${netX/mac:hexhyp} console=tty0 console=ttyS0 no_timer_check || goto failed"
        );
    }

    #[test]
    fn nothing_breaks_out_of_a_kernel_line() {
        for argument in ["", "a b", "a\nreboot", "${serial}", "||", "&&", "a\0", "ü"] {
            let refused = agent_script(URL, "0123abcd", &[argument.to_owned()]);
            assert!(
                matches!(refused, Err(ScriptError::UnsafeArgument(_))),
                "{argument:?}"
            );
        }
        assert!(agent_script(URL, "0123\nshell", &[]).is_err());
    }

    #[test]
    fn every_script_is_one() {
        let scripts = [
            boot_script(URL),
            agent_script(URL, "0123abcd", &[]).unwrap(),
            local_disk_script(URL, Firmware::Bios),
            local_disk_script(URL, Firmware::Uefi),
            menu_script(URL),
        ];
        for script in scripts {
            assert!(
                script.starts_with("#!ipxe\n") && script.ends_with('\n'),
                "{script}"
            );
            assert!(
                script
                    .lines()
                    .all(|line| !line.is_empty() && !line.starts_with(' ')),
                "{script}"
            );
            let targets = script
                .split_whitespace()
                .zip(script.split_whitespace().skip(1));
            for (_, label) in targets.filter(|(word, _)| *word == "goto") {
                assert!(
                    script.contains(&format!("\n:{label}\n")),
                    "{label} in {script}"
                );
            }
        }
    }

    fn request() -> ScriptRequest {
        ScriptRequest {
            mac: "52-54-00-00-00-01".into(),
            uuid: "12345678-1234-5678-9ABC-DEF012345678".into(),
            serial: " S1 \n".into(),
            buildarch: "x86_64".into(),
            platform: "efi".into(),
            choice: String::new(),
        }
    }

    #[test]
    fn requests_become_clients() {
        let client = request().client().unwrap();
        assert_eq!(client.identity.macs, ["52:54:00:00:00:01".parse().unwrap()]);
        assert_eq!(client.identity.serial.as_deref(), Some("S1"));
        assert_eq!(
            client.identity.uuid.as_deref(),
            Some("12345678-1234-5678-9abc-def012345678")
        );
        for uuid in [
            "",
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "x",
        ] {
            let request = ScriptRequest {
                uuid: uuid.into(),
                ..request()
            };
            assert_eq!(request.client().unwrap().identity.uuid, None, "{uuid}");
        }
        let no_mac = ScriptRequest {
            mac: "${netX/mac}".into(),
            ..request()
        };
        assert!(matches!(no_mac.client(), Err(ScriptError::NoMac(_))));
        let odd = ScriptRequest {
            platform: "linux".into(),
            ..request()
        };
        assert!(matches!(odd.client(), Err(ScriptError::UnknownPlatform(_))));
    }
}
