//! A TFTP server (RFC 1350) for reading: any name with `contents` or `config` in it.

use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use super::super::corpus::Behaviour;

const BLOCK: usize = 512;
const PATIENCE: Duration = Duration::from_millis(500);
const ATTEMPTS: usize = 10;
const READ: u8 = 1;
const DATA: u8 = 3;
const ACKNOWLEDGEMENT: u8 = 4;
const ERROR: u8 = 5;

/// Serves in the background, until the process ends.
pub fn start(socket: UdpSocket, described: Behaviour) {
    thread::spawn(move || {
        let mut packet = [0; 2048];
        while let Ok((length, client)) = socket.recv_from(&mut packet) {
            let Some(name) = requested(&packet[..length]) else {
                continue;
            };
            let body = match name {
                name if name.contains("contents") => Some(described.contents_body.clone()),
                name if name.contains("config") => Some(described.config_body.clone()),
                _ => None,
            };
            // A client that goes away is its own business.
            thread::spawn(move || {
                let _ = send(client, body.as_deref());
            });
        }
    });
}

/// The file's name in a request to read. Options are not acknowledged, as RFC 2347 allows.
fn requested(packet: &[u8]) -> Option<&str> {
    let name = packet
        .strip_prefix(&[0, READ])?
        .split(|byte| *byte == 0)
        .next()?;
    std::str::from_utf8(name).ok()
}

fn send(client: SocketAddr, body: Option<&str>) -> std::io::Result<()> {
    let socket = UdpSocket::bind(("127.0.0.1", 0))?;
    socket.connect(client)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let Some(body) = body else {
        socket.send(b"\0\x05\0\x01no such file\0")?;
        return Ok(());
    };
    // A last block that is shorter than the others, empty if need be, ends the file.
    for index in 0..=body.len() / BLOCK {
        let start = index * BLOCK;
        let number = u16::try_from((index + 1) % 65536).unwrap_or_default();
        let mut packet = vec![0, DATA];
        packet.extend(number.to_be_bytes());
        packet.extend(&body.as_bytes()[start..body.len().min(start + BLOCK)]);
        if !deliver(&socket, &packet, number)? {
            return Ok(());
        }
    }
    Ok(())
}

/// Sends a block until it is acknowledged.
fn deliver(socket: &UdpSocket, packet: &[u8], number: u16) -> std::io::Result<bool> {
    let mut answer = [0; 64];
    for _ in 0..ATTEMPTS {
        socket.send(packet)?;
        while let Ok(length) = socket.recv(&mut answer) {
            match answer[..length] {
                [0, ACKNOWLEDGEMENT, high, low] if u16::from_be_bytes([high, low]) == number => {
                    return Ok(true);
                }
                [0, ERROR, ..] => return Ok(false),
                _ => {}
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_in_blocks() {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let server = socket.local_addr().unwrap();
        start(
            socket,
            Behaviour {
                config_body: "x".repeat(BLOCK),
                ..Behaviour::default()
            },
        );
        let client = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        client.send_to(b"\0\x01my_config\0octet\0", server).unwrap();
        let mut packet = [0; 1024];
        let (length, from) = client.recv_from(&mut packet).unwrap();
        assert_eq!((&packet[..4], length), (&[0, DATA, 0, 1][..], 4 + BLOCK));
        client.send_to(&[0, ACKNOWLEDGEMENT, 0, 1], from).unwrap();
        let (length, _) = client.recv_from(&mut packet).unwrap();
        assert_eq!(packet[..length], [0, DATA, 0, 2]);

        client.send_to(b"\0\x01asdf\0octet\0", server).unwrap();
        loop {
            let (length, _) = client.recv_from(&mut packet).unwrap();
            if packet[..2] == [0, ERROR] {
                break assert!(packet[..length].ends_with(b"no such file\0"));
            }
        }
    }
}
