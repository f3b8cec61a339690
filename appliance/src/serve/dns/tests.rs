//! Questions through sockets, with an upstream server that says what the test wants.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};

use hardway_model::cluster::parse;
use hardway_netboot::dns::forward::Question;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use super::resolver::Resolver;
use super::*;

const CLUSTER: &str = include_str!("../../../../configs/examples/minimal.yaml");
/// `mirror.example.org A`, with recursion desired.
const QUESTION: &[u8] =
    b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x06mirror\x07example\x03org\x00\x00\x01\x00\x01";
/// `nobody.home A`, in the zone.
const OWN: &[u8] =
    b"\x00\x08\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x06nobody\x04home\x00\x00\x01\x00\x01";
const RECORD: &[u8] = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x01\x2c\x00\x04\xc0\x00\x02\x07";

fn resolver(upstream: &str) -> Arc<Resolver> {
    let text = CLUSTER.replace(
        "network:\n",
        &format!("network:\n  dns: {{upstream: [{upstream}]}}\n"),
    );
    let mut cluster = match parse(&text, "minimal.yaml") {
        Ok(cluster) => cluster,
        Err(problems) => panic!("{problems}"),
    };
    cluster.domain = "home".to_owned();
    let names = names::Names::default();
    names.replace(names::build(&cluster, [], 1_800_000_000_000).unwrap());
    Resolver::new(names)
}

fn question(resolver: &Resolver) -> Question {
    match resolver.respond(QUESTION, Transport::Udp) {
        Reply::Forward(question) => question,
        other => panic!("{other:?}"),
    }
}

/// The answer to a message that asks for one address.
fn answer_to(asked: &[u8], flags: [u8; 2]) -> Vec<u8> {
    // Without the pseudo record of EDNS.
    let mut answer = asked[..asked.len() - 11].to_vec();
    answer[2..4].copy_from_slice(&flags);
    answer[6..12].copy_from_slice(&[0, 1, 0, 0, 0, 0]);
    answer.extend_from_slice(RECORD);
    answer
}

/// An upstream server: by UDP it sends what `by_udp` makes of a question, by TCP the answer.
async fn upstream(by_udp: fn(&[u8]) -> Vec<Vec<u8>>) -> (u16, Arc<AtomicUsize>) {
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = tcp.local_addr().unwrap().port();
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        loop {
            let (length, peer) = udp.recv_from(&mut buffer).await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            for message in by_udp(&buffer[..length]) {
                udp.send_to(&message, peer).await.unwrap();
            }
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = tcp.accept().await.unwrap();
            let asked = framing::read_message(&mut stream).await.unwrap().unwrap();
            let answer = answer_to(&asked, [0x81, 0x80]);
            framing::write_message(&mut stream, &answer).await.unwrap();
        }
    });
    (port, asked)
}

async fn asked(by_udp: fn(&[u8]) -> Vec<Vec<u8>>) -> anyhow::Result<Vec<u8>> {
    let (port, _) = upstream(by_udp).await;
    let question = question(&resolver("192.0.2.1"));
    let answer = upstream::ask_one(&question, Ipv4Addr::LOCALHOST, port).await?;
    Ok(answer.message_for(&question, 0))
}

#[tokio::test]
async fn an_answer_is_passed_on() {
    let told = asked(|query| vec![answer_to(query, [0x81, 0x80])])
        .await
        .unwrap();
    assert_eq!(told[..2], QUESTION[..2]);
    assert_eq!(told[12..QUESTION.len()], QUESTION[12..]);
    assert_eq!(told[QUESTION.len()..], *RECORD);
}

#[tokio::test]
async fn what_is_truncated_is_asked_again_by_tcp() {
    let told = asked(|query| vec![answer_to(query, [0x83, 0x80])])
        .await
        .unwrap();
    assert_eq!(told[2] & 2, 0, "whole");
    assert_eq!(told[QUESTION.len()..], *RECORD);
}

#[tokio::test]
async fn forged_answers_are_passed_by() {
    let told = asked(|query| {
        let mut other_id = answer_to(query, [0x81, 0x80]);
        other_id[0] ^= 1;
        let length = other_id.len();
        other_id[length - 1] = 66;
        let mut other_name = answer_to(query, [0x81, 0x80]);
        other_name[13] = b'-';
        other_name[length - 1] = 66;
        vec![
            other_id,
            other_name,
            vec![0; 5],
            answer_to(query, [0x81, 0x80]),
        ]
    });
    assert_eq!(told.await.unwrap()[QUESTION.len()..], *RECORD);
}

#[tokio::test]
async fn a_server_that_cannot_say_says_nothing() {
    assert!(
        asked(|query| vec![answer_to(query, [0x81, 0x82])])
            .await
            .is_err()
    );
}

#[tokio::test]
async fn without_an_answer_clients_are_told_so_and_nobody_is_asked_again_at_once() {
    // Nothing of this computer listens there, and the kernel says so.
    let resolver = resolver("127.255.255.254");
    let first = question(&resolver);
    let told = resolver.forward(&first).await;
    assert_eq!((&told[..2], told[3] & 15), (&QUESTION[..2], 2), "SERVFAIL");
    let again = resolver.respond(QUESTION, Transport::Udp);
    assert_eq!(again, Reply::Answer(told), "from the cache");
}

#[tokio::test]
async fn several_questions_by_tcp_at_once() {
    let resolver = resolver("127.255.255.254");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        tcp::serve_client(stream, &resolver).await
    });
    let mut client = TcpStream::connect(address).await.unwrap();
    for query in [QUESTION, OWN, OWN] {
        framing::write_message(&mut client, query).await.unwrap();
    }
    client.shutdown().await.unwrap();
    let mut ids = Vec::new();
    while let Some(message) = framing::read_message(&mut client).await.unwrap() {
        ids.push(message[1]);
    }
    ids.sort_unstable();
    assert_eq!(ids, [7, 8, 8], "each has its answer, in whatever order");
    server.await.unwrap().unwrap();
}
