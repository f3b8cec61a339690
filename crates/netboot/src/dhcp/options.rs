//! The option set of a reply.
//!
//! A server's offer has no option 60 `PXEClient` and no option 43 for PXE firmware: with them, Intel's
//! ROMs and edk2 look for a boot server on port 4011; without them, they take `siaddr` and `file` as
//! BOOTP's. A proxy's offer has both for a BIOS, and option 60 alone for UEFI: see [`Content::boot_only`].

use std::net::Ipv4Addr;

use hardway_model::boot::{AGENT_IMAGE, Asker, FirmwareClass};
use hardway_model::cluster::{Cluster, Machine, Subnet};

use super::option_list::{self, END, OptionList};
use super::packet::{MessageType, Reply, Request, code};
use super::turn::server_identifier;
use crate::answer::Answer;
use crate::ipxe::appliance_url;

/// iPXE's `no-pxedhcp` (176) = 1, encapsulated in option 175: it does not wait 3 s for a proxy.
const NO_PROXY_WAIT: [u8; 3] = [176, 1, 1];
/// PXE 2.1 table 2-3, tag 6: `PXE_DISCOVERY_CONTROL`; bit 3 lets the client fetch the offer's boot file
/// at once, without discovering boot servers.
const DISCOVERY_CONTROL: (u8, [u8; 1]) = (6, [8]);
/// Tag 71, `PXE_BOOT_ITEM`: which boot server is asked; given back as it came.
const BOOT_ITEM: u8 = 71;

/// What a reply is made from.
#[derive(Debug, Clone)]
pub struct Content<'a> {
    /// The message that is answered.
    pub request: &'a Request,
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The network that the client is on.
    pub network: Subnet,
    /// The declared machine that asks.
    pub machine: Option<&'a Machine>,
    /// The port of the appliance's HTTP service.
    pub http_port: u16,
    /// What the oracle says.
    pub answer: &'a Answer,
}

impl Content<'_> {
    /// An offer or acknowledgement of `address`.
    pub fn lease(&self, kind: MessageType, address: Ipv4Addr) -> Reply {
        let seconds = u32::try_from(self.network.lease.as_secs()).unwrap_or(u32::MAX);
        self.reply(kind, address, Some(seconds))
    }

    /// The acknowledgement of an INFORM: no address and no times (RFC 2131 section 4.3.5).
    pub fn information(&self) -> Reply {
        self.reply(MessageType::Ack, Ipv4Addr::UNSPECIFIED, None)
    }

    /// A refusal, with the reason in option 56.
    pub fn refusal(&self, reason: &str) -> Reply {
        let mut options = OptionList::default();
        self.push_server(&mut options);
        options.push(code::MESSAGE, clipped(reason));
        self.push_echoes(&mut options);
        Reply {
            kind: MessageType::Nak,
            your_address: Ipv4Addr::UNSPECIFIED,
            next_server: Ipv4Addr::UNSPECIFIED,
            file: String::new(),
            options,
        }
    }

    /// A proxy's offer, or a boot server's acknowledgement (PXE 2.1 sections 2.2.3 and 2.2.6): what to
    /// boot, and no address.
    ///
    /// A BIOS needs `PXE_DISCOVERY_CONTROL` to take the file at once. UEFI goes without option 43: some
    /// of it drops a proxy's offer that wants discovery skipped; given none, it asks on port 4011 and
    /// takes the file from there.
    pub fn boot_only(&self, kind: MessageType) -> Reply {
        let mut options = OptionList::default();
        self.push_server(&mut options);
        let class: &[u8] = match self.answer {
            Answer::HttpBootFile(_) => b"HTTPClient",
            _ => b"PXEClient",
        };
        options.push(code::VENDOR_CLASS, class);
        if let Some(identifier) = self.request.option(code::MACHINE_IDENTIFIER) {
            options.push(code::MACHINE_IDENTIFIER, identifier);
        }
        let boot = self.boot();
        if let Some(file) = &boot.option {
            options.push(code::BOOT_FILE, file.as_bytes());
        }
        if let Some(vendor) = self.pxe_tags() {
            options.push(code::VENDOR_SPECIFIC, &vendor);
        }
        self.push_ways(&mut options);
        self.push_echoes(&mut options);
        Reply {
            kind,
            your_address: Ipv4Addr::UNSPECIFIED,
            next_server: boot.next_server,
            file: boot.file,
            options,
        }
    }

    fn pxe_tags(&self) -> Option<Vec<u8>> {
        let asker = super::client::client(self.request).program.asker();
        let bios = Asker::Firmware {
            class: Some(FirmwareClass::Bios),
        };
        if asker != bios {
            return None;
        }
        let mut tags = Vec::new();
        option_list::write(&mut tags, DISCOVERY_CONTROL.0, &DISCOVERY_CONTROL.1);
        let mut asked = OptionList::default();
        asked.read(
            self.request
                .option(code::VENDOR_SPECIFIC)
                .unwrap_or_default(),
        );
        if let Some(item) = asked.get(BOOT_ITEM).filter(|item| item.len() == 4) {
            option_list::write(&mut tags, BOOT_ITEM, item);
        }
        tags.push(END);
        Some(tags)
    }

    /// The most important options first: those that do not fit into what the client takes are left out
    /// from the end.
    fn reply(&self, kind: MessageType, your_address: Ipv4Addr, lease: Option<u32>) -> Reply {
        let mut options = OptionList::default();
        self.push_server(&mut options);
        if let Some(seconds) = lease {
            // RFC 2131 section 4.4.5: T1 is half of the lease and T2 seven eighths.
            let rebinding = seconds - seconds / 8;
            options.push(code::LEASE_TIME, &seconds.to_be_bytes());
            options.push(code::RENEWAL_TIME, &(seconds / 2).to_be_bytes());
            options.push(code::REBINDING_TIME, &rebinding.to_be_bytes());
        }
        options.push(code::SUBNET_MASK, &self.network.netmask().octets());
        let boot = self.boot();
        if matches!(self.answer, Answer::HttpBootFile(_)) {
            options.push(code::VENDOR_CLASS, b"HTTPClient");
        }
        if let Some(file) = &boot.option {
            options.push(code::BOOT_FILE, file.as_bytes());
        }
        self.push_ways(&mut options);
        self.push_network(&mut options);
        Reply {
            kind,
            your_address,
            next_server: boot.next_server,
            file: boot.file,
            options,
        }
    }

    fn push_network(&self, options: &mut OptionList) {
        let network = &self.cluster.network;
        if let Some(gateway) = self.network.gateway {
            options.push(code::ROUTER, &gateway.octets());
        }
        options.push(code::DOMAIN_NAME_SERVER, &network.address.octets());
        self.push_echoes(options);
        if let Some(machine) = self.machine {
            options.push(code::HOST_NAME, clipped(&machine.name));
        }
        options.push(code::DOMAIN_NAME, clipped(&self.cluster.domain));
        if !network.ntp.is_empty() {
            let servers: Vec<u8> = network.ntp.iter().flat_map(Ipv4Addr::octets).collect();
            options.push(code::NTP_SERVERS, &servers);
        }
        options.push(code::BROADCAST_ADDRESS, &self.network.broadcast().octets());
    }

    /// How the boot file is fetched, beside its name.
    fn push_ways(&self, options: &mut OptionList) {
        let appliance = self.cluster.network.address;
        match self.answer {
            Answer::BootFile(_) => {
                options.push(code::TFTP_SERVER, appliance.to_string().as_bytes());
                // Only who asks for it: the code had other meanings before RFC 5859.
                if self.request.asks_for(code::TFTP_SERVER_ADDRESS) {
                    options.push(code::TFTP_SERVER_ADDRESS, &appliance.octets());
                }
            }
            Answer::ScriptUrl => options.push(code::IPXE, &NO_PROXY_WAIT),
            _ => {}
        }
    }

    fn boot(&self) -> Boot {
        let next_server = self.cluster.network.address;
        let url = || appliance_url(self.cluster, self.http_port);
        let (file, option) = match self.answer {
            Answer::BootFile(file) => (file.clone(), Some(file.clone())),
            // A URL would not fit into `file` where names are long, and HTTP Boot reads the option.
            Answer::HttpBootFile(file) => (String::new(), Some(self.http_file(&url(), file))),
            Answer::ScriptUrl => {
                let script = format!("{}/boot.ipxe", url());
                (script.clone(), Some(script))
            }
            Answer::AddressOnly(_) | Answer::Script(_) | Answer::Silence(_) => {
                return Boot {
                    next_server: Ipv4Addr::UNSPECIFIED,
                    file: String::new(),
                    option: None,
                };
            }
        };
        Boot {
            next_server,
            file,
            option,
        }
    }

    /// The agent's image is made for the machine that the URL names.
    fn http_file(&self, url: &str, file: &str) -> String {
        match self.request.mac.filter(|_| file == AGENT_IMAGE) {
            Some(mac) => format!("{url}/uki/{}/{file}", mac.hyphenated()),
            None => format!("{url}/boot/{file}"),
        }
    }

    fn push_server(&self, options: &mut OptionList) {
        let address = server_identifier(self.request, &self.cluster.network);
        options.push(code::SERVER_IDENTIFIER, &address.octets());
    }

    /// What is given back as it came: the client's identifier (RFC 6842) and its choice of a subnet
    /// (RFC 3011 section 2.1).
    fn push_echoes(&self, options: &mut OptionList) {
        for code in [code::CLIENT_IDENTIFIER, code::SUBNET_SELECTION] {
            if let Some(value) = self.request.option(code) {
                options.push(code, value);
            }
        }
    }
}

/// What a reply says about booting.
struct Boot {
    next_server: Ipv4Addr,
    /// The message's `file` field.
    file: String,
    /// Option 67.
    option: Option<String>,
}

/// Text that stays one option.
fn clipped(text: &str) -> &[u8] {
    let bytes = text.as_bytes();
    &bytes[..bytes.len().min(255)]
}
