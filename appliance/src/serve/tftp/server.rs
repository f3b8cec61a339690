//! The loop: receive, decide, send.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hardway_netboot::tftp::{
    AskedAgain, ErrorCode, Output, Refusal, Request, Transfer, encode_error,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::datagrams::{self, Receiver, Sender};
use super::doors::{Composed, Doors};
use super::packets::{Pages, Source};
use super::pause::Pause;
use super::{Ended, Told};
use crate::serve::boot_files::Missing;
use crate::serve::content::Content;
use crate::serve::socket;

/// Transfers at once, in all. Then the one that has been silent for longest makes room.
const MOST_TRANSFERS: usize = 4096;
/// Transfers at once to one address. Then the one of them that has been silent for longest makes room:
/// a client that comes back on another port has forgotten its earlier requests.
const MOST_OF_ONE: usize = 64;
/// Files that are being composed at once; who asks beyond that asks again.
const MOST_COMPOSED: usize = 256;
/// How often timers are looked at, in milliseconds. They are 100 ms and longer.
const TICK: u64 = 20;
/// How often new requests are looked for while transfers keep the loop busy.
const REQUESTS: Duration = Duration::from_micros(50);

/// A transfer, and what it sends.
struct Running {
    transfer: Transfer,
    source: Source,
    request: Request,
    began: u64,
    /// When a packet of the client last came.
    heard: u64,
    /// When [`Transfer::poll`] is to be called, if nothing comes before.
    deadline: u64,
}

/// What came.
struct Ready {
    packets: bool,
    /// Requests, closed ports, files that were made.
    others: bool,
}

/// The service on one address.
pub struct Server {
    listener: UdpSocket,
    socket: UdpSocket,
    doors: Doors,
    address: Ipv4Addr,
    sender: Sender,
    pages: Pages,
    pause: Pause,
    transfers: HashMap<SocketAddrV4, Running>,
    /// Who waits for a file that is being made.
    waiting: HashSet<SocketAddrV4>,
    start: Instant,
    /// When requests were last looked for.
    looked: Instant,
    /// When the loop last had nothing more to do.
    idle: Instant,
    /// When timers are looked at next, in milliseconds since the start.
    tick: u64,
}

impl Server {
    /// `listener` takes requests, `socket` carries transfers.
    pub fn new(
        listener: UdpSocket,
        socket: UdpSocket,
        doors: Doors,
        address: Ipv4Addr,
    ) -> anyhow::Result<Self> {
        for socket in [&listener, &socket] {
            datagrams::enlarge_buffers(socket);
        }
        datagrams::report_closed_ports(&socket).context("asking for ICMP errors")?;
        let now = Instant::now();
        Ok(Self {
            listener,
            socket,
            doors,
            address,
            sender: Sender::new(),
            pages: Pages::default(),
            pause: Pause::new(),
            transfers: HashMap::new(),
            waiting: HashSet::new(),
            start: now,
            looked: now,
            idle: now,
            tick: 0,
        })
    }

    /// Serves until it is told to stop or a socket fails.
    pub fn run(mut self) -> anyhow::Result<()> {
        let mut received = Receiver::new();
        let mut requests = Receiver::new();
        loop {
            let ready = self.wait(&mut received)?;
            if self.doors.bell.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            if ready.packets {
                self.take_packets(&received);
            }
            if ready.others {
                self.looked = Instant::now();
                // Before requests: a client that closed its port may have opened it again for the next.
                self.take_closed_ports();
                self.take_requests(&mut requests, &mut received)?;
                self.take_composed();
            }
            self.look_at_timers();
            self.sender.flush(&self.socket);
            self.idle = Instant::now();
        }
    }

    /// Waits for anything, and receives packets of transfers.
    fn wait(&mut self, received: &mut Receiver) -> anyhow::Result<Ready> {
        let context = "receiving TFTP";
        let packets = match self.pause.awake().is_zero() {
            // More of them need no waiting.
            true => received.is_full() && received.receive(&self.socket).context(context)?,
            false => {
                let look = || received.receive(&self.socket);
                self.pause.look(look).context(context)?
            }
        };
        if packets {
            self.pause.arrived(self.idle.elapsed());
            let others = self.looked.elapsed() >= REQUESTS;
            return Ok(Ready { packets, others });
        }
        let others = self.sleep()?;
        let packets = received.receive(&self.socket).context(context)?;
        if packets {
            self.pause.arrived(self.idle.elapsed());
        }
        Ok(Ready { packets, others })
    }

    /// Says whether something other than packets of transfers came.
    fn sleep(&self) -> anyhow::Result<bool> {
        let pause = match self.transfers.is_empty() {
            true => PollTimeout::NONE,
            // At most a tick.
            false => PollTimeout::from(self.tick.saturating_sub(self.now()).clamp(1, TICK) as u16),
        };
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut polled = [
            readable(self.socket.as_fd()),
            readable(self.listener.as_fd()),
            readable(self.doors.bell.event.as_fd()),
        ];
        match poll(&mut polled, pause) {
            Ok(_) => {}
            Err(nix::Error::EINTR) => return Ok(true),
            Err(error) => return Err(error).context("waiting for TFTP"),
        }
        let [socket, listener, bell] =
            polled.map(|polled| polled.revents().unwrap_or(PollFlags::POLLERR));
        if !bell.is_empty() {
            // It fails where another thread was quicker.
            let _ = self.doors.bell.event.read();
        }
        Ok(!bell.is_empty() || !listener.is_empty() || socket.contains(PollFlags::POLLERR))
    }

    /// Gives each packet to its transfer.
    fn take_packets(&mut self, received: &Receiver) {
        let now = self.now();
        for (peer, packet) in received.datagrams() {
            if let Some(running) = self.transfers.get_mut(&peer) {
                running.heard = now;
                running.transfer.handle(packet, now);
                self.go_on(peer, now);
            }
        }
    }

    /// Takes all requests before one is answered: of those that a client repeated while they waited
    /// here, one is answered.
    fn take_requests(
        &mut self,
        requests: &mut Receiver,
        received: &mut Receiver,
    ) -> anyhow::Result<()> {
        let mut asked = Vec::new();
        while asked.len() < MOST_TRANSFERS
            && requests
                .receive(&self.listener)
                .context("receiving TFTP requests")?
        {
            let decode = |(peer, packet)| (peer, Request::decode(packet));
            asked.extend(requests.datagrams().map(decode));
        }
        if asked.is_empty() {
            return Ok(());
        }
        socket::still_at(self.address, &self.doors.context)?;
        self.hear_transfers(received)?;
        let mut peers = HashSet::new();
        asked.reverse();
        asked.retain(|(peer, _)| peers.insert(*peer));
        for (peer, request) in asked.into_iter().rev() {
            match request {
                Ok(request) => self.open(peer, request),
                Err(refusal) => self.refuse(peer, refusal),
            }
        }
        Ok(())
    }

    /// edk2 breaks off one transfer and asks for the next at once: what it sent first is to be heard
    /// first, though it came to the other socket. A client has one packet on its way, as a rule; there is
    /// no end to hearing all that go on sending.
    fn hear_transfers(&mut self, received: &mut Receiver) -> anyhow::Result<()> {
        let mut left = self.transfers.len() + 1;
        while left > 0 && received.receive(&self.socket).context("receiving TFTP")? {
            left = left.saturating_sub(received.datagrams().count());
            self.take_packets(received);
            self.sender.flush(&self.socket);
        }
        Ok(())
    }

    fn open(&mut self, peer: SocketAddrV4, request: Request) {
        if self.is_answered(peer, &request) {
            return;
        }
        match self.doors.context.boot_files.stored(&request.file) {
            Ok(content) => self.begin(peer, request, content),
            // A client that asks again is answered when the file is there.
            Err(Missing::Unknown(_)) if self.waiting.contains(&peer) => {}
            Err(Missing::Unknown(_)) if self.waiting.len() < MOST_COMPOSED => {
                self.waiting.insert(peer);
                self.doors.compose(peer, request);
            }
            Err(Missing::Unknown(_)) => {}
            Err(missing) => self.refuse_missing(peer, &missing),
        }
    }

    /// Whether the same request of the same client is being answered. Where it did not hear the answer,
    /// the same content is begun again.
    fn is_answered(&mut self, peer: SocketAddrV4, request: &Request) -> bool {
        let now = self.now();
        let running = self.transfers.get_mut(&peer);
        let Some(running) = running.filter(|running| running.request == *request) else {
            return false;
        };
        match running.transfer.asked_again(now) {
            AskedAgain::Copy => {
                tracing::debug!("tftp: a late copy of a request of {peer}");
                true
            }
            AskedAgain::Unanswered => {
                running.transfer = Transfer::new(request, running.source.size());
                running.heard = now;
                self.go_on(peer, now);
                true
            }
            AskedAgain::Anew => false,
        }
    }

    fn take_composed(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        for Composed {
            peer,
            request,
            result,
        } in self.doors.composed()
        {
            self.waiting.remove(&peer);
            match result {
                Ok(content) => self.begin(peer, request, content),
                Err(missing) => self.refuse_missing(peer, &missing),
            }
        }
    }

    /// A client that asks for something else has forgotten its first request: the new transfer replaces
    /// it.
    fn begin(&mut self, peer: SocketAddrV4, request: Request, content: Content) {
        self.make_room(peer);
        let now = self.now();
        let transfer = Transfer::new(&request, content.size());
        let file = request.file.clone();
        // One that is not recorded costs the doctor a wrong guess at most.
        let _ = self.doors.ends.try_send(Told::Began { peer, file });
        let running = Running {
            source: Source::new(content, transfer.block_size()),
            transfer,
            request,
            began: now,
            heard: now,
            deadline: now,
        };
        self.transfers.insert(peer, running);
        self.tick = self.tick.min(now + TICK);
        self.go_on(peer, now);
    }

    fn make_room(&mut self, peer: SocketAddrV4) {
        let of_peer = self.transfers.keys().filter(|key| key.ip() == peer.ip());
        let silent_longest = if of_peer.count() >= MOST_OF_ONE {
            let transfers = self.transfers.iter();
            transfers
                .filter(|(key, _)| key.ip() == peer.ip())
                .min_by_key(|(_, running)| running.heard)
        } else if self.transfers.len() >= MOST_TRANSFERS {
            let transfers = self.transfers.iter();
            transfers.min_by_key(|(_, running)| running.heard)
        } else {
            None
        };
        if let Some((key, _)) = silent_longest.map(|(key, running)| (*key, &running.heard)) {
            tracing::debug!("tftp: the transfer to {key} makes room for one to {peer}");
            self.transfers.remove(&key);
        }
    }

    /// Does what the transfer says until it waits or ends.
    fn go_on(&mut self, peer: SocketAddrV4, now: u64) {
        let Some(running) = self.transfers.get_mut(&peer) else {
            return;
        };
        loop {
            match running.transfer.poll(now) {
                Output::Send(packet) => self.sender.push(peer, packet),
                Output::SendBlock { offset, length, .. } => {
                    let full = running.source.full();
                    match running.source.packet(offset, length, &mut self.pages) {
                        Ok(part) => self.sender.push_part(peer, part, full),
                        Err(error) => {
                            tracing::warn!(
                                "tftp: reading {} for {peer}: {error}",
                                running.request.file
                            );
                            let message = "the file cannot be read";
                            let packet = encode_error(ErrorCode::NotDefined, message);
                            self.sender.push(peer, packet);
                            self.transfers.remove(&peer);
                            return;
                        }
                    }
                }
                Output::Wait(until) => {
                    running.deadline = until;
                    return;
                }
                Output::Done(outcome) => {
                    let ended = Ended {
                        peer,
                        file: std::mem::take(&mut running.request.file),
                        outcome,
                        size: running.source.size(),
                        took: now - running.began,
                    };
                    self.transfers.remove(&peer);
                    if self.doors.ends.try_send(Told::Ended(ended)).is_err() {
                        tracing::warn!("tftp: an end of a transfer to {peer} is not recorded");
                    }
                    return;
                }
            }
        }
    }

    fn look_at_timers(&mut self) {
        let now = self.now();
        if now < self.tick || self.transfers.is_empty() {
            return;
        }
        self.tick = now + TICK;
        let late =
            |(peer, running): (&SocketAddrV4, &Running)| (running.deadline <= now).then_some(*peer);
        let late: Vec<SocketAddrV4> = self.transfers.iter().filter_map(late).collect();
        for peer in late {
            self.go_on(peer, now);
        }
    }

    fn take_closed_ports(&mut self) {
        for peer in datagrams::closed_ports(&self.socket) {
            let now = self.now();
            if let Some(running) = self.transfers.get_mut(&peer) {
                running.transfer.hang_up();
                self.go_on(peer, now);
            }
        }
    }

    fn refuse(&mut self, peer: SocketAddrV4, refusal: Refusal) {
        match refusal {
            Refusal::Silence => {}
            Refusal::Error { code, message } => {
                // iPXE asks for an autoexec.ipxe at every start.
                tracing::debug!("tftp: refused {peer}: {message}");
                self.sender.push(peer, encode_error(code, &message));
            }
        }
    }

    fn refuse_missing(&mut self, peer: SocketAddrV4, missing: &Missing) {
        let code = match missing {
            Missing::Unknown(_) => ErrorCode::FileNotFound,
            Missing::Refused(_) => ErrorCode::AccessViolation,
            Missing::Unreadable { .. } => {
                tracing::warn!("tftp: {missing}");
                ErrorCode::NotDefined
            }
        };
        let message = missing.to_string();
        self.refuse(peer, Refusal::Error { code, message });
    }

    /// Milliseconds since the start.
    fn now(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }
}
