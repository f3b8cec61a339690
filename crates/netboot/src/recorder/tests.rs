//! Frames in, files for a packet analyser out.

use proptest::prelude::*;

use super::*;

const APPLIANCE: [u8; 6] = [0x52, 0x54, 0, 0, 0, 0xff];
const BROADCAST: [u8; 6] = [0xff; 6];

fn machine(number: u8) -> [u8; 6] {
    [0x52, 0x54, 0, 0, 0, number]
}

fn recorder() -> Recorder {
    let mut recorder = Recorder::new(Limits::default());
    recorder.ignore(MacAddress(APPLIANCE));
    recorder
}

fn ethernet(to: [u8; 6], from: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &kind.to_be_bytes(), payload].concat()
}

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 20];
    packet[0] = 0x45;
    packet[9] = protocol;
    [packet, payload.to_vec()].concat()
}

fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u16 + 8).to_be_bytes();
    let header = [from.to_be_bytes(), to.to_be_bytes(), length, [0; 2]].concat();
    ipv4(UDP, &[header, payload.to_vec()].concat())
}

fn tcp(flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 20];
    header[12] = 5 << 4;
    header[13] = flags;
    ipv4(TCP, &[header, payload.to_vec()].concat())
}

fn dhcp(client: [u8; 6]) -> Vec<u8> {
    let mut message = vec![0; 300];
    message[28..34].copy_from_slice(&client);
    message
}

/// Frames of a file: time in milliseconds, length on the wire, bytes.
fn frames(file: &[u8]) -> Vec<(u64, u32, Vec<u8>)> {
    let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
    assert_eq!(number(&file[..4]), 0xa1b2_c3d4);
    assert_eq!(file[4..8], [2, 0, 4, 0]);
    assert_eq!(number(&file[20..24]), 1);
    let mut rest = &file[24..];
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let time = u64::from(number(&rest[..4])) * 1000 + u64::from(number(&rest[4..8])) / 1000;
        let kept = number(&rest[8..12]) as usize;
        frames.push((time, number(&rest[12..16]), rest[16..16 + kept].to_vec()));
        rest = &rest[16 + kept..];
    }
    frames
}

#[test]
fn a_machine_has_both_directions_and_what_was_broadcast_about_it() {
    let mut recorder = recorder();
    let discover = ethernet(
        BROADCAST,
        machine(1),
        0x0800,
        &udp(68, 67, &dhcp(machine(1))),
    );
    let offer = ethernet(
        BROADCAST,
        APPLIANCE,
        0x0800,
        &udp(67, 68, &dhcp(machine(1))),
    );
    let relayed = ethernet(
        machine(9),
        APPLIANCE,
        0x0800,
        &udp(67, 67, &dhcp(machine(1))),
    );
    let read = ethernet(
        APPLIANCE,
        machine(1),
        0x0800,
        &udp(1069, 69, b"\0\x01snponly.efi\0octet\0"),
    );
    let arp = ethernet(BROADCAST, machine(2), 0x0806, &[0; 28]);
    let said = [&discover, &offer, &relayed, &read, &arp];
    for (index, frame) in said.iter().enumerate() {
        recorder.record(frame, frame.len(), 1_700_000_000_000 + index as u64);
    }
    let kept = frames(&recorder.pcap(&[MacAddress(machine(1))]));
    let expected: Vec<_> = [discover, offer, relayed.clone(), read]
        .into_iter()
        .enumerate()
        .map(|(index, frame)| (1_700_000_000_000 + index as u64, frame.len() as u32, frame))
        .collect();
    assert_eq!(kept, expected);
    assert_eq!(recorder.frames(MacAddress(machine(9))), 1, "the relay");
    assert_eq!(recorder.frames(MacAddress(machine(2))), 1);
    assert_eq!(recorder.frames(MacAddress(APPLIANCE)), 0);
    let both = recorder.pcap(&[1, 9, 1].map(|number| MacAddress(machine(number))));
    assert_eq!(frames(&both).len(), 5, "each station once");
    assert!(frames(&recorder.pcap(&[])).is_empty());
}

#[test]
fn the_bulk_of_a_transfer_leaves_what_was_said_before_it() {
    let mut recorder = recorder();
    let request = ethernet(
        APPLIANCE,
        machine(1),
        0x0800,
        &tcp(0x18, b"GET /boot/vmlinuz HTTP/1.1\r\n"),
    );
    recorder.record(&request, request.len(), 1);
    let data = ethernet(machine(1), APPLIANCE, 0x0800, &tcp(0x10, &[7; 1448]));
    for time in 2..20_000 {
        recorder.record(&data, data.len(), time);
    }
    let last = ethernet(machine(1), APPLIANCE, 0x0800, &tcp(0x11, &[]));
    recorder.record(&last, last.len(), 20_000);

    let kept = frames(&recorder.pcap(&[MacAddress(machine(1))]));
    assert_eq!(kept.first().map(|frame| &frame.2), Some(&request));
    assert_eq!(kept.last().map(|frame| &frame.2), Some(&last));
    let (time, length, bytes) = &kept[kept.len() - 2];
    assert_eq!(
        (*time, *length as usize, bytes.len()),
        (19_999, data.len(), LONGEST_BULK)
    );
    assert!(
        kept.len() > 50,
        "the end of the transfer is there: {}",
        kept.len()
    );
    assert!(recorder.size() <= Limits::default().per_station);
}

/// An agent that installs asks for hundreds of chunks, and tells of its progress for minutes.
#[test]
fn what_the_agent_says_leaves_what_the_firmware_said() {
    let mut recorder = recorder();
    let firmware = ethernet(
        machine(1),
        machine(9),
        0x0800,
        &udp(68, 67, &dhcp(machine(1))),
    );
    recorder.record(&firmware, firmware.len(), 1);
    let request = b"GET /images/a.data HTTP/1.1\r\nuser-agent: hardway-agent/0.1.0\r\n\r\n";
    let asked = ethernet(machine(9), machine(1), 0x0800, &tcp(0x18, request));
    for time in 2..3000 {
        recorder.record(&asked, asked.len(), time);
    }
    let kept = frames(&recorder.pcap(&[MacAddress(machine(1))]));
    assert_eq!(kept[0].2, firmware);
    assert!(
        kept.len() > 1,
        "the last of the agent's requests are there, too"
    );
}

#[test]
fn the_quietest_station_makes_way() {
    let mut recorder = Recorder::new(Limits {
        stations: 2,
        ..Limits::default()
    });
    for number in [1, 2, 1, 3] {
        let frame = ethernet(BROADCAST, machine(number), 0x0806, &[0; 28]);
        recorder.record(&frame, frame.len(), 0);
    }
    let kept = [1, 2, 3].map(|number| recorder.frames(MacAddress(machine(number))));
    assert_eq!(kept, [2, 0, 1]);
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let station = || {
        prop_oneof![
            (0_u8..12).prop_map(machine),
            Just(BROADCAST),
            Just(APPLIANCE)
        ]
    };
    let payload = || prop::collection::vec(any::<u8>(), 0..400);
    let port = || prop_oneof![Just(67), Just(68), Just(69), any::<u16>()];
    let udp = (port(), port(), payload())
        .prop_map(|(from, to, payload)| (0x0800, udp(from, to, &payload)));
    let tcp = (any::<u8>(), payload()).prop_map(|(flags, payload)| (0x0800, tcp(flags, &payload)));
    let other = (prop_oneof![Just(0x0800), any::<u16>()], payload());
    let frame = (station(), station(), prop_oneof![udp, tcp, other])
        .prop_map(|(to, from, (kind, payload))| ethernet(to, from, kind, &payload));
    (frame, 0_usize..500).prop_map(|(mut frame, length)| {
        frame.truncate(length);
        frame
    })
}

proptest! {
    #[test]
    fn it_stays_within_its_limits_whatever_it_hears(
        frames_heard in prop::collection::vec(any_frame(), 0..200),
        stations in 0_usize..6,
        per_station in 0_usize..4096,
        total in 0_usize..8192,
    ) {
        let mut recorder = Recorder::new(Limits { stations, per_station, total });
        for (time, frame) in frames_heard.iter().enumerate() {
            recorder.record(frame, frame.len() + 4, time as u64);
            prop_assert!(recorder.size() <= total);
            prop_assert!(recorder.stations.len() <= stations.max(1));
            let sizes = recorder.stations.values().map(Recording::size);
            prop_assert_eq!(sizes.clone().sum::<usize>(), recorder.size());
            prop_assert!(sizes.clone().all(|size| size <= per_station));
        }
        let everybody: Vec<_> = recorder.stations.keys().copied().collect();
        let in_order = frames(&recorder.pcap(&everybody));
        prop_assert!(in_order.is_sorted_by_key(|frame| frame.0));
    }
}
