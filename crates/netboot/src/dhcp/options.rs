//! The option set of an offer or acknowledgement.
//!
//! No option 60 `PXEClient` and no option 43 go to PXE firmware: with them, Intel's ROMs and edk2
//! look for a boot server on port 4011; without them, they take `siaddr` and `file` as BOOTP's.

use std::net::Ipv4Addr;

use hardway_model::cluster::{Cluster, Machine};

use super::packet::{MessageType, Reply, Request, code};
use crate::answer::Answer;
use crate::ipxe::appliance_url;

/// iPXE's `no-pxedhcp` (176) = 1, encapsulated in option 175: it does not wait 3 s for a proxy.
const NO_PROXY_WAIT: [u8; 3] = [176, 1, 1];

/// What a reply is made from.
#[derive(Debug, Clone)]
pub struct Content<'a> {
    /// The message that is answered.
    pub request: &'a Request,
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The declared machine that asks.
    pub machine: Option<&'a Machine>,
    /// The port of the appliance's HTTP service.
    pub http_port: u16,
    /// What the oracle says.
    pub answer: Answer,
}

impl Content<'_> {
    /// An offer or acknowledgement of `address`.
    pub fn lease(&self, kind: MessageType, address: Ipv4Addr) -> Reply {
        let seconds = u32::try_from(self.cluster.network.lease.as_secs()).unwrap_or(u32::MAX);
        // RFC 2131 section 4.4.5: T1 is half of the lease and T2 seven eighths.
        let rebinding = seconds - seconds / 8;
        let times = vec![
            (code::LEASE_TIME, seconds.to_be_bytes().to_vec()),
            (code::RENEWAL_TIME, (seconds / 2).to_be_bytes().to_vec()),
            (code::REBINDING_TIME, rebinding.to_be_bytes().to_vec()),
        ];
        self.reply(kind, address, times)
    }

    /// The acknowledgement of an INFORM: no address and no times (RFC 2131 section 4.3.5).
    pub fn information(&self) -> Reply {
        self.reply(MessageType::Ack, Ipv4Addr::UNSPECIFIED, Vec::new())
    }

    /// A refusal, with the reason in option 56.
    pub fn refusal(&self, reason: &str) -> Reply {
        let mut options = vec![self.server_identifier()];
        options.push((code::MESSAGE, clipped(reason)));
        options.extend(self.client_identifier());
        Reply {
            kind: MessageType::Nak,
            your_address: Ipv4Addr::UNSPECIFIED,
            next_server: Ipv4Addr::UNSPECIFIED,
            file: String::new(),
            options,
        }
    }

    fn reply(&self, kind: MessageType, your_address: Ipv4Addr, times: Vec<(u8, Vec<u8>)>) -> Reply {
        let boot = self.boot();
        let network = &self.cluster.network;
        let mut options = vec![self.server_identifier()];
        options.extend(times);
        options.push((code::SUBNET_MASK, network.netmask().octets().to_vec()));
        options.extend(boot.options);
        options.extend(addresses(code::ROUTER, network.gateway.as_slice()));
        options.extend(addresses(code::DOMAIN_NAME_SERVER, &[network.address]));
        options.extend(self.client_identifier());
        if let Some(machine) = self.machine {
            options.push((code::HOST_NAME, clipped(&machine.name)));
        }
        options.push((code::DOMAIN_NAME, clipped(&self.cluster.domain)));
        options.extend(addresses(code::NTP_SERVERS, &network.ntp));
        options.push((
            code::BROADCAST_ADDRESS,
            network.broadcast().octets().to_vec(),
        ));
        Reply {
            kind,
            your_address,
            next_server: boot.next_server,
            file: boot.file,
            options,
        }
    }

    fn boot(&self) -> Boot {
        let appliance = self.cluster.network.address;
        let url = appliance_url(self.cluster, self.http_port);
        match &self.answer {
            Answer::BootFile(file) => Boot {
                next_server: appliance,
                file: file.clone(),
                options: vec![
                    (code::BOOT_FILE, file.clone().into()),
                    (code::TFTP_SERVER, appliance.to_string().into()),
                ],
            },
            Answer::HttpBootFile(file) => Boot {
                next_server: appliance,
                file: String::new(),
                options: vec![
                    (code::VENDOR_CLASS, b"HTTPClient".to_vec()),
                    (code::BOOT_FILE, format!("{url}/boot/{file}").into()),
                ],
            },
            Answer::ScriptUrl => Boot {
                next_server: appliance,
                file: format!("{url}/boot.ipxe"),
                options: vec![
                    (code::BOOT_FILE, format!("{url}/boot.ipxe").into()),
                    (code::IPXE, NO_PROXY_WAIT.to_vec()),
                ],
            },
            Answer::AddressOnly(_) | Answer::Script(_) | Answer::Silence(_) => Boot {
                next_server: Ipv4Addr::UNSPECIFIED,
                file: String::new(),
                options: Vec::new(),
            },
        }
    }

    fn server_identifier(&self) -> (u8, Vec<u8>) {
        let address = self.cluster.network.address;
        (code::SERVER_IDENTIFIER, address.octets().to_vec())
    }

    /// Given back as it came (RFC 6842).
    fn client_identifier(&self) -> Option<(u8, Vec<u8>)> {
        let identifier = self.request.option(code::CLIENT_IDENTIFIER)?;
        Some((code::CLIENT_IDENTIFIER, identifier.to_vec()))
    }
}

/// What a reply says about booting.
struct Boot {
    next_server: Ipv4Addr,
    file: String,
    options: Vec<(u8, Vec<u8>)>,
}

fn addresses(code: u8, addresses: &[Ipv4Addr]) -> Option<(u8, Vec<u8>)> {
    let octets: Vec<u8> = addresses.iter().flat_map(Ipv4Addr::octets).collect();
    (!octets.is_empty()).then_some((code, octets))
}

/// Text that stays one option.
fn clipped(text: &str) -> Vec<u8> {
    text.bytes().take(255).collect()
}
