//! The service on the loopback device, with clients that send what they like.

use std::time::Duration;

use super::*;
use crate::fixture::Appliance;

/// The service, and an appliance whose boot folder has `file` of 3,000 bytes.
struct Service {
    _appliance: Appliance,
    listener: std::net::SocketAddr,
    told: mpsc::Receiver<Told>,
    _stop: Stop,
}

impl Service {
    async fn start() -> Self {
        let appliance = Appliance::start().await;
        let file = appliance.folder.path().join("payload/boot/file");
        std::fs::write(file, vec![7; 3000]).unwrap();
        let context = appliance.context.clone();
        let address = context.address().unwrap();
        let open = || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        let (listener, socket) = (open(), open());
        let listening = listener.local_addr().unwrap();
        let (ends, told) = mpsc::channel(MOST_ENDS);
        let doors = Doors::new(context, ends).unwrap();
        let server = Server::new(listener, socket, doors.clone(), address).unwrap();
        std::thread::spawn(move || server.run());
        Self {
            _appliance: appliance,
            listener: listening,
            told,
            _stop: Stop(doors),
        }
    }

    async fn ended(&mut self) -> Ended {
        loop {
            match self.told.recv().await.unwrap() {
                Told::Ended(ended) => return ended,
                Told::Began { .. } => {}
            }
        }
    }

    fn ask(&self, client: &UdpSocket, fields: &str) {
        let packet = [b"\0\x01", fields.replace(' ', "\0").as_bytes(), b"\0"].concat();
        client.send_to(&packet, self.listener).unwrap();
    }
}

fn client() -> UdpSocket {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let patience = Some(Duration::from_secs(20));
    client.set_read_timeout(patience).unwrap();
    client
}

/// The next packet, and who sent it.
fn next(client: &UdpSocket) -> (Vec<u8>, std::net::SocketAddr) {
    let mut buffer = [0; 2048];
    let (length, from) = client.recv_from(&mut buffer).unwrap();
    (buffer[..length].to_vec(), from)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_comes_whole_and_its_end_is_told() {
    let mut service = Service::start().await;
    let client = client();
    service.ask(&client, "file octet blksize 1000 windowsize 4");
    let (options, server) = next(&client);
    assert_eq!(options, b"\0\x06blksize\x001000\0windowsize\x004\0");
    client.send_to(&[0, 4, 0, 0], server).unwrap();
    for (block, length) in [(1, 1000), (2, 1000), (3, 1000), (4, 0)] {
        let (packet, from) = next(&client);
        assert_eq!(
            (&packet[..4], packet.len()),
            (&[0, 3, 0, block][..], 4 + length)
        );
        assert_eq!(from, server);
    }
    client.send_to(&[0, 4, 0, 4], server).unwrap();
    let ended = service.ended().await;
    assert_eq!(ended.outcome, Outcome::Complete { bytes: 3000 });
    assert_eq!(ended.transfer().unwrap().end, TransferEnd::Complete);
}

/// What PXE ROMs do to learn the size.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_breaks_off_may_ask_again_from_the_same_port() {
    let mut service = Service::start().await;
    let client = client();
    for _ in 0..20 {
        service.ask(&client, "file octet tsize 0");
        let (options, server) = next(&client);
        assert_eq!(options, b"\0\x06tsize\x003000\0");
        client.send_to(b"\0\x05\0\x08enough\0", server).unwrap();
        service.ask(&client, "file octet");
        let (data, server) = next(&client);
        assert_eq!((&data[..4], data.len()), (&[0, 3, 0, 1][..], 516));
        client.send_to(b"\0\x05\0\x00\0", server).unwrap();
        assert_eq!(
            service.ended().await.transfer(),
            None,
            "the size was asked for"
        );
        service.ended().await;
    }
}

/// As in a boot storm: the client's timer repeats the request just before the first answer comes, and
/// the copy is looked at when the transfer is on its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_copy_of_the_request_does_not_disturb_the_transfer() {
    let mut service = Service::start().await;
    let client = client();
    service.ask(&client, "file octet blksize 1000");
    let (options, server) = next(&client);
    assert_eq!(options, b"\0\x06blksize\x001000\0");
    for (block, length) in [(1, 1000), (2, 1000), (3, 1000), (4, 0)] {
        client.send_to(&[0, 4, 0, block - 1], server).unwrap();
        let (mut packet, _) = next(&client);
        while packet[..4] == [0, 3, 0, block - 1] {
            // The server's timer was quicker.
            packet = next(&client).0;
        }
        let head = &[0, 3, 0, block][..];
        assert_eq!((&packet[..4], packet.len()), (head, 4 + length));
        service.ask(&client, "file octet blksize 1000");
        // So that it is looked at before the acknowledgement is.
        std::thread::sleep(Duration::from_millis(40));
    }
    client.send_to(&[0, 4, 0, 4], server).unwrap();
    let ended = service.ended().await;
    assert_eq!(ended.outcome, Outcome::Complete { bytes: 3000 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_not_heard_or_has_forgotten_the_answer_gets_it_again() {
    let service = Service::start().await;
    let client = client();
    let options = b"\0\x06blksize\x001000\0";
    service.ask(&client, "file octet blksize 1000");
    assert_eq!(next(&client).0, options);
    service.ask(&client, "file octet blksize 1000");
    let (packet, server) = next(&client);
    assert_eq!(packet, options, "it was lost");
    client.send_to(&[0, 4, 0, 0], server).unwrap();
    assert_eq!(next(&client).0[..4], [0, 3, 0, 1]);
    // Another file, or other options: no copy.
    service.ask(&client, "file octet blksize 900");
    assert_eq!(next(&client).0, b"\0\x06blksize\x00900\0");
    client.send_to(&[0, 4, 0, 0], server).unwrap();
    assert_eq!(next(&client).0[..4], [0, 3, 0, 1]);
    std::thread::sleep(Duration::from_millis(1100));
    service.ask(&client, "file octet blksize 900");
    while next(&client).0 != b"\0\x06blksize\x00900\0" {
        // The server has repeated block 1 meanwhile.
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_refused() {
    let service = Service::start().await;
    let client = client();
    for fields in [
        "nothing octet",
        "../cluster.yaml octet",
        "grub/nothing octet",
        "file netascii",
    ] {
        service.ask(&client, fields);
        let (packet, _) = next(&client);
        assert_eq!(packet[..3], [0, 5, 0], "{fields}");
    }
    // Nothing that is not TFTP stops the service or is answered.
    for hostile in [&b""[..], b"\0", b"\0\x05\0\0", &[0xff; 1000]] {
        client.send_to(hostile, service.listener).unwrap();
    }
    service.ask(&client, "file octet");
    assert_eq!(next(&client).0[..4], [0, 3, 0, 1]);
}

/// The kernel says so by ICMP.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_closes_its_port_ends_its_transfer() {
    let mut service = Service::start().await;
    let client = client();
    service.ask(&client, "file octet blksize 1000");
    let (_, server) = next(&client);
    client.send_to(&[0, 4, 0, 0], server).unwrap();
    next(&client);
    client.send_to(&[0, 4, 0, 1], server).unwrap();
    drop(client);
    let ended = service.ended().await;
    assert_eq!(ended.outcome, Outcome::HungUp { bytes: 1000 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rack_at_once_is_not_refused() {
    let service = Service::start().await;
    let clients: Vec<UdpSocket> = (0..MOST_AT_ONCE).map(|_| client()).collect();
    for client in &clients {
        service.ask(client, "file octet");
    }
    for client in &clients {
        assert_eq!(next(client).0[..4], [0, 3, 0, 1]);
    }
}

/// One address may have as many.
const MOST_AT_ONCE: usize = 64;
