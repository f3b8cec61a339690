//! Beside a server that gives the addresses.

use std::net::Ipv4Addr;

use dhcproto::v4;
use hardway_model::cluster::DhcpMode;
use hardway_model::lifecycle::Event;

use super::conversation::{
    From, Rack, bios_rom, decode, describe, edk2_http, edk2_pxe, from, ipxe_bios,
};
use crate::dhcp::Output;
use crate::dhcp::packet::MessageType::{Decline, Discover, Inform, Release, Request};
use crate::fixture::blank;

fn proxy() -> Rack {
    Rack::with(blank(), |cluster| cluster.network.dhcp = DhcpMode::Proxy)
}

/// The reply in one line, with options 43, 60, 67 and 97 as far as they are there.
fn offered(client: &From) -> String {
    let outputs = proxy().outputs(&client.says(Discover));
    let Some(Output::Send {
        bytes, destination, ..
    }) = outputs.first()
    else {
        return "silence".to_owned();
    };
    let message = decode(bytes);
    let option = |code: u8| -> Option<Vec<u8>> {
        let option = message.opts().get(v4::OptionCode::from(code))?;
        let mut encoded = Vec::new();
        let mut encoder = dhcproto::Encoder::new(&mut encoded);
        dhcproto::Encodable::encode(option, &mut encoder).unwrap();
        Some(encoded.split_off(2))
    };
    let text = |code| option(code).map_or("-".into(), |value| String::from_utf8(value).unwrap());
    let tags = option(43).unwrap_or_default();
    let identifier = option(97).map_or(0, |value| value.len());
    format!(
        "{} 60={} 67={} 43={tags:?} 97={identifier}",
        describe(bytes, *destination),
        text(60),
        text(67),
    )
}

/// Only a BIOS gets option 43, which lets it take the file at once.
#[test]
fn who_boots_is_offered_a_boot_file_and_no_address() {
    let uuid = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
    let table = [
        (
            "BIOS ROM",
            bios_rom(1).option(97, uuid),
            "OFFER 0.0.0.0 to 255.255.255.255:68, undionly.kpxe 60=PXEClient 67=undionly.kpxe \
             43=[6, 1, 8, 255] 97=17",
        ),
        (
            "BIOS ROM that asks for a boot server's item",
            bios_rom(1).option(43, [71, 4, 0x80, 0, 0, 0, 255]),
            "OFFER 0.0.0.0 to 255.255.255.255:68, undionly.kpxe 60=PXEClient 67=undionly.kpxe \
             43=[6, 1, 8, 71, 4, 128, 0, 0, 0, 255] 97=0",
        ),
        (
            "edk2 PXE",
            edk2_pxe(1).option(97, uuid),
            "OFFER 0.0.0.0 to 255.255.255.255:68, snponly.efi 60=PXEClient 67=snponly.efi 43=[] 97=17",
        ),
        (
            "edk2 HTTP Boot",
            edk2_http(1),
            "OFFER 0.0.0.0 to 255.255.255.255:68 60=HTTPClient \
             67=http://10.77.0.1/uki/52-54-00-00-00-01/agent.efi 43=[] 97=0",
        ),
        (
            "iPXE",
            ipxe_bios(1),
            "OFFER 0.0.0.0 to 255.255.255.255:68, http://10.77.0.1/boot.ipxe 60=PXEClient \
             67=http://10.77.0.1/boot.ipxe 43=[] 97=17",
        ),
        ("Linux", from(1).option(55, [1, 3, 6]), "silence"),
        (
            "unknown firmware",
            from(1).option(60, "PXEClient").option(93, [0, 25]),
            "silence",
        ),
    ];
    for (case, client, expected) in table {
        assert_eq!(offered(&client), expected, "{case}");
    }
}

#[test]
fn a_relay_gets_the_offer_for_its_client() {
    let mut rack = proxy();
    assert_eq!(
        rack.says(&edk2_pxe(1).through([10, 77, 0, 2]).says(Discover)),
        "OFFER 0.0.0.0 to 10.77.0.2:67, snponly.efi"
    );
}

/// edk2 asks on port 4011 by REQUEST, a ROM by INFORM; a server answers there as a proxy does.
#[test]
fn the_boot_server_answers_whoever_asks() {
    for mode in [DhcpMode::Proxy, DhcpMode::Server] {
        let mut rack = Rack::with(blank(), |cluster| cluster.network.dhcp = mode);
        let at = [10, 77, 0, 60];
        let mut says = |client: From, kind| rack.says_at_4011(at, &client.at(at).says(kind));
        assert_eq!(
            says(edk2_pxe(1), Request),
            "ACK 0.0.0.0 to 10.77.0.60:68, snponly.efi"
        );
        assert_eq!(
            says(bios_rom(1), Inform),
            "ACK 0.0.0.0 to 10.77.0.60:68, undionly.kpxe"
        );
        assert_eq!(
            says(ipxe_bios(1), Request),
            "ACK 0.0.0.0 to 10.77.0.60:68, http://10.77.0.1/boot.ipxe"
        );
        assert_eq!(says(from(1), Request), "silence");
        assert_eq!(says(edk2_pxe(1), Release), "silence");
    }
}

#[test]
fn what_a_client_takes_of_the_other_server_is_in_its_timeline() {
    let mut rack = proxy();
    let take = edk2_pxe(1)
        .option(54, [10, 77, 0, 9])
        .option(50, [10, 77, 0, 60]);
    let outputs = rack.outputs(&take.says(Request));
    let [Output::Ignored(_), Output::Observed { name, event }] = outputs.as_slice() else {
        panic!("{outputs:?}");
    };
    let Event::Dhcp {
        summary, address, ..
    } = &**event
    else {
        panic!("{event:?}");
    };
    assert_eq!(name, "node1");
    assert_eq!(*address, Some(Ipv4Addr::new(10, 77, 0, 60)));
    assert_eq!(
        summary,
        "REQUEST from PXEClient:Arch:00007:UNDI:003000 → takes 10.77.0.60 of 10.77.0.9"
    );
}

/// Nothing is given, refused, asked for by ARP or stored.
#[test]
fn addresses_are_the_other_servers() {
    let mut rack = proxy();
    for message in [
        from(1).says(Discover),
        from(1).option(50, [10, 77, 0, 200]).says(Request),
        from(1).at([192, 168, 1, 1]).says(Request),
        from(1).option(50, [10, 77, 0, 11]).says(Decline),
        from(1).at([10, 77, 0, 11]).says(Release),
        from(1).at([10, 77, 0, 11]).says(Inform),
    ] {
        for output in rack.outputs(&message) {
            assert!(
                matches!(output, Output::Ignored(_) | Output::Observed { .. }),
                "{output:?}"
            );
        }
    }
}
