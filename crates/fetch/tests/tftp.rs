//! TFTP against the appliance's own server code, on the loopback device.

use std::net::UdpSocket;
use std::time::Duration;

use hardway_fetch::{FetchError, Fetcher};
use hardway_ignition::operation::Fetching;
use hardway_netboot::tftp::{Output, Refusal, Request, Transfer, encode_data};

/// Serves `file` as `config` to one client, from a port of the transfer's own. Every `lost`th datagram
/// of the server is lost. Gives back the URL of the folder.
fn serve(file: Vec<u8>, lost: usize) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let url = format!("tftp://{}", socket.local_addr().expect("its address"));
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        let (length, client) = socket.recv_from(&mut buffer).expect("a request");
        let own = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let request = match Request::decode(&buffer[..length]) {
            Ok(request) if request.file == "config" => request,
            Ok(_) => {
                let _ = own.send_to(b"\0\x05\0\x01no such file\0", client);
                return;
            }
            Err(Refusal::Error { .. } | Refusal::Silence) => return,
        };
        own.set_read_timeout(Some(Duration::from_millis(20)))
            .expect("a timeout");
        let mut transfer = Transfer::new(&request, file.len() as u64);
        let (mut now, mut sent) = (0, 0);
        loop {
            let datagram = match transfer.poll(now) {
                Output::Send(packet) => packet,
                Output::SendBlock {
                    block,
                    offset,
                    length,
                } => encode_data(block, &file[offset as usize..][..length]),
                Output::Wait(until) => {
                    match own.recv_from(&mut buffer) {
                        Ok((length, _)) => transfer.handle(&buffer[..length], now),
                        // The server's clock runs fast, so that nobody waits.
                        Err(_) => now = until,
                    }
                    continue;
                }
                Output::Done(_) => return,
            };
            sent += 1;
            if lost == 0 || sent % lost != 0 {
                own.send_to(&datagram, client).expect("sent");
            }
        }
    });
    url
}

fn fetch(url: &str) -> Result<Vec<u8>, FetchError> {
    let fetcher = Fetcher::new(&Fetching::default())?;
    fetcher
        .giving_up_after(Duration::from_secs(20))
        .fetch(url, &[], 1 << 20)
}

#[test]
fn a_file_arrives_over_a_link_that_loses_some() {
    let file: Vec<u8> = (0..100_000_u32).map(|index| (index % 251) as u8).collect();
    for lost in [0, 7] {
        let url = serve(file.clone(), lost);
        let fetched = fetch(&format!("{url}/%63onfig")).expect("fetched");
        assert!(fetched == file, "what arrived is what was sent");
    }
}

#[test]
fn a_file_that_is_not_there_is_final() {
    let url = format!("{}/asdf", serve(Vec::new(), 0));
    let refused = fetch(&url).expect_err("refused");
    assert_eq!(
        refused.to_string(),
        format!("{url}: the server refuses: no such file (TFTP error 1)")
    );
}

#[test]
fn a_silent_server_is_given_up() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let url = format!(
        "tftp://{}/config",
        socket.local_addr().expect("its address")
    );
    let fetcher = Fetcher::new(&Fetching::default()).expect("a fetcher");
    let refused = fetcher
        .giving_up_after(Duration::from_millis(300))
        .fetch(&url, &[], 100);
    assert!(matches!(refused, Err(FetchError::Connection { .. })));
}
