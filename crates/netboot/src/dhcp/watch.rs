//! Other DHCP servers: whether there are any, and so what this appliance is.
//!
//! The appliance asks as a client does, at the start and every ten minutes, and hears what servers
//! say in between. A search costs another server an open offer and nothing else.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use hardway_model::cluster::DhcpMode;
use hardway_model::identity::MacAddress;
use hardway_model::lifecycle::{Severity, Timestamp};

use super::code;
use super::message::{CLIENT_PORT, Destination, Output, SERVER_PORT};
use super::option_list::{self, END};
use super::packet::MessageType;
use super::server_message::ServerMessage;

/// How often a search asks, and how long it waits after each question, in milliseconds. Firmware asks
/// for longer than the three seconds in which nobody is answered.
const QUESTIONS: u32 = 3;
const PATIENCE: u64 = 1_000;
/// From one search to the next, in milliseconds.
const AGAIN: u64 = 600_000;
/// How long a server is not told of again, in milliseconds.
const TOLD_FOR: u64 = 3_600_000;
/// How long a server counts that is not heard of any more, in milliseconds: three searches.
const REMEMBERED_FOR: u64 = 3 * AGAIN;
/// How long after its decision `auto` still yields to a server that answers its search, in milliseconds:
/// dnsmasq pings an address for three seconds before its first offer.
const YIELDS_FOR: u64 = 60_000;
/// Servers that are remembered; liars could make up any number.
const MOST_SERVERS: usize = 64;

/// What this appliance does on the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Nothing.
    Off,
    /// It is not known yet whether another server is there.
    Undecided,
    /// Gives addresses and boot files.
    Server,
    /// Gives boot files beside another server.
    Proxy,
}

/// What is known of other servers.
#[derive(Debug, Clone)]
pub struct Watch {
    mac: MacAddress,
    mode: DhcpMode,
    /// What `auto` came to.
    chosen: Option<Role>,
    /// Until when a late answer to the search still changes it.
    yields_until: Timestamp,
    servers: BTreeMap<Ipv4Addr, Other>,
    /// Questions of the search that is under way.
    asked: u32,
    due: Timestamp,
    /// Whether it was told that nobody gives addresses.
    told_nobody: bool,
}

/// Another server.
#[derive(Debug, Clone, Copy)]
struct Other {
    mac: Option<MacAddress>,
    heard: Timestamp,
    /// When it was told of last, and whether with its hardware address.
    told: Option<(Timestamp, bool)>,
    gives_addresses: bool,
}

impl Watch {
    /// For the appliance with this hardware address.
    pub fn new(mac: MacAddress) -> Self {
        Self {
            mac,
            mode: DhcpMode::Off,
            chosen: None,
            yields_until: 0,
            servers: BTreeMap::new(),
            asked: 0,
            due: 0,
            told_nobody: false,
        }
    }

    /// Takes over the mode of a new cluster.yaml. Another one than before begins anew.
    pub fn arrange(&mut self, mode: DhcpMode, now: Timestamp) {
        if mode != self.mode {
            *self = Self {
                mode,
                due: now,
                ..Self::new(self.mac)
            };
        }
    }

    /// What this appliance is now.
    pub fn role(&self) -> Role {
        match self.mode {
            DhcpMode::Off => Role::Off,
            DhcpMode::Server => Role::Server,
            DhcpMode::Proxy => Role::Proxy,
            DhcpMode::Auto => self.chosen.unwrap_or(Role::Undecided),
        }
    }

    /// How the role came about, for the timeline of a machine that is made an offer.
    pub fn circumstance(&self) -> String {
        match (self.role(), self.mode) {
            (Role::Proxy, _) => match self.giver() {
                Some((server, _)) => format!(" as proxy beside the DHCP server {server}"),
                None => " as proxy beside another DHCP server".to_owned(),
            },
            (Role::Server, DhcpMode::Auto) => ", no other DHCP server being there".to_owned(),
            _ => String::new(),
        }
    }

    /// When something is due.
    pub fn due(&self) -> Option<Timestamp> {
        (self.mode != DhcpMode::Off).then_some(self.due)
    }

    /// Forgets every moment that was measured by a clock that has been set back since.
    pub fn restart_clock(&mut self, now: Timestamp) {
        self.due = self.due.min(now);
        self.yields_until = self.yields_until.min(now);
        for server in self.servers.values_mut() {
            server.heard = server.heard.min(now);
            server.told = server
                .told
                .map(|(told, with_mac)| (told.min(now), with_mac));
        }
    }

    /// Asks, or draws its conclusion.
    pub fn timeout(&mut self, now: Timestamp, outputs: &mut Vec<Output>) {
        if self.mode == DhcpMode::Off || now < self.due {
            return;
        }
        if self.asked < QUESTIONS {
            self.asked += 1;
            self.due = now.saturating_add(PATIENCE);
            outputs.push(self.question(now));
        } else {
            self.conclude(now, outputs);
        }
    }

    fn conclude(&mut self, now: Timestamp, outputs: &mut Vec<Output>) {
        self.asked = 0;
        self.due = now.saturating_add(AGAIN);
        self.servers
            .retain(|_, server| now.saturating_sub(server.heard) < REMEMBERED_FOR);
        let giver = self.giver();
        if self.mode == DhcpMode::Auto && self.chosen.is_none() {
            self.yields_until = now.saturating_add(YIELDS_FOR);
            self.choose(giver, outputs);
        } else if self.role() == Role::Proxy && giver.is_none() && !self.told_nobody {
            self.told_nobody = true;
            outputs.push(Output::Notice {
                kind: "mode",
                severity: Severity::Warning,
                text:
                    "this appliance gives boot files only, and no DHCP server that gives addresses \
                       answers; start one, or set `network.dhcp.mode: server`"
                        .to_owned(),
            });
        }
    }

    fn choose(&mut self, giver: Option<(Ipv4Addr, Other)>, outputs: &mut Vec<Output>) {
        let (role, text) = match giver {
            Some((address, other)) => (
                Role::Proxy,
                format!(
                    "auto: {} gives addresses, so this appliance gives boot files beside it",
                    Named(address, other.mac)
                ),
            ),
            None => (
                Role::Server,
                "auto: no DHCP server answered, so this appliance gives addresses and boot files"
                    .to_owned(),
            ),
        };
        self.chosen = Some(role);
        outputs.push(Output::Notice {
            kind: "mode",
            severity: Severity::Info,
            text,
        });
    }

    /// The server that gives addresses and was heard last.
    fn giver(&self) -> Option<(Ipv4Addr, Other)> {
        let givers = self
            .servers
            .iter()
            .filter(|(_, other)| other.gives_addresses);
        givers
            .max_by_key(|(_, other)| other.heard)
            .map(|(address, other)| (*address, *other))
    }

    /// A server was heard on the segment; gives whether it is a foreign one that answers clients of
    /// this appliance, and in which words.
    pub fn heard(
        &mut self,
        message: &ServerMessage,
        (source, mac): (Ipv4Addr, MacAddress),
        now: Timestamp,
        outputs: &mut Vec<Output>,
    ) -> Option<String> {
        let server = message.server.unwrap_or(source);
        let gives_addresses =
            message.kind == MessageType::Nak || !message.your_address.is_unspecified();
        self.note(server, Some(mac), gives_addresses, now);
        if self.mode == DhcpMode::Auto && self.chosen.is_none() && gives_addresses {
            self.conclude(now, outputs);
            return None;
        }
        let answers_the_search = message.client == self.mac && now < self.yields_until;
        if self.chosen == Some(Role::Server) && gives_addresses && answers_the_search {
            self.choose(self.giver(), outputs);
            return None;
        }
        let did = match message.kind {
            MessageType::Nak => "refused an address".to_owned(),
            _ if gives_addresses => format!("offered {}", message.your_address),
            _ => "offered a boot file".to_owned(),
        };
        let role = self.role();
        let is_foreign = role == Role::Server || (role == Role::Proxy && !gives_addresses);
        if !is_foreign {
            return None;
        }
        let seen = format!("{} {did}", Named(server, Some(mac)));
        self.tell(
            server,
            &format!("{seen} to {}", message.client),
            now,
            outputs,
        );
        Some(seen)
    }

    /// A client named another server as the one whose offer it takes.
    pub fn heard_of(
        &mut self,
        server: Ipv4Addr,
        client: &impl fmt::Display,
        now: Timestamp,
        outputs: &mut Vec<Output>,
    ) -> Option<String> {
        self.note(server, None, true, now);
        if self.role() != Role::Server {
            return None;
        }
        let mac = self.servers.get(&server).and_then(|other| other.mac);
        let seen = format!("the offer of {} was taken", Named(server, mac));
        self.tell(server, &format!("{seen} by {client}"), now, outputs);
        Some(seen)
    }

    fn note(
        &mut self,
        server: Ipv4Addr,
        mac: Option<MacAddress>,
        gives_addresses: bool,
        now: Timestamp,
    ) {
        if self.servers.len() >= MOST_SERVERS && !self.servers.contains_key(&server) {
            let oldest = self.servers.iter().min_by_key(|(_, other)| other.heard);
            if let Some(oldest) = oldest.map(|(address, _)| *address) {
                self.servers.remove(&oldest);
            }
        }
        let other = self.servers.entry(server).or_insert(Other {
            mac,
            heard: now,
            told: None,
            gives_addresses,
        });
        other.heard = now;
        other.mac = mac.or(other.mac);
        other.gives_addresses |= gives_addresses;
        self.told_nobody &= !gives_addresses;
    }

    /// Once an hour for a server; again when its hardware address is known at last.
    fn tell(&mut self, server: Ipv4Addr, seen: &str, now: Timestamp, outputs: &mut Vec<Output>) {
        let Some(other) = self.servers.get_mut(&server) else {
            return;
        };
        let with_mac = other.mac.is_some();
        let known = other.told.is_some_and(|(told, told_with_mac)| {
            now.saturating_sub(told) < TOLD_FOR && (told_with_mac || !with_mac)
        });
        if known {
            return;
        }
        other.told = Some((now, with_mac));
        outputs.push(Output::Notice {
            kind: "foreign-server",
            severity: Severity::Warning,
            text: format!("another DHCP server is on this network: {seen}"),
        });
    }

    /// Whether a packet is this appliance's own question, which broadcasts bring back.
    pub fn is_own(&self, mac: Option<MacAddress>) -> bool {
        mac == Some(self.mac)
    }

    /// A DISCOVER from the appliance's own hardware address, whose answer has to be broadcast.
    fn question(&self, now: Timestamp) -> Output {
        let mut bytes = vec![1, 1, 6, 0];
        bytes.extend_from_slice(&(now as u32).to_be_bytes());
        bytes.extend_from_slice(&[0, 0, 0x80, 0]);
        bytes.resize(28, 0);
        bytes.extend_from_slice(&self.mac.0);
        bytes.resize(236, 0);
        bytes.extend_from_slice(&[99, 130, 83, 99]);
        option_list::write(
            &mut bytes,
            code::MESSAGE_TYPE,
            &[MessageType::Discover as u8],
        );
        let parameters = [code::SUBNET_MASK, code::ROUTER, code::LEASE_TIME];
        option_list::write(&mut bytes, code::PARAMETER_LIST, &parameters);
        bytes.push(END);
        bytes.resize(300, 0);
        Output::Send {
            bytes,
            destination: Destination::Broadcast(SERVER_PORT),
            from: CLIENT_PORT,
        }
    }
}

/// A server in an operator's words: `10.77.0.9 (52:54:00:00:00:09)`.
struct Named(Ipv4Addr, Option<MacAddress>);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(mac) => write!(f, "{} ({mac})", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}
