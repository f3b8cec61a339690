//! Real clients, recorded and played again: what each of them sent, and what it is answered, byte for
//! byte and in words.
//!
//! A client's messages come from `hardway-lab capture-clients` (see `README.md` beside this file). With
//! `HARDWAY_UPDATE_GOLDENS=1` in the environment what they mean and what they are answered is written
//! anew into the files; a reviewer then sees the difference.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hardway_model::cluster::{Cluster, parse};
use hardway_model::identity::{Identity, MacAddress};
use hardway_model::lifecycle::{MachineState, Timestamp};
use hardway_netboot::dhcp::{Input, Output, Service, World};

mod decode;

/// 2027-01-15 08:00 UTC.
const START: Timestamp = 1_800_000_000_000;
/// How long the service runs before the first message: it has looked then which addresses are free.
const AHEAD: Timestamp = 10_000;
/// How long it may think about an answer.
const PATIENCE: Timestamp = 1000;
const APPLIANCE: MacAddress = MacAddress([0x52, 0x54, 0, 0, 0, 0xfe]);
const LINE: usize = 32;

/// One message of a recording.
struct Message {
    at: u64,
    source: SocketAddrV4,
    port: u16,
    bytes: Vec<u8>,
}

#[test]
fn recorded_clients_get_these_replies() {
    let update = std::env::var_os("HARDWAY_UPDATE_GOLDENS").is_some();
    let mut names = Vec::new();
    for path in recordings() {
        let text = fs::read_to_string(&path).unwrap();
        let replayed = replay(&text);
        if update {
            fs::write(&path, &replayed).unwrap();
        }
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let first = text
            .lines()
            .zip(replayed.lines())
            .find(|(old, new)| old != new);
        let is_same = update || text == replayed;
        assert!(
            is_same,
            "{name} is answered otherwise, from here on: {first:?}\n\
             If that is right: HARDWAY_UPDATE_GOLDENS=1 cargo test -p hardway-netboot --test clients\n\
             {replayed}"
        );
        names.push(name);
    }
    let expected = [
        "dhclient",
        "isc-dhcp-relay",
        "ovmf-http-boot",
        "ovmf-pxe",
        "seabios-ipxe-rom",
        "systemd-networkd",
        "udhcpc",
    ];
    assert_eq!(names, expected);
}

fn recordings() -> Vec<PathBuf> {
    let entries = fs::read_dir(folder()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    paths.sort();
    paths
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

fn cluster() -> Arc<Cluster> {
    let text = fs::read_to_string(folder().join("cluster.yaml")).unwrap();
    match parse(&text, "cluster.yaml") {
        Ok(cluster) => Arc::new(cluster),
        Err(problems) => panic!("{problems}"),
    }
}

/// The recording's text as it should be: its messages, what they mean, and what they are answered now.
fn replay(text: &str) -> String {
    let mut replayed: String = text
        .lines()
        .take_while(|line| line.starts_with('#'))
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut player = Player::new();
    let messages = messages(text);
    for (index, message) in messages.iter().enumerate() {
        let next = messages.get(index + 1).map_or(u64::MAX, |next| next.at);
        let until = message.at.saturating_add(PATIENCE).min(next);
        let _ = writeln!(
            replayed,
            "\nrequest at {} ms from {} to port {}",
            message.at, message.source, message.port
        );
        show(&mut replayed, &message.bytes);
        let answered = player.play(message, until);
        let is_nothing = answered.is_empty();
        replayed.push_str(if is_nothing { "no answer\n" } else { &answered });
    }
    replayed
}

fn messages(text: &str) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    let mut is_request = false;
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("request at ") {
            let words: Vec<&str> = head.split_whitespace().collect();
            let [at, "ms", "from", source, "to", "port", port] = words[..] else {
                panic!("{line}");
            };
            is_request = true;
            messages.push(Message {
                at: at.parse().unwrap(),
                source: source.parse().unwrap(),
                port: port.parse().unwrap(),
                bytes: Vec::new(),
            });
        } else if let (true, Some(digits)) = (is_request, line.strip_prefix("  "))
            && !digits.starts_with('|')
        {
            let digit = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
            let bytes = (0..digits.len()).step_by(2).map(digit);
            messages.last_mut().unwrap().bytes.extend(bytes);
        } else if !line.starts_with("  ") {
            is_request = false;
        }
    }
    messages
}

/// Bytes, and what they mean.
fn show(text: &mut String, bytes: &[u8]) {
    for line in bytes.chunks(LINE) {
        let _ = writeln!(text, "  {}", decode::hex(line));
    }
    for line in decode::lines(bytes) {
        let _ = writeln!(text, "  | {line}");
    }
}

/// The service, and the clock that it goes by.
struct Player {
    service: Service,
    cluster: Arc<Cluster>,
    state: MachineState,
    now: Timestamp,
}

impl Player {
    fn new() -> Self {
        let mut player = Self {
            service: Service::new([], APPLIANCE),
            cluster: cluster(),
            state: MachineState::default(),
            now: START - AHEAD,
        };
        player.handle(Input::Timeout);
        player.wait(START, |_| false);
        player
    }

    /// What comes of a message until a moment, in milliseconds since the first one.
    fn play(&mut self, message: &Message, until: u64) -> String {
        self.wait(START.saturating_add(message.at), |_| false);
        let mut outputs = self.handle(Input::Packet {
            bytes: &message.bytes,
            source: message.source,
            port: message.port,
        });
        let is_sent = |output: &Output| matches!(output, Output::Send { .. });
        if !outputs.iter().any(is_sent) {
            outputs.extend(self.wait(START.saturating_add(until), is_sent));
        }
        let mut text = String::new();
        for output in &outputs {
            self.tell(&mut text, output);
        }
        text
    }

    /// Lets the time pass until a moment, or until something is done that is waited for.
    fn wait(&mut self, until: Timestamp, is_it: impl Fn(&Output) -> bool) -> Vec<Output> {
        let mut outputs = Vec::new();
        let mut turns = 0..10_000;
        while let Some(deadline) = self.service.deadline().filter(|deadline| *deadline < until) {
            assert!(turns.next().is_some(), "the service wakes without end");
            self.now = self.now.max(deadline);
            outputs.extend(self.handle(Input::Timeout));
            if outputs.iter().any(&is_it) {
                return outputs;
            }
        }
        self.now = self.now.max(until);
        outputs
    }

    fn handle(&mut self, input: Input<'_>) -> Vec<Output> {
        let cluster = Arc::clone(&self.cluster);
        let world = World {
            cluster: &cluster,
            http_port: 80,
            strangers: hardway_netboot::dhcp::Strangers::default(),
        };
        let state = &self.state;
        let find = |identity: &Identity| Some((cluster.identify(identity)?, state));
        self.service.handle(input, world, find, self.now)
    }

    /// What a client or an operator notices: not the search for free addresses, which other tests are
    /// for.
    fn tell(&self, text: &mut String, output: &Output) {
        let _ = match output {
            Output::StoreLease(lease) => {
                let seconds = lease.expires.saturating_sub(self.now) / 1000;
                let mac = lease.mac.map(|mac| mac.to_string()).unwrap_or_default();
                writeln!(text, "lease of {} to {mac} for {seconds} s", lease.address)
            }
            Output::Send {
                bytes,
                destination,
                from,
            } => {
                let _ = writeln!(text, "reply to {destination} from port {from}");
                show(text, bytes);
                Ok(())
            }
            Output::Notice {
                kind, text: why, ..
            } => writeln!(text, "notice {kind}: {why}"),
            Output::Ignored(why) => writeln!(text, "ignored: {why}"),
            Output::Probe(_) | Output::Observed { .. } => Ok(()),
        };
    }
}
