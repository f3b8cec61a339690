//! What was said on the wire while each machine booted, kept in memory for a packet analyser.
//!
//! A frame belongs to the stations that sent and received it, and a DHCP message to the client that it
//! is about, even where it is broadcast or relayed. Every station has two rings: what is said (DHCP,
//! ARP, ICMP, requests, the beginning and the end of connections) and the bulk of transfers, so that
//! megabytes of an initramfs never push out the exchange that led to them.

use std::collections::{HashMap, VecDeque};

use hardway_model::identity::MacAddress;
use hardway_model::lifecycle::Timestamp;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Stations at most; the one that has been quiet for longest makes way.
    pub stations: usize,
    /// Bytes of one station at most, a quarter of them for the bulk of transfers.
    pub per_station: usize,
    /// Bytes in all at most.
    pub total: usize,
}

impl Default for Limits {
    /// 16 MiB for the rack: 64 KiB for each of 256 machines that boot at once, which is what an
    /// appliance of 1 GB can spare.
    fn default() -> Self {
        Self {
            stations: 2048,
            per_station: 64 << 10,
            total: 16 << 20,
        }
    }
}

/// Bytes kept of a frame that says something: a DHCP message with all its options fits.
const LONGEST_SAID: usize = 1514;
/// Bytes kept of a frame of a transfer: its headers, and what a first look needs.
const LONGEST_BULK: usize = 96;
/// What a frame costs beside its bytes.
const FRAME_COST: usize = size_of::<Frame>();

/// The recordings of every station.
#[derive(Debug, Clone, Default)]
pub struct Recorder {
    limits: Limits,
    /// Stations that every machine speaks with, as the appliance itself: none of theirs is a machine.
    ignored: Vec<MacAddress>,
    stations: HashMap<MacAddress, Recording>,
    /// Bytes in all.
    size: usize,
    /// Frames recorded ever: the order of frames of one millisecond.
    count: u64,
}

/// One station's frames.
#[derive(Debug, Clone, Default)]
struct Recording {
    said: VecDeque<Frame>,
    bulk: VecDeque<Frame>,
    said_size: usize,
    bulk_size: usize,
    /// The count of its latest frame.
    latest: u64,
}

#[derive(Debug, Clone)]
struct Frame {
    order: u64,
    time: Timestamp,
    /// On the wire.
    length: u32,
    bytes: Box<[u8]>,
}

impl Frame {
    fn cost(&self) -> usize {
        self.bytes.len() + FRAME_COST
    }
}

impl Recorder {
    /// An empty recorder.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Keeps no recording of this station itself: the appliance, with which all the others speak.
    pub fn ignore(&mut self, station: MacAddress) {
        if !self.ignored.contains(&station) {
            self.ignored.push(station);
        }
        if let Some(recording) = self.stations.remove(&station) {
            self.size -= recording.size();
        }
    }

    /// Records an Ethernet frame, of which `frame` may be only the beginning. `length` is its length
    /// on the wire, in bytes.
    pub fn record(&mut self, frame: &[u8], length: usize, now: Timestamp) {
        let Some(header) = Header::read(frame) else {
            return;
        };
        let longest = match header.is_bulk {
            true => LONGEST_BULK,
            false => LONGEST_SAID,
        };
        let kept = &frame[..frame.len().min(longest)];
        for (index, station) in header.stations.iter().enumerate() {
            let Some(station) = *station else { continue };
            let is_repeated = header.stations[..index].contains(&Some(station));
            if is_repeated || self.ignored.contains(&station) {
                continue;
            }
            self.count += 1;
            let frame = Frame {
                order: self.count,
                time: now,
                // A jumbo frame has some nine thousand bytes.
                length: u32::try_from(length.max(kept.len())).unwrap_or(u32::MAX),
                bytes: kept.into(),
            };
            self.keep(station, header.is_bulk, frame);
        }
    }

    /// The frames of these stations in order of time, as a file for a packet analyser: libpcap's
    /// classic format (draft-ietf-opsawg-pcap-03), microseconds, little-endian, LINKTYPE_ETHERNET.
    pub fn pcap(&self, stations: &[MacAddress]) -> Vec<u8> {
        let mut frames: Vec<&Frame> = stations
            .iter()
            .enumerate()
            .filter(|(index, station)| !stations[..*index].contains(station))
            .filter_map(|(_, station)| self.stations.get(station))
            .flat_map(|recording| recording.said.iter().chain(&recording.bulk))
            .collect();
        frames.sort_by_key(|frame| frame.order);

        let mut file =
            Vec::with_capacity(24 + frames.iter().map(|f| 16 + f.bytes.len()).sum::<usize>());
        let snap_length = LONGEST_SAID as u32;
        file.extend(0xa1b2_c3d4_u32.to_le_bytes());
        file.extend([2, 0, 4, 0]); // version 2.4
        file.extend([0; 8]); // time zone and accuracy, which nobody uses
        file.extend(snap_length.to_le_bytes());
        file.extend(1_u32.to_le_bytes()); // LINKTYPE_ETHERNET
        for frame in frames {
            let seconds = (frame.time / 1000) as u32; // until 2106
            let microseconds = (frame.time % 1000) as u32 * 1000;
            for field in [
                seconds,
                microseconds,
                frame.bytes.len() as u32,
                frame.length,
            ] {
                file.extend(field.to_le_bytes());
            }
            file.extend(&frame.bytes);
        }
        file
    }

    /// Bytes of memory that the recordings take.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Frames that are kept of a station.
    pub fn frames(&self, station: MacAddress) -> usize {
        let recording = self.stations.get(&station);
        recording.map_or(0, |recording| recording.said.len() + recording.bulk.len())
    }

    fn keep(&mut self, station: MacAddress, is_bulk: bool, frame: Frame) {
        let cost = frame.cost();
        let share = match is_bulk {
            true => self.limits.per_station / 4,
            false => self.limits.per_station / 4 * 3,
        };
        if cost > share.min(self.limits.total) {
            return;
        }
        while !self.stations.contains_key(&station)
            && self.stations.len() >= self.limits.stations.max(1)
        {
            if !self.forget_the_quietest(None) {
                return;
            }
        }
        let recording = self.stations.entry(station).or_default();
        self.size += cost;
        self.size -= recording.push(is_bulk, frame, share);
        while self.size > self.limits.total && self.forget_the_quietest(Some(station)) {}
        // One station alone may be over the total only where the limits contradict each other.
        while self.size > self.limits.total {
            let Some(recording) = self.stations.get_mut(&station) else {
                break;
            };
            self.size -= recording.drop_oldest();
        }
    }

    /// Tells whether there was one beside `spared`. An eighth of the stations goes at once, so that
    /// thousands of new ones do not look through all the others for each.
    fn forget_the_quietest(&mut self, spared: Option<MacAddress>) -> bool {
        let others = self
            .stations
            .iter()
            .filter(|(mac, _)| Some(**mac) != spared);
        let mut quiet: Vec<(u64, MacAddress)> = others
            .map(|(mac, recording)| (recording.latest, *mac))
            .collect();
        let count = quiet.len().div_ceil(8);
        quiet.sort_unstable();
        for (_, mac) in &quiet[..count] {
            if let Some(recording) = self.stations.remove(mac) {
                self.size -= recording.size();
            }
        }
        count > 0
    }
}

impl Recording {
    fn size(&self) -> usize {
        self.said_size + self.bulk_size
    }

    /// Tells how many bytes made way.
    fn push(&mut self, is_bulk: bool, frame: Frame, share: usize) -> usize {
        self.latest = frame.order;
        let (ring, size) = match is_bulk {
            true => (&mut self.bulk, &mut self.bulk_size),
            false => (&mut self.said, &mut self.said_size),
        };
        *size += frame.cost();
        ring.push_back(frame);
        let mut freed = 0;
        while *size > share
            && let Some(oldest) = ring.pop_front()
        {
            *size -= oldest.cost();
            freed += oldest.cost();
        }
        freed
    }

    /// Tells how many bytes made way.
    fn drop_oldest(&mut self) -> usize {
        let (ring, size) = match self.bulk.is_empty() {
            true => (&mut self.said, &mut self.said_size),
            false => (&mut self.bulk, &mut self.bulk_size),
        };
        let freed = ring.pop_front().map_or(0, |oldest| oldest.cost());
        *size -= freed;
        freed
    }
}

/// What the recorder has to know of a frame.
struct Header {
    /// Sender, receiver and the client that a DHCP message is about.
    stations: [Option<MacAddress>; 3],
    is_bulk: bool,
}

const IPV4: [u8; 2] = [0x08, 0x00];
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Ports on which little is said, and all of it matters: DNS, DHCP server and client, TFTP requests,
/// NTP, PXE boot server.
const TALKING_PORTS: [u16; 6] = [53, 67, 68, 69, 123, 4011];
/// The agent's name in its requests (User-Agent, RFC 9110 section 10.1.5).
const AGENT: &[u8] = b"hardway-agent/";
/// FIN, SYN and RST (RFC 9293 section 3.1).
const BEGIN_OR_END: u8 = 0x07;

impl Header {
    /// `None` for what is no Ethernet frame.
    fn read(frame: &[u8]) -> Option<Self> {
        let receiver = station(frame.get(..6)?);
        let sender = station(frame.get(6..12)?);
        let mut header = Self {
            stations: [sender, receiver, None],
            is_bulk: false,
        };
        if frame.get(12..14)? != IPV4 {
            return Some(header);
        }
        let packet = &frame[14..];
        let header_length = packet
            .first()
            .map_or(0, |byte| usize::from(byte & 0x0f) * 4);
        let (Some(protocol), Some(payload)) = (packet.get(9), packet.get(header_length..)) else {
            return Some(header);
        };
        match *protocol {
            UDP => header.read_udp(payload),
            TCP => header.read_tcp(payload),
            _ => {}
        }
        Some(header)
    }

    fn read_udp(&mut self, datagram: &[u8]) {
        let ports = [0, 2].map(|offset| port(datagram, offset));
        // Data and acknowledgements of TFTP go between ports of the transfer's own. A request, an
        // option acknowledgement or an error is short and says something.
        let opcode = port(datagram, 8);
        self.is_bulk =
            !ports.iter().any(|port| TALKING_PORTS.contains(port)) && matches!(opcode, 3 | 4);
        if ports.iter().all(|port| matches!(port, 67 | 68 | 4011))
            // chaddr: 28 bytes into the message (RFC 2131 section 2).
            && let Some(client) = datagram.get(8 + 28..8 + 34)
        {
            self.stations[2] = station(client);
        }
    }

    fn read_tcp(&mut self, segment: &[u8]) {
        let flags = segment.get(13).copied().unwrap_or_default();
        let header_length = segment.get(12).map_or(0, |byte| usize::from(byte >> 4) * 4);
        let payload = segment.get(header_length..).unwrap_or_default();
        // The first segment of a request or of an answer begins with a letter of its method or with
        // `HTTP`; an initramfs may by chance, and is cut at the ring's share then.
        let speaks = [&b"GET "[..], b"HEAD", b"POST", b"PUT ", b"HTTP"]
            .iter()
            .any(|word| payload.starts_with(word));
        // What the agent does has lines of its own on the timeline, and it asks for an image's chunks by
        // hundreds of requests.
        let is_agent = payload.windows(AGENT.len()).any(|part| part == AGENT);
        self.is_bulk = flags & BEGIN_OR_END == 0 && (!speaks || is_agent);
    }
}

/// 0 where the packet is shorter.
fn port(bytes: &[u8], offset: usize) -> u16 {
    let pair = bytes.get(offset..offset + 2);
    pair.map_or(0, |pair| u16::from_be_bytes([pair[0], pair[1]]))
}

/// A station's own address: neither a group's nor nobody's.
fn station(bytes: &[u8]) -> Option<MacAddress> {
    let octets: [u8; 6] = bytes.try_into().ok()?;
    let is_group = octets[0] & 1 == 1;
    (!is_group && octets != [0; 6]).then_some(MacAddress(octets))
}

#[cfg(test)]
mod tests;
