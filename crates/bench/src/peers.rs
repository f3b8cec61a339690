//! The peers, each as fast as its documentation says how to make it.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use crate::async_tftpd;
use crate::network::{PREFIX, SERVER_INTERFACE, client_address};
use crate::ours::{POOL, colons, machine_mac, write};
use crate::section::Bench;
use crate::server::{Port, Recipe};

/// dnsmasq's address. Each server has its own, so that those that are not measured can idle.
pub const DNSMASQ: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 11);
/// tftpd-hpa's.
pub const TFTPD_HPA: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 12);
/// async-tftp's.
pub const ASYNC_TFTP: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 13);
/// nginx'.
pub const NGINX: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 14);
/// Kea's.
pub const KEA: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 15);
/// nginx' port; ours takes 80 at every address.
pub const NGINX_PORT: u16 = 8080;

/// When a peer's leases are on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leases {
    /// When the kernel gets round to it, as the peers have it.
    Written,
    /// Before the write returns (chattr(1), attribute `S`), so before the ACK leaves, as ours have it.
    Durable,
}

impl Leases {
    /// For files that are made in the folder from now on.
    fn apply(self, folder: &Path) -> anyhow::Result<()> {
        if self == Self::Written {
            return Ok(());
        }
        let mut command = Command::new("chattr");
        command.arg("+S").arg(folder);
        let status = command.status().context("starting chattr")?;
        anyhow::ensure!(
            status.success(),
            "{} is on a filesystem without synchronous files: choose a folder on ext4",
            folder.display()
        );
        Ok(())
    }
}

/// Kea's DHCPv4 server: leases in its memfile, written to the disk as they change. One thread was
/// faster than a pool of two on two cores, and is what a memfile is documented to suit.
pub fn kea(bench: &Bench, leases: Leases) -> anyhow::Result<Recipe> {
    let state = bench.state("kea")?;
    leases.apply(&state)?;
    let config = state.join("kea.json");
    let (first, last) = POOL;
    let text = format!(
        r#"{{"Dhcp4": {{
  "interfaces-config": {{"interfaces": ["{SERVER_INTERFACE}/{KEA}"], "dhcp-socket-type": "udp"}},
  "lease-database": {{"type": "memfile", "persist": true, "name": "{}", "lfc-interval": 3600}},
  "multi-threading": {{"enable-multi-threading": false}},
  "valid-lifetime": 3600,
  "subnet4": [{{"subnet": "10.99.0.0/{PREFIX}", "pools": [{{"pool": "{first}-{last}"}}]}}],
  "loggers": [{{"name": "kea-dhcp4", "severity": "WARN", "output_options": [{{"output": "stderr"}}]}}]
}}}}
"#,
        state.join("leases.csv").display()
    );
    write(&config, &text)?;
    let mut command = tool("kea-dhcp4");
    command.arg("-c").arg(&config);
    command.env("KEA_PIDFILE_DIR", &state);
    command.env("KEA_LOCKFILE_DIR", &state);
    Ok(Recipe {
        name: "kea-dhcp4".to_owned(),
        version: first_line(&said(tool("kea-dhcp4").arg("-V"))?),
        command,
        address: KEA,
        ports: vec![Port::Udp(67)],
        log: bench.log("kea"),
    })
}

/// What dnsmasq is asked to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A DHCP server.
    Dhcp,
    /// A TFTP server.
    Tftp,
    /// Both, with so many known machines, iPXE's script coming from nginx.
    Both(usize),
}

/// dnsmasq, without DNS, and without a ping before an offer.
pub fn dnsmasq(bench: &Bench, role: Role, leases: Leases) -> anyhow::Result<Recipe> {
    let state = bench.state("dnsmasq")?;
    leases.apply(&state)?;
    let config = state.join("dnsmasq.conf");
    write(&config, &dnsmasq_conf(bench, role, &state))?;
    let mut command = tool("dnsmasq");
    command.arg("--keep-in-foreground");
    command.arg(format!("--conf-file={}", config.display()));
    let said = said(tool("dnsmasq").arg("--version"))?;
    let version = said.split_whitespace().nth(2).unwrap_or("unknown");
    Ok(Recipe {
        name: "dnsmasq".to_owned(),
        version: version.to_owned(),
        command,
        address: DNSMASQ,
        ports: match role {
            Role::Dhcp => vec![Port::Udp(67)],
            Role::Tftp => vec![Port::Udp(69)],
            Role::Both(_) => vec![Port::Udp(67), Port::Udp(69)],
        },
        log: bench.log("dnsmasq"),
    })
}

fn dnsmasq_conf(bench: &Bench, role: Role, state: &Path) -> String {
    let mut text =
        format!("port=0\nuser=root\npid-file=\nbind-interfaces\nlisten-address={DNSMASQ}\n");
    let (first, last) = POOL;
    if role != Role::Tftp {
        let leases = state.join("leases").display().to_string();
        let _ = write!(
            text,
            "dhcp-range={first},{last},255.255.0.0,1h\ndhcp-authoritative\nno-ping\nquiet-dhcp\n\
             dhcp-lease-max=20000\ndhcp-leasefile={leases}\n"
        );
    }
    if role != Role::Dhcp {
        let folder = bench.payload.boot().display().to_string();
        // Its default of 50 transfers would refuse most of a rack.
        let _ = write!(text, "enable-tftp\ntftp-root={folder}\ntftp-max=2000\n");
    }
    if let Role::Both(machines) = role {
        let _ = write!(
            text,
            "dhcp-match=set:ipxe,175\n\
             dhcp-boot=tag:!ipxe,undionly.kpxe,,{DNSMASQ}\n\
             dhcp-boot=tag:ipxe,http://{NGINX}:{NGINX_PORT}/boot.ipxe\n"
        );
        for number in 0..machines {
            let mac = colons(machine_mac(number));
            let _ = writeln!(text, "dhcp-host={mac},{}", client_address(number));
        }
    }
    text
}

/// tftpd-hpa, standing alone: a process for each transfer.
pub fn tftpd_hpa(bench: &Bench) -> anyhow::Result<Recipe> {
    let mut command = tool("in.tftpd");
    command.args([
        "--foreground",
        "--ipv4",
        "--user",
        "root",
        "--secure",
        "--address",
    ]);
    command
        .arg(format!("{TFTPD_HPA}:69"))
        .arg(bench.payload.boot());
    let said = said(tool("in.tftpd").arg("-V"))?;
    let version = said.trim_start_matches("tftp-hpa ").split(',').next();
    Ok(Recipe {
        name: "tftpd-hpa".to_owned(),
        version: version.unwrap_or("unknown").trim().to_owned(),
        command,
        address: TFTPD_HPA,
        ports: vec![Port::Udp(69)],
        log: bench.log("tftpd-hpa"),
    })
}

/// async-tftp, as this program runs it.
pub fn async_tftp(bench: &Bench) -> anyhow::Result<Recipe> {
    let program = std::env::current_exe().context("looking for this program")?;
    let mut command = Command::new(program);
    command
        .arg("async-tftpd")
        .arg(bench.payload.boot())
        .arg(ASYNC_TFTP.to_string());
    Ok(Recipe {
        name: "async-tftp".to_owned(),
        version: async_tftpd::version(),
        command,
        address: ASYNC_TFTP,
        ports: vec![Port::Udp(69)],
        log: bench.log("async-tftp"),
    })
}

/// nginx with sendfile, a worker for each core, files held open, and no access log.
pub fn nginx(bench: &Bench) -> anyhow::Result<Recipe> {
    let state = bench.state("nginx")?;
    let config = state.join("nginx.conf");
    let root = &bench.payload.root;
    for (name, script) in nginx_scripts() {
        write(&root.join(name), &script)?;
    }
    let text = format!(
        "user root;\n\
         worker_processes auto;\n\
         worker_rlimit_nofile 16384;\n\
         daemon off;\n\
         pid {state}/pid;\n\
         error_log stderr warn;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n\
         \x20 access_log off;\n\
         \x20 sendfile on;\n\
         \x20 tcp_nopush on;\n\
         \x20 keepalive_requests 1000000;\n\
         \x20 open_file_cache max=1000;\n\
         \x20 server {{ listen {NGINX}:{NGINX_PORT} backlog=4096; root {root}; }}\n\
         }}\n",
        state = state.display(),
        root = root.display()
    );
    write(&config, &text)?;
    let mut command = tool("nginx");
    command.arg("-p").arg(&state).arg("-c").arg(&config);
    command.args(["-e", "stderr"]);
    let said = said(tool("nginx").arg("-v"))?;
    let version = said.trim().rsplit('/').next().unwrap_or("unknown");
    Ok(Recipe {
        name: "nginx".to_owned(),
        version: version.to_owned(),
        command,
        address: NGINX,
        ports: vec![Port::Tcp(NGINX_PORT)],
        log: bench.log("nginx"),
    })
}

/// Stand-ins for the two scripts that ours composes: a static file each.
fn nginx_scripts() -> [(&'static str, String); 2] {
    let url = format!("http://{NGINX}:{NGINX_PORT}");
    [
        (
            "boot.ipxe",
            format!("#!ipxe\nchain --replace {url}/ipxe?mac=${{netX/mac:hexhyp}}\n"),
        ),
        (
            "ipxe",
            format!(
                "#!ipxe\nkernel {url}/boot/vmlinuz initrd=agent.initramfs\n\
                 initrd {url}/boot/agent.initramfs\nboot\n"
            ),
        ),
    ]
}

/// What a program says about itself, on either output.
pub fn said(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .output()
        .with_context(|| format!("starting {}", command.get_program().display()))?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok(text)
}

/// Daemons stand where a user's `PATH` does not look.
pub fn tool(name: &str) -> Command {
    let path = Path::new("/usr/sbin").join(name);
    Command::new(if path.is_file() { path } else { name.into() })
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or("unknown").trim().to_owned()
}
