//! What each kind of client is told to boot.

use std::net::Ipv4Addr;

use dhcproto::v4;
use hardway_model::boot::{Asker, FirmwareClass};
use hardway_model::cluster::UnknownPolicy;
use hardway_model::lifecycle::Event;

use super::conversation::{
    From, OURS, Rack, bios_rom, decode, edk2_http, edk2_pxe, from, ipxe_bios,
};
use crate::dhcp::Output;
use crate::dhcp::packet::MessageType::Discover;
use crate::fixture::{blank, installed, mac};

#[test]
fn every_kind_of_client_gets_its_boot_file() {
    let table: [(&str, From, &str, &str); 6] = [
        (
            "iPXE",
            ipxe_bios(1),
            "http://10.77.0.1/boot.ipxe",
            "http://10.77.0.1/boot.ipxe",
        ),
        ("BIOS ROM", bios_rom(1), "undionly.kpxe", "undionly.kpxe"),
        ("edk2 PXE", edk2_pxe(1), "snponly.efi", "local-disk.efi"),
        (
            "arm64",
            from(1).option(60, "PXEClient").option(93, [0, 11]),
            "ipxe-arm64.efi",
            "ipxe-arm64.efi",
        ),
        (
            "no option 93",
            from(1).option(60, "PXEClient:Arch:00009:UNDI:003000"),
            "snponly.efi",
            "local-disk.efi",
        ),
        ("Linux", from(1).option(55, [1, 3, 6, 12]), "", ""),
    ];
    for (client, message, when_blank, when_installed) in table {
        for (state, file) in [(blank(), when_blank), (installed(), when_installed)] {
            let file = match file {
                "" => String::new(),
                file => format!(", {file}"),
            };
            assert_eq!(
                Rack::new(state).says(&message.says(Discover)),
                format!(
                    "OFFER 10.77.0.11 to {}{file}",
                    message.station([10, 77, 0, 11])
                ),
                "{client}"
            );
        }
    }
}

#[test]
fn the_whole_offer_to_edk2_pxe() {
    let mut rack = Rack::new(blank());
    let outputs = rack.outputs(&edk2_pxe(1).option(61, [0, 7, 7]).says(Discover));
    let [Output::Send { bytes, .. }, Output::Observed { name, event }] = outputs.as_slice() else {
        panic!("{outputs:?}");
    };
    let message = decode(bytes);
    assert_eq!(
        (message.xid(), u16::from(message.flags())),
        (0xdead_beef, 0x8000)
    );
    assert_eq!(message.siaddr(), Ipv4Addr::from(OURS));
    let options: Vec<String> = message
        .opts()
        .iter()
        .map(|(_, option)| format!("{option:?}"))
        .collect();
    assert_eq!(
        options,
        [
            "SubnetMask(255.255.255.0)",
            "Router([10.77.0.254])",
            "DomainNameServer([10.77.0.1])",
            "Hostname(\"node1\")",
            "DomainName(\"lab.internal\")",
            "BroadcastAddr(10.77.0.255)",
            "NtpServers([10.77.0.1])",
            "AddressLeaseTime(3600)",
            "MessageType(Offer)",
            "ServerIdentifier(10.77.0.1)",
            "Renewal(1800)",
            "Rebinding(3150)",
            "ClientIdentifier([0, 7, 7])",
            "TFTPServerName([49, 48, 46, 55, 55, 46, 48, 46, 49])",
            "BootfileName([115, 110, 112, 111, 110, 108, 121, 46, 101, 102, 105])",
        ]
    );
    assert_eq!(name, "node1");
    assert_eq!(
        **event,
        Event::Dhcp {
            mac: mac(1),
            summary: "DISCOVER from PXEClient:Arch:00007:UNDI:003000 → offered 10.77.0.11 and \
                      snponly.efi by TFTP"
                .into(),
            address: None,
            asker: Asker::Firmware {
                class: Some(FirmwareClass::UefiX64),
            },
            boot_file: Some("snponly.efi".into()),
        }
    );
}

#[test]
fn http_boot_gets_a_url_and_its_vendor_class_back() {
    let outputs = Rack::new(blank()).outputs(&edk2_http(1).says(Discover));
    let [Output::Send { bytes, .. }, _] = outputs.as_slice() else {
        panic!("{outputs:?}");
    };
    let message = decode(bytes);
    assert_eq!(
        message.opts().get(v4::OptionCode::ClassIdentifier),
        Some(&v4::DhcpOption::ClassIdentifier(b"HTTPClient".to_vec()))
    );
    assert_eq!(
        message.opts().get(v4::OptionCode::BootfileName),
        Some(&v4::DhcpOption::BootfileName(
            b"http://10.77.0.1/uki/52-54-00-00-00-01/agent.efi".to_vec()
        ))
    );
}

#[test]
fn ipxe_is_told_not_to_wait_for_a_proxy() {
    let outputs = Rack::new(blank()).outputs(&ipxe_bios(1).says(Discover));
    let [Output::Send { bytes, .. }, _] = outputs.as_slice() else {
        panic!("{outputs:?}");
    };
    let expected = v4::UnknownOption::new(175.into(), vec![176, 1, 1]);
    assert_eq!(
        decode(bytes).opts().get(175.into()),
        Some(&v4::DhcpOption::Unknown(expected))
    );
}

#[test]
fn unknown_machines_follow_the_policy() {
    let table = [
        (UnknownPolicy::Discover, ", snponly.efi"),
        (UnknownPolicy::Menu, ", snponly.efi"),
        (UnknownPolicy::LocalDisk, ", local-disk.efi"),
        (UnknownPolicy::Ignore, ""),
    ];
    for (policy, file) in table {
        let mut rack = Rack::with(blank(), |cluster| cluster.unknown = policy);
        assert_eq!(
            rack.says(&edk2_pxe(21).says(Discover)),
            format!("OFFER 10.77.0.100 to 255.255.255.255:68{file}"),
            "{policy:?}"
        );
    }
}

#[test]
fn a_reply_is_no_longer_than_the_client_takes() {
    let mut rack = Rack::with(blank(), |cluster| {
        cluster.domain = ["a".repeat(60).as_str(); 4].join(".");
        cluster.network.ntp = vec![Ipv4Addr::from(OURS); 40];
    });
    let lengths: Vec<usize> = [edk2_pxe(1), bios_rom(1)]
        .iter()
        .map(|client| {
            let outputs = rack.outputs(&client.says(Discover));
            let Some(Output::Send { bytes, .. }) = outputs.first() else {
                panic!("{outputs:?}");
            };
            let message = decode(bytes);
            assert!(message.opts().contains(v4::OptionCode::BootfileName));
            bytes.len()
        })
        .collect();
    assert!(lengths[0] > 548 && lengths[0] <= 1472, "{lengths:?}");
    assert!(lengths[1] <= 548, "{lengths:?}");
}
