//! Connections to an appliance, from a client's end.

use hardway_model::boot::TransferEnd;
use hardway_model::lifecycle::MachineState;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::fixture::Appliance;

const LARGE: usize = 32 << 20;

/// An appliance with a file for firmware in its payload, one that no socket's buffer holds, and a
/// machine known by the tests' address.
struct Front {
    appliance: Appliance,
    service: Service,
    room: Arc<Room>,
    listener: TcpListener,
}

impl Front {
    async fn start(patience: Patience) -> Self {
        let appliance = Appliance::start().await;
        let boot = appliance.folder.path().join("payload/boot");
        let large = std::fs::File::create(boot.join("large")).unwrap();
        large.set_len(LARGE as u64).unwrap();
        let context = appliance.context.clone();
        let room = Arc::new(Room::new(4, 2, context.metrics.clone()));
        Self {
            service: Service {
                routes: api::router(context.clone()),
                pages: Handle::current(),
                patience,
                context,
            },
            room,
            listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap(),
            appliance,
        }
    }

    async fn connect(&self) -> TcpStream {
        self.connect_by(tokio::net::TcpSocket::new_v4().unwrap())
            .await
    }

    async fn connect_by(&self, socket: tokio::net::TcpSocket) -> TcpStream {
        let address = self.listener.local_addr().unwrap();
        let client = socket.connect(address).await.unwrap();
        let (stream, peer) = self.listener.accept().await.unwrap();
        let free = self.room.free().await.unwrap();
        let place = self.room.admit(free, peer.ip()).unwrap();
        let service = self.service.clone();
        tokio::spawn(async move { connection::serve(stream, peer, place, &service).await });
        client
    }

    /// What a client reads until the appliance hangs up, which it has to do by itself.
    async fn answer_to(&self, sent: &[u8]) -> String {
        let mut client = self.connect().await;
        client.write_all(sent).await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

const SHORT: Patience = Patience {
    head: Duration::from_millis(100),
    progress: Duration::from_millis(300),
};

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n")
}

#[tokio::test]
async fn files_follow_one_another_on_one_connection() {
    let front = Front::start(SHORT).await;
    let requests = [
        get("/boot/vmlinuz", ""),
        get("/boot/vmlinuz", "Range: bytes=2-\r\n"),
        "HEAD /boot/vmlinuz HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        get("/boot/nothing", ""),
        get("/boot.ipxe", ""),
        get("/images/node.img.zst", "Connection: close\r\n"),
    ];
    let answer = front.answer_to(requests.concat().as_bytes()).await;
    let answers: Vec<&str> = answer.split("HTTP/1.1 ").skip(1).collect();
    let statuses: Vec<&str> = answers.iter().map(|answer| &answer[..3]).collect();
    assert_eq!(
        statuses,
        ["200", "206", "200", "404", "200", "200"],
        "{answer}"
    );
    assert!(answers[0].ends_with("\r\n\r\na kernel"), "{answer}");
    assert!(answers[1].ends_with("\r\n\r\nkernel"), "{answer}");
    assert!(answers[2].contains("Content-Length: 8\r\n") && answers[2].ends_with("\r\n\r\n"));
    assert!(answers[3].contains("there is no /boot/nothing"), "{answer}");
    assert!(answers[4].contains("#!ipxe"), "{answer}");
    assert!(answers[5].contains("Connection: close\r\n"), "{answer}");
}

/// The route table's server answers requests for files with the same words.
#[tokio::test]
async fn whoever_serves_a_file_answers_the_same() {
    let front = Front::start(SHORT).await;
    let first = front.answer_to(get("/boot/vmlinuz", "").as_bytes()).await;
    let etag = first
        .split_once("ETag: ")
        .unwrap()
        .1
        .split_once("\r\n")
        .unwrap()
        .0;
    for (method, path, fields) in [
        ("GET", "/boot/vmlinuz", String::new()),
        ("HEAD", "/boot/vmlinuz", String::new()),
        ("GET", "/boot/vmlinuz", "Range: bytes=2-3\r\n".into()),
        ("GET", "/boot/vmlinuz", "Range: bytes=99-\r\n".into()),
        ("GET", "/boot/vmlinuz", format!("If-None-Match: {etag}\r\n")),
        (
            "GET",
            "/boot/vmlinuz",
            format!("Range: bytes=2-3\r\nIf-Range: {etag}\r\n"),
        ),
        ("GET", "/boot/../cluster.yaml", String::new()),
        ("GET", "/boot/", String::new()),
        ("GET", "/images/node.img.zst", String::new()),
        ("GET", "/toolbox/index.json", String::new()),
        ("GET", "/uki/nobody/agent.efi", String::new()),
        ("DELETE", "/boot/vmlinuz", String::new()),
    ] {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
        let own = front.answer_to(request.as_bytes()).await;
        // An empty body of unknown length makes it a request for the route table.
        let chunked = request.replace(
            "\r\n\r\n",
            "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        );
        let other = front.answer_to(chunked.as_bytes()).await;
        assert_eq!(words(&own), words(&other), "{request}");
    }
}

/// The status, the fields that are not the same on every answer, and the body.
fn words(answer: &str) -> (String, Vec<String>, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap()[9..12].to_owned();
    let general = [
        "date:",
        "content-security-policy:",
        "x-content-type",
        "referrer-policy",
    ];
    let mut fields: Vec<String> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| format!("{}: {value}", name.to_ascii_lowercase()))
        .filter(|line| !general.iter().any(|general| line.starts_with(general)))
        .collect();
    fields.sort();
    (status, fields, body.to_owned())
}

#[tokio::test]
async fn a_client_that_never_finishes_its_request_is_hung_up_on() {
    let front = Front::start(SHORT).await;
    assert_eq!(front.answer_to(b"GET / HTTP/1.1\r\nHost: ").await, "");
    assert_eq!(front.answer_to(b"").await, "");
    let answer = front.answer_to(get("/boot/vmlinuz", "").as_bytes()).await;
    assert!(answer.ends_with("a kernel"), "{answer}");
    let page = front.answer_to(get("/", "").as_bytes()).await;
    assert!(page.contains("</html>"), "{page}");
}

#[tokio::test]
async fn what_is_no_request_is_told_so() {
    let front = Front::start(SHORT).await;
    let large = format!("GET /{} HTTP/1.1\r\n", "a".repeat(20 << 10));
    for (sent, status) in [
        ("\u{16}\u{3}\u{1}", "HTTP/1.1 400 "),
        ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "),
        (large.as_str(), "HTTP/1.1 431 "),
    ] {
        let answer = front.answer_to(sent.as_bytes()).await;
        assert!(
            answer.starts_with(status) && answer.contains("\"error\""),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_large_file_arrives_whole_and_its_transfer_is_told() {
    let front = Front::start(PATIENCE).await;
    known(&front).await;
    let request = get("/boot/large", "Connection: close\r\n");
    let answer = front.answer_to(request.as_bytes()).await;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(body.len(), LARGE);
    let (bytes, end) = told(&front).await;
    assert_eq!((bytes, end), (LARGE as u64, TransferEnd::Complete));
}

#[tokio::test]
async fn a_client_that_takes_nothing_more_is_hung_up_on() {
    let front = Front::start(SHORT).await;
    known(&front).await;
    let mut client = front.connect().await;
    client
        .write_all(get("/boot/large", "").as_bytes())
        .await
        .unwrap();
    let (bytes, end) = told(&front).await;
    assert_eq!(end, TransferEnd::Silence);
    assert!(bytes < LARGE as u64, "{bytes}");
    // All places are free again.
    let _places = [front.connect().await, front.connect().await];
}

/// As iPXE on UEFI, which starts the kernel without a word about the last segments.
#[tokio::test]
async fn a_client_that_is_silent_about_the_last_bytes_has_them() {
    let front = Front::start(PATIENCE).await;
    known(&front).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut client = front.connect_by(socket).await;
    client
        .write_all(get("/boot/large", "").as_bytes())
        .await
        .unwrap();
    client
        .read_exact(&mut vec![0; LARGE - 40_000])
        .await
        .unwrap();
    assert_eq!(told(&front).await, (LARGE as u64, TransferEnd::Complete));
}

#[tokio::test]
async fn a_client_that_hangs_up_has_broken_it_off() {
    let front = Front::start(PATIENCE).await;
    known(&front).await;
    let mut client = front.connect().await;
    client
        .write_all(get("/boot/large", "").as_bytes())
        .await
        .unwrap();
    client.read_exact(&mut [0; 4096]).await.unwrap();
    drop(client);
    let (bytes, end) = told(&front).await;
    assert!(matches!(end, TransferEnd::Aborted { .. }), "{end:?}");
    assert!(bytes < LARGE as u64, "{bytes}");
}

#[tokio::test]
async fn an_idle_connection_makes_room_and_one_address_cannot_have_it_all() {
    let front = Front::start(PATIENCE).await;
    let address = |last| std::net::IpAddr::from([10, 77, 0, last]);
    let mut idle = front.connect().await;
    let mut places = Vec::new();
    for last in [11, 11, 12] {
        let free = front.room.free().await.unwrap();
        places.push(front.room.admit(free, address(last)).unwrap());
    }
    let free = front.room.free();
    let freed = tokio::time::timeout(Duration::from_secs(10), free).await;
    let freed = freed.unwrap().unwrap();
    assert_eq!(idle.read(&mut [0]).await.unwrap(), 0, "hung up on");
    assert!(front.room.admit(freed, address(11)).is_none(), "the third");
    drop(places);
    let free = front.room.free().await.unwrap();
    assert!(front.room.admit(free, address(11)).is_some());
}

/// Makes the tests' own address a machine's.
async fn known(front: &Front) {
    let event = hardway_model::lifecycle::Event::Dhcp {
        mac: "52:54:00:00:00:99".parse().unwrap(),
        summary: "for a test".into(),
        address: Some(Ipv4Addr::LOCALHOST),
        asker: hardway_model::boot::Asker::Firmware {
            class: Some(hardway_model::boot::FirmwareClass::Bios),
        },
        boot_file: Some("large".into()),
    };
    let fleet = &front.appliance.context.fleet;
    fleet.record("52-54-00-00-00-99", event).await.unwrap();
}

/// How the transfer of the file ended, once it is told.
async fn told(front: &Front) -> (u64, TransferEnd) {
    for _ in 0..500 {
        let snapshot = front.appliance.context.fleet.snapshot();
        let state: Option<&Arc<MachineState>> = snapshot.machines.get("52-54-00-00-00-99");
        let trying = state.and_then(|state| state.boot.trying.as_ref());
        if let Some(transfer) = trying.and_then(|trying| trying.transfer.as_ref()) {
            assert_eq!(
                (transfer.file.as_str(), transfer.size),
                ("large", LARGE as u64)
            );
            return (transfer.bytes, transfer.end.clone());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no transfer was told");
}
