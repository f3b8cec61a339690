//! The network segment between the VMs: a learning switch over stream unix sockets.
//!
//! QEMU's `-netdev stream` sends each frame as its length (u32, big-endian) and its bytes. A port
//! listens on a socket of its own, so that a VM which is switched off and on again comes back to the
//! same port. Each port has one thread that reads and one that writes behind a bounded queue: a
//! paused VM loses frames, as on a real switch, and delays nobody.

use std::collections::HashMap;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, Result};

use crate::capture::Capture;
use crate::frame::{self, Address, Dhcp};
use crate::loss::Loss;

/// Frames that wait for a slow reader before more are dropped.
const QUEUE: usize = 2048;

/// Who is behind a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortKind {
    /// A machine: everything passes.
    Machine,
    /// The way in from the host (see [`crate::host_port`]): its own DHCP and IPv6 services are kept
    /// off the segment, so that the machines see only the appliance's.
    Host,
}

/// A running segment. Dropping it ends its threads.
pub struct Segment {
    switch: Arc<Switch>,
    sockets: PathBuf,
}

impl Segment {
    /// Makes a segment whose sockets stand in `sockets` (a short path: the system's limit for a
    /// socket's name is 107 bytes) and whose pcap is written to `capture`.
    pub fn new(sockets: &Path, capture: &Path) -> Result<Self> {
        let capture =
            Capture::create(capture).with_context(|| format!("creating {}", capture.display()))?;
        let switch = Switch {
            ports: Mutex::default(),
            learned: Mutex::default(),
            capture: Mutex::new(capture),
            loss: Mutex::new(Loss::none()),
            to_damage: Mutex::default(),
            damaged: AtomicU64::new(0),
            dhcp_requests: AtomicU64::new(0),
            dhcp_replies: AtomicU64::new(0),
            closing: AtomicBool::new(false),
        };
        Ok(Self {
            switch: Arc::new(switch),
            sockets: sockets.to_owned(),
        })
    }

    /// Adds a port and gives the socket that its machine connects to.
    pub fn add_port(&self, name: &str, kind: PortKind) -> Result<PathBuf> {
        let socket = self.sockets.join(name);
        let listener = UnixListener::bind(&socket)
            .with_context(|| format!("listening on {}", socket.display()))?;
        let port = Arc::new(Port {
            name: name.to_owned(),
            kind,
            socket: socket.clone(),
            cut: AtomicBool::new(false),
            vlan: AtomicU16::new(0),
            speaks_tagged: AtomicBool::new(false),
            outgoing: Mutex::default(),
        });
        let index = {
            let mut ports = lock(&self.switch.ports);
            ports.push(Arc::clone(&port));
            ports.len() - 1
        };
        let switch = Arc::clone(&self.switch);
        thread::spawn(move || serve_port(&switch, &port, index, &listener));
        Ok(socket)
    }

    /// Pulls the cable of a port, or puts it back.
    pub fn set_cut(&self, name: &str, cut: bool) {
        if let Some(port) = self.port(name) {
            port.cut.store(cut, Ordering::Relaxed);
        }
    }

    /// Lets a port have the segment by a VLAN, too. The machine is spoken to as it speaks itself, since its
    /// firmware knows no tags.
    pub fn set_vlan(&self, name: &str, id: u16) {
        if let Some(port) = self.port(name) {
            port.vlan.store(id, Ordering::Relaxed);
        }
    }

    fn port(&self, name: &str) -> Option<Arc<Port>> {
        let ports = lock(&self.switch.ports);
        ports.iter().find(|port| port.name == name).cloned()
    }

    /// Loses frames at random from now on: `per_mille` of a thousand, by a generator started at
    /// `seed`. What the host sends and gets is spared: it is no part of what is tested.
    pub fn set_loss(&self, per_mille: u32, seed: u64) {
        *lock(&self.switch.loss) = Loss::new(per_mille, seed);
    }

    /// Damages one segment of a file on its way to a port, the next that is large enough.
    pub fn damage_next(&self, name: &str) {
        *lock(&self.switch.to_damage) = Some(name.to_owned());
    }

    /// How often that was done so far.
    pub fn damaged(&self) -> u64 {
        self.switch.damaged.load(Ordering::Relaxed)
    }

    /// DHCP messages that clients sent so far.
    pub fn dhcp_requests(&self) -> u64 {
        self.switch.dhcp_requests.load(Ordering::Relaxed)
    }

    /// DHCP messages that a server sent so far.
    pub fn dhcp_replies(&self) -> u64 {
        self.switch.dhcp_replies.load(Ordering::Relaxed)
    }

    /// Makes the capture complete up to now.
    pub fn flush_capture(&self) -> Result<()> {
        lock(&self.switch.capture)
            .flush()
            .context("writing the capture")
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.switch.closing.store(true, Ordering::Relaxed);
        for port in lock(&self.switch.ports).iter() {
            lock(&port.outgoing).take();
            // Wakes the accepting thread, which then sees that the segment closes. A port that is
            // not accepting is ended by its machine's end.
            let _ = UnixStream::connect(&port.socket);
        }
        // The capture is a diagnosis: failing to write its last bytes must not hide a test's result.
        let _ = lock(&self.switch.capture).flush();
    }
}

struct Switch {
    ports: Mutex<Vec<Arc<Port>>>,
    learned: Mutex<HashMap<Address, usize>>,
    capture: Mutex<Capture>,
    loss: Mutex<Loss>,
    /// The port whose next file is damaged.
    to_damage: Mutex<Option<String>>,
    damaged: AtomicU64,
    dhcp_requests: AtomicU64,
    dhcp_replies: AtomicU64,
    closing: AtomicBool,
}

struct Port {
    name: String,
    kind: PortKind,
    socket: PathBuf,
    cut: AtomicBool,
    /// The VLAN that is the segment itself, too; 0: none.
    vlan: AtomicU16,
    /// Whether the last that came of IPv4 had the VLAN's tag.
    speaks_tagged: AtomicBool,
    outgoing: Mutex<Option<SyncSender<Arc<[u8]>>>>,
}

impl Port {
    fn passes(&self, frame: &[u8]) -> bool {
        let is_kept_off =
            self.kind == PortKind::Host && (frame::dhcp(frame).is_some() || frame::is_ipv6(frame));
        !self.cut.load(Ordering::Relaxed) && !is_kept_off
    }

    fn send(&self, frame: &Arc<[u8]>) {
        if !self.passes(frame) {
            return;
        }
        let vlan = self.vlan.load(Ordering::Relaxed);
        let frame = match self.speaks_tagged.load(Ordering::Relaxed) {
            true => frame::tagged(frame, vlan).into(),
            false => Arc::clone(frame),
        };
        if let Some(queue) = lock(&self.outgoing).as_ref() {
            // A full queue drops the frame: that is what a switch does.
            let _ = queue.try_send(frame);
        }
    }

    /// A frame of the machine as the segment sees it.
    fn without_tag(&self, frame: Vec<u8>) -> Vec<u8> {
        let vlan = self.vlan.load(Ordering::Relaxed);
        if vlan == 0 {
            return frame;
        }
        let untagged = frame::untagged(&frame, vlan);
        let is_tagged = untagged.is_some();
        let frame = untagged.unwrap_or(frame);
        // What the link below a VLAN says by itself is IPv6 or LACP, and no answer is waited for.
        if frame::is_of_ipv4(&frame) {
            self.speaks_tagged.store(is_tagged, Ordering::Relaxed);
        }
        frame
    }
}

/// Accepts one machine after the other: each power-on of a VM is a new connection.
fn serve_port(switch: &Switch, port: &Port, index: usize, listener: &UnixListener) {
    while let Ok((stream, _)) = listener.accept() {
        if switch.closing.load(Ordering::Relaxed) {
            return;
        }
        let Ok(writer) = stream.try_clone() else {
            continue;
        };
        let (queue, frames) = sync_channel(QUEUE);
        *lock(&port.outgoing) = Some(queue);
        let writing = thread::spawn(move || write_frames(writer, &frames));
        // An error is the machine's end: the port waits for its next power-on.
        let _ = read_frames(switch, port, index, stream);
        lock(&port.outgoing).take();
        let _ = writing.join();
    }
}

fn read_frames(switch: &Switch, port: &Port, index: usize, stream: UnixStream) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(1 << 18, stream);
    let mut length = [0; 4];
    loop {
        reader.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > frame::LONGEST {
            return Err(io::Error::other(format!("a frame of {length} bytes")));
        }
        let mut frame = vec![0; length];
        reader.read_exact(&mut frame)?;
        let frame = port.without_tag(frame);
        if port.passes(&frame) {
            switch.forward(index, frame.into());
        }
    }
}

fn write_frames(stream: UnixStream, frames: &Receiver<Arc<[u8]>>) {
    let mut writer = BufWriter::with_capacity(1 << 18, stream);
    while let Ok(first) = frames.recv() {
        let mut next = Some(first);
        while let Some(frame) = next {
            let length = (frame.len() as u32).to_be_bytes();
            if writer.write_all(&length).is_err() || writer.write_all(&frame).is_err() {
                return;
            }
            next = frames.try_recv().ok();
        }
        if writer.flush().is_err() {
            return;
        }
    }
}

impl Switch {
    fn forward(&self, from: usize, frame: Arc<[u8]>) {
        let (Some(destination), Some(source)) = (frame::destination(&frame), frame::source(&frame))
        else {
            return;
        };
        if frame::is_for_the_next_station(destination) {
            return;
        }
        match frame::dhcp(&frame) {
            Some(Dhcp::Request) => self.dhcp_requests.fetch_add(1, Ordering::Relaxed),
            Some(Dhcp::Reply) => self.dhcp_replies.fetch_add(1, Ordering::Relaxed),
            None => 0,
        };
        // A full disk ends the capture, not the test.
        let _ = lock(&self.capture).record(&frame);
        let known = {
            let mut learned = lock(&self.learned);
            if !frame::is_group(source) {
                learned.insert(source, from);
            }
            learned.get(&destination).copied()
        };
        let ports = lock(&self.ports).clone();
        let is_host = |port: usize| {
            ports
                .get(port)
                .is_some_and(|port| port.kind == PortKind::Host)
        };
        let is_spared = is_host(from) || known.is_some_and(is_host);
        if !is_spared && lock(&self.loss).takes() {
            return;
        }
        let frame = match known.and_then(|known| ports.get(known)) {
            Some(port) => self.damage(frame, port),
            None => frame,
        };
        for (index, port) in ports.iter().enumerate() {
            if index != from && known.is_none_or(|known| known == index) {
                port.send(&frame);
            }
        }
    }

    fn damage(&self, frame: Arc<[u8]>, to: &Port) -> Arc<[u8]> {
        let mut wanted = lock(&self.to_damage);
        if wanted.as_ref() != Some(&to.name) {
            return frame;
        }
        let mut damaged = frame.to_vec();
        if !frame::damage(&mut damaged) {
            return frame;
        }
        wanted.take();
        self.damaged.fetch_add(1, Ordering::Relaxed);
        damaged.into()
    }
}

/// A thread that died while it held one of these locks left whole values behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
