//! Links on top of ports: a bond by the files of the kernel's bonding driver
//! (Documentation/networking/bonding.rst), a VLAN by an ioctl of its 8021q driver.

use std::fs;
use std::path::Path;

use nix::errno::Errno;

use super::links::{LinkError, control, refused};

/// `SIOCSIFVLAN` of linux/sockios.h.
const SET_VLAN: libc::c_ulong = 0x8983;

/// `struct vlan_ioctl_args` of linux/if_vlan.h; all zeros is `ADD_VLAN_CMD`.
#[repr(C)]
struct VlanRequest {
    command: libc::c_int,
    device: [u8; 24],
    /// A union of 24 bytes whose first four are the VLAN's id here.
    id: libc::c_int,
    rest: [u8; 20],
    quality: libc::c_short,
}

/// Makes a bond of ports that are down, in the kernel's word for its mode; their address becomes that
/// of the first. Ports that belong to it already stay. Wants the module `bonding`.
pub fn make_bond(root: &Path, name: &str, mode: &str, ports: &[String]) -> Result<(), LinkError> {
    let all = root.join("sys/class/net");
    let write = |file: &str, text: &str| {
        fs::write(all.join(file), text).map_err(|error| {
            let errno = Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
            refused(&format!("writing {text} to {file}"), name, errno)
        })
    };
    // The module makes a bond0 when it is loaded.
    if !all.join(name).exists() {
        write("bonding_masters", &format!("+{name}"))?;
    }
    let slaves = format!("{name}/bonding/slaves");
    let present = fs::read_to_string(all.join(&slaves)).unwrap_or_default();
    if present.trim().is_empty() {
        write(&format!("{name}/bonding/mode"), mode)?;
        write(&format!("{name}/bonding/miimon"), "100")?;
    }
    for port in ports {
        if !present.split_whitespace().any(|slave| slave == port) {
            write(&slaves, &format!("+{port}"))?;
        }
    }
    Ok(())
}

/// Makes a VLAN on a link, and gives its name: `eth0.20`. One that is there already is no error. Wants
/// the module `8021q`.
pub fn make_vlan(link: &str, id: u16) -> Result<String, LinkError> {
    let mut request = VlanRequest {
        command: 0,
        device: [0; 24],
        id: id.into(),
        rest: [0; 20],
        quality: 0,
    };
    if link.len() >= libc::IFNAMSIZ {
        return Err(LinkError::Name(link.to_owned()));
    }
    request.device[..link.len()].copy_from_slice(link.as_bytes());
    let control = control(link)?;
    // SAFETY: the request is a whole vlan_ioctl_args, and lives over the call.
    let outcome = unsafe {
        libc::ioctl(
            std::os::fd::AsRawFd::as_raw_fd(&control),
            SET_VLAN as _,
            &raw mut request,
        )
    };
    match Errno::result(outcome) {
        Ok(_) | Err(Errno::EEXIST) => Ok(format!("{link}.{id}")),
        Err(source) => Err(refused(&format!("making VLAN {id}"), link, source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands in a file after a bond was made of eth0 and eth1.
    fn made(slaves_before: &str) -> (tempfile::TempDir, impl Fn(&str) -> String) {
        let root = tempfile::tempdir().unwrap();
        let net = root.path().join("sys/class/net");
        fs::create_dir_all(net.join("bond0/bonding")).unwrap();
        fs::write(net.join("bond0/bonding/slaves"), slaves_before).unwrap();
        let ports = ["eth0", "eth1"].map(str::to_owned);
        make_bond(root.path(), "bond0", "802.3ad", &ports).unwrap();
        let read = move |file: &str| fs::read_to_string(net.join(file)).unwrap_or_default();
        (root, read)
    }

    #[test]
    fn a_bond_is_set_up_before_its_ports_join() {
        let (_root, read) = made("");
        assert_eq!(read("bond0/bonding/mode"), "802.3ad");
        assert_eq!(read("bond0/bonding/miimon"), "100");
        assert_eq!(read("bond0/bonding/slaves"), "+eth1");
        assert_eq!(read("bonding_masters"), "");
    }

    #[test]
    fn what_is_done_already_is_not_done_again() {
        let (_root, read) = made("eth0 eth1\n");
        assert_eq!(read("bond0/bonding/mode"), "");
        assert_eq!(read("bond0/bonding/slaves"), "eth0 eth1\n");
    }

    #[test]
    fn errors_name_the_link() {
        let root = tempfile::tempdir().unwrap();
        let error = make_bond(root.path(), "bond0", "802.3ad", &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "writing +bond0 to bonding_masters on bond0"
        );
        let error = make_vlan("no-such-link", 20).unwrap_err();
        assert_eq!(error.to_string(), "making VLAN 20 on no-such-link");
        assert!(matches!(
            make_vlan("a-name-of-16-bytes", 20),
            Err(LinkError::Name(_))
        ));
    }
}
