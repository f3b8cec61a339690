//! What starts the agent: for whom a boot token is issued, and the unified kernel image.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request, StatusCode};
use hardway_netboot::dhcp::Lease;

use super::SCRIPT;
use crate::clock;
use crate::fixture::{Appliance, CLUSTER, MAC};
use crate::serve::boot_files;

const IMAGE: &str = "/uki/52-54-00-00-00-01/agent.efi";
const NOBODY: &str = "hardway.token=00000000000000000000000000000000 ";

/// As systemd's stub is built, without a section.
fn stub() -> Vec<u8> {
    let mut bytes = vec![0; 0x600];
    let mut set = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    set(0, b"MZ");
    set(0x3c, &[0x40]);
    set(0x40, b"PE\0\0");
    set(0x54, &240_u16.to_le_bytes());
    set(0x58, &0x20b_u16.to_le_bytes());
    for (at, value) in [(32, 0x1000_u32), (36, 0x200), (56, 0x1000), (60, 0x600)] {
        set(0x58 + at, &value.to_le_bytes());
    }
    bytes
}

async fn appliance() -> Appliance {
    appliance_with(CLUSTER).await
}

async fn appliance_with(cluster: &str) -> Appliance {
    let appliance = Appliance::with(cluster).await;
    let boot = appliance.folder.path().join("payload/boot");
    std::fs::write(boot.join("linuxx64.efi.stub"), stub()).unwrap();
    std::fs::write(boot.join("agent.initramfs"), "an initramfs").unwrap();
    appliance
}

async fn lease(appliance: &Appliance, mac: &str, address: &str) {
    let later = clock::now() + 60_000;
    let lease = Lease::new(address.parse().unwrap(), mac.parse().ok(), later);
    appliance.context.fleet.store_lease(lease).await.unwrap();
}

async fn ask(
    appliance: &Appliance,
    method: Method,
    path: &str,
    from: &str,
    range: &str,
) -> (StatusCode, String) {
    let mut request = Request::builder().method(method).uri(path);
    if !range.is_empty() {
        request = request.header("range", range);
    }
    let mut request = request.body(Body::empty()).unwrap();
    let peer = SocketAddr::new(from.parse().unwrap(), 1000);
    request.extensions_mut().insert(ConnectInfo(peer));
    appliance.ask(request).await
}

fn live_token(appliance: &Appliance) -> Option<String> {
    let snapshot = appliance.context.fleet.snapshot();
    let token = snapshot.machines["node1"].token.as_ref();
    token.map(|live| format!("hardway.token={} ", live.token))
}

/// Every way to the agent tells it of the links that its profile chose for it.
#[tokio::test]
async fn the_agent_is_told_of_its_link() {
    let network = "{vlans: {rack: {id: 20, link: port1}}, agent: rack}";
    let profile = format!("    network: {network}\n    config: [base.bu]");
    let cluster = CLUSTER.replace("    config: [base.bu]", &profile);
    for (text, expected) in [(CLUSTER, 0), (cluster.as_str(), 1)] {
        let appliance = appliance_with(text).await;
        let (_, script) = appliance.get(SCRIPT).await;
        let (_, image) = ask(&appliance, Method::GET, IMAGE, "10.77.0.11", "").await;
        let grub = format!("grub/{MAC}.cfg");
        let grub = boot_files::open(&appliance.context, &grub, [10, 77, 0, 11].into()).await;
        let grub = grub.unwrap();
        let mut bytes = vec![0; grub.size() as usize];
        grub.read_exact_at(&mut bytes, 0).unwrap();
        let grub = String::from_utf8(bytes).unwrap();
        for told in [script, image, grub] {
            assert!(told.contains("hardway.token="), "{told}");
            assert_eq!(
                told.matches("hardway.link=vlan20").count(),
                expected,
                "{told}"
            );
        }
    }
}

#[tokio::test]
async fn an_image_is_made_for_the_machine_and_its_token_is_live() {
    let appliance = appliance().await;
    let get = |range| ask(&appliance, Method::GET, IMAGE, "10.77.0.11", range);
    let (status, nothing) = ask(&appliance, Method::HEAD, IMAGE, "10.77.0.11", "").await;
    assert_eq!((status, nothing.as_str()), (StatusCode::OK, ""));
    assert_eq!(live_token(&appliance), None, "none for a HEAD");

    let (status, part) = get("bytes=1-").await;
    assert_eq!(status, StatusCode::PARTIAL_CONTENT);
    assert!(part.contains(NOBODY), "{part}");
    assert_eq!(
        live_token(&appliance),
        None,
        "none for the rest of a download"
    );

    let (status, image) = get("").await;
    assert_eq!(status, StatusCode::OK);
    for part in [
        "MZ",
        "hardway.url=http://10.77.0.1 ",
        &live_token(&appliance).unwrap(),
        "BOOTIF=01-52-54-00-00-00-01",
        "a kernel",
        "an initramfs",
    ] {
        assert!(image.contains(part), "{part} in {image}");
    }
    let (_, rest) = get("bytes=1-").await;
    assert!(
        rest.contains(&live_token(&appliance).unwrap()),
        "of the same boot"
    );
    assert_eq!(rest.len(), image.len() - 1);

    let (status, _) = appliance.get("/uki/52-54-00-00-00-01/other.efi").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, _) = appliance.get("/uki/nobody/agent.efi").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_installed_machine_gets_no_image() {
    let cluster =
        std::fs::read_to_string(appliance().await.context.options.config.clone()).unwrap();
    let cluster = cluster.replace("profiles:", "unknown: local-disk\nprofiles:");
    let appliance = Appliance::with(&cluster).await;
    let (status, text) = appliance.get("/uki/52-54-00-00-00-77/agent.efi").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(text.contains("is to start its disk"), "{text}");
}

#[tokio::test]
async fn a_token_is_for_the_address_that_the_machine_was_leased() {
    let appliance = appliance().await;
    let check = async |path, from, expected: Result<(), &str>| {
        let (status, text) = ask(&appliance, Method::GET, path, from, "").await;
        match expected {
            Ok(()) => assert_eq!(status, StatusCode::OK, "{path} from {from}: {text}"),
            Err(why) => {
                assert_eq!(status, StatusCode::FORBIDDEN, "{path} from {from}");
                assert!(text.contains(why), "{text}");
            }
        }
    };
    for path in [SCRIPT, IMAGE] {
        check(path, "10.77.0.240", Ok(())).await;
    }
    lease(&appliance, "52:54:00:00:00:99", "10.77.0.120").await;
    for path in [SCRIPT, IMAGE] {
        check(path, "10.77.0.240", Ok(())).await;
        let why = "10.77.0.120 is leased to 52:54:00:00:00:99";
        check(path, "10.77.0.120", Err(why)).await;
    }
    lease(&appliance, MAC, "10.77.0.11").await;
    for path in [SCRIPT, IMAGE] {
        check(path, "10.77.0.11", Ok(())).await;
        let why = "that machine was leased 10.77.0.11, and 10.77.0.240 asks";
        check(path, "10.77.0.240", Err(why)).await;
    }
}

#[tokio::test]
async fn browsers_find_an_icon() {
    let appliance = Appliance::start().await;
    for path in ["/favicon.ico", "/assets/icon.svg"] {
        let (status, icon) = appliance.get(path).await;
        assert_eq!(status, StatusCode::OK);
        assert!(icon.starts_with("<svg"), "{icon}");
    }
}
