//! Ethernet interfaces: what /sys says of them, and the ioctls of netdevice(7) and rtentry.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Why an interface did not do as it was told.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// /sys/class/net cannot be read.
    #[error("listing network interfaces")]
    List(#[source] std::io::Error),
    /// Names have at most 15 bytes.
    #[error("`{0}` is no interface name")]
    Name(String),
    /// The kernel refused.
    #[error("{action} on {link}")]
    Refused {
        /// What was asked.
        action: String,
        /// Of which interface.
        link: String,
        /// Why not.
        source: Errno,
    },
}

/// An Ethernet interface with a device behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's name, as `eth0`.
    pub name: String,
    /// Hardware address.
    pub mac: [u8; 6],
    /// Driver, as `virtio_net`.
    pub driver: Option<String>,
    /// Whether there is carrier; `false` while the interface is down.
    pub carrier: bool,
    /// Mbit/s, where the driver knows it.
    pub speed: Option<u32>,
}

/// Every wired Ethernet interface that has a device, by name. `root` is `/` outside tests.
pub fn list(root: &Path) -> Result<Vec<Link>, LinkError> {
    let folder = root.join("sys/class/net");
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(LinkError::List(error)),
    };
    let mut links: Vec<Link> = entries
        .filter_map(|entry| read(&entry.ok()?.path()))
        .collect();
    links.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(links)
}

/// Whether the interface has carrier.
pub fn carrier(root: &Path, name: &str) -> bool {
    attribute(&root.join("sys/class/net").join(name), "carrier").as_deref() == Some("1")
}

/// Waits until the interface has carrier, at most `patience`. Says whether it has.
pub fn wait_for_carrier(root: &Path, name: &str, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if carrier(root, name) {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Brings the interface up.
pub fn up(name: &str) -> Result<(), LinkError> {
    let control = control(name)?;
    let mut request = request(name)?;
    // SAFETY: the request is a whole ifreq; SIOCGIFFLAGS fills the flags that are then read.
    let flags = unsafe {
        ioctl(&control, libc::SIOCGIFFLAGS, &raw mut request)
            .map_err(|source| refused("reading flags", name, source))?;
        request.ifr_ifru.ifru_flags
    };
    request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as libc::c_short;
    // SAFETY: as above.
    unsafe { ioctl(&control, libc::SIOCSIFFLAGS, &raw mut request) }
        .map_err(|source| refused("bringing the link up", name, source))
}

/// Gives the interface one IPv4 address, in place of the one it has.
pub fn set_address(name: &str, address: Ipv4Addr, prefix: u8) -> Result<(), LinkError> {
    let action = format!("setting address {address}/{prefix}");
    let mask = Ipv4Addr::from(
        u32::MAX
            .checked_shl(32 - u32::from(prefix.min(32)))
            .unwrap_or(0),
    );
    let control = control(name)?;
    for (operation, value) in [(libc::SIOCSIFADDR, address), (libc::SIOCSIFNETMASK, mask)] {
        let mut request = request(name)?;
        request.ifr_ifru.ifru_addr = socket_address(value);
        // SAFETY: the request is a whole ifreq with a socket address in it.
        unsafe { ioctl(&control, operation, &raw mut request) }
            .map_err(|source| refused(&action, name, source))?;
    }
    Ok(())
}

/// Sends everything that no other route covers to `gateway` through the interface. A route that
/// is there already is no error.
pub fn set_default_route(name: &str, gateway: Ipv4Addr) -> Result<(), LinkError> {
    let control = control(name)?;
    let mut device = request(name)?.ifr_name;
    // SAFETY: all-zero is a valid rtentry: null pointers and empty addresses.
    let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
    route.rt_dst = socket_address(Ipv4Addr::UNSPECIFIED);
    route.rt_genmask = socket_address(Ipv4Addr::UNSPECIFIED);
    route.rt_gateway = socket_address(gateway);
    route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
    route.rt_dev = device.as_mut_ptr();
    // SAFETY: the route and the name that it points to live over the call.
    let outcome = unsafe { libc::ioctl(control.as_raw_fd(), libc::SIOCADDRT as _, &raw mut route) };
    match Errno::result(outcome) {
        Ok(_) | Err(Errno::EEXIST) => Ok(()),
        Err(source) => Err(refused(
            &format!("setting default route by {gateway}"),
            name,
            source,
        )),
    }
}

fn read(path: &Path) -> Option<Link> {
    const ETHERNET: &str = "1";
    let wireless = path.join("wireless").exists() || path.join("phy80211").exists();
    if attribute(path, "type")? != ETHERNET || wireless || !path.join("device").exists() {
        return None;
    }
    let driver = std::fs::read_link(path.join("device/driver")).ok();
    Some(Link {
        name: path.file_name()?.to_str()?.to_owned(),
        mac: parse_mac(&own_address(path)?)?,
        driver: driver.and_then(|link| Some(link.file_name()?.to_str()?.to_owned())),
        carrier: attribute(path, "carrier").as_deref() == Some("1"),
        speed: attribute(path, "speed").and_then(|text| text.parse().ok()),
    })
}

/// A port of a bond has the bond's address as long as it belongs to it.
fn own_address(path: &Path) -> Option<String> {
    attribute(path, "bonding_slave/perm_hwaddr").or_else(|| attribute(path, "address"))
}

/// A down interface answers EINVAL for `carrier` and `speed`: that is an absent attribute.
fn attribute(path: &Path, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path.join(name)).ok()?;
    Some(text.trim().to_owned())
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut pairs = text.split(':');
    for octet in &mut mac {
        *octet = u8::from_str_radix(pairs.next()?, 16).ok()?;
    }
    pairs.next().is_none().then_some(mac)
}

pub(crate) fn control(name: &str) -> Result<OwnedFd, LinkError> {
    socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .map_err(|source| refused("opening a control socket", name, source))
}

fn request(name: &str) -> Result<libc::ifreq, LinkError> {
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() {
        return Err(LinkError::Name(name.to_owned()));
    }
    for (slot, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *slot = byte as libc::c_char;
    }
    Ok(request)
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let mut data = [0; 14];
    for (slot, octet) in data[2..6].iter_mut().zip(address.octets()) {
        *slot = octet as libc::c_char;
    }
    libc::sockaddr {
        sa_family: libc::AF_INET as libc::sa_family_t,
        sa_data: data,
    }
}

/// # Safety
/// `operation` must take a pointer to an ifreq.
unsafe fn ioctl(
    control: &OwnedFd,
    operation: libc::c_ulong,
    request: *mut libc::ifreq,
) -> Result<(), Errno> {
    // SAFETY: by the caller's promise.
    let outcome = unsafe { libc::ioctl(control.as_raw_fd(), operation as _, request) };
    Errno::result(outcome).map(drop)
}

pub(crate) fn refused(action: &str, link: &str, source: Errno) -> LinkError {
    LinkError::Refused {
        action: action.to_owned(),
        link: link.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn wired_interfaces_with_a_device_are_listed() {
        let root = tempfile::tempdir().unwrap();
        let interface = |name: &str, kind: &str, extra: &[&str]| {
            let path = root.path().join("sys/class/net").join(name);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("type"), kind).unwrap();
            std::fs::write(path.join("address"), "52:54:00:00:00:0a\n").unwrap();
            for folder in extra {
                std::fs::create_dir_all(path.join(folder)).unwrap();
            }
            path
        };
        interface("lo", "772\n", &[]);
        interface("bridge0", "1\n", &[]);
        interface("wlan0", "1\n", &["device", "wireless"]);
        let eth1 = interface("eth1", "1\n", &["device", "bonding_slave"]);
        std::fs::write(eth1.join("address"), "52:54:00:00:00:ff\n").unwrap();
        std::fs::write(
            eth1.join("bonding_slave/perm_hwaddr"),
            "52:54:00:00:00:0a\n",
        )
        .unwrap();
        let eth0 = interface("eth0", "1\n", &["device"]);
        std::fs::write(eth0.join("carrier"), "1\n").unwrap();
        std::fs::write(eth0.join("speed"), "1000\n").unwrap();
        symlink("../../drivers/e1000", eth0.join("device/driver")).unwrap();

        let mac = [0x52, 0x54, 0, 0, 0, 0x0a];
        let bare = Link {
            name: "eth1".into(),
            mac,
            driver: None,
            carrier: false,
            speed: None,
        };
        let full = Link {
            name: "eth0".into(),
            driver: Some("e1000".into()),
            carrier: true,
            speed: Some(1000),
            ..bare.clone()
        };
        assert_eq!(list(root.path()).unwrap(), vec![full, bare]);
        assert!(wait_for_carrier(root.path(), "eth0", Duration::ZERO));
        assert!(!wait_for_carrier(root.path(), "eth1", Duration::ZERO));
    }

    #[test]
    fn errors_name_the_interface() {
        let error = set_address("no-such-link", Ipv4Addr::LOCALHOST, 8).unwrap_err();
        assert_eq!(
            error.to_string(),
            "setting address 127.0.0.1/8 on no-such-link"
        );
        assert!(matches!(up("a-name-of-16-bytes"), Err(LinkError::Name(_))));
    }
}
