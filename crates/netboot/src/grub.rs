//! The scripts of the distribution's signed network GRUB, which starts the agent or the disk of a
//! machine under Secure Boot.
//!
//! The signed shim fetches `grubx64.efi` from where it was fetched itself, by TFTP. Debian's signed
//! GRUB (2.12, grubnetx64.efi.signed) then reads `grub/grub.cfg` from there: the same for every machine.
//! It knows its NIC, and asks for the script of that. What else both ask for need not exist:
//! `revocations_sku.efi`, `revocations_sbat.efi`, `shim_certificate_0.efi`, and in `grub/x86_64-efi/`
//! `command.lst`, `fs.lst`, `crypto.lst`, `terminal.lst` (seen with shim 16.1).

use hardway_model::identity::{Identity, MacAddress};
use hardway_model::inventory::Firmware;

use crate::answer::{Choice, Client, Program};

/// A file of GRUB's, by its name as TFTP is asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrubFile {
    /// `grub/grub.cfg`: the same for every machine.
    First,
    /// `grub/52:54:00:00:00:01.cfg`: what the machine with this NIC is to do. `-discover` and
    /// `-local-disk` before the dot: what was picked in the menu.
    Script {
        /// The NIC that booted.
        mac: MacAddress,
        /// What was picked.
        choice: Option<Choice>,
    },
}

/// Why a script cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrubError {
    /// Would change the script's meaning, or the argument's.
    #[error(
        "kernel argument `{0}` cannot stand in a GRUB script: use printable ASCII without spaces, \
         quotes and backslashes"
    )]
    UnsafeArgument(String),
}

impl GrubFile {
    /// Reads a name; `None` for every other file.
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.strip_prefix("grub/")?.strip_suffix(".cfg")?;
        if name == "grub" {
            return Some(Self::First);
        }
        let picked = [
            ("-discover", Choice::Discover),
            ("-local-disk", Choice::LocalDisk),
        ];
        let (mac, choice) = picked
            .into_iter()
            .find_map(|(end, choice)| Some((name.strip_suffix(end)?, Some(choice))))
            .unwrap_or((name, None));
        let mac = mac.parse().ok()?;
        Some(Self::Script { mac, choice })
    }
}

/// Who asks for a script. GRUB can read the SMBIOS UUID, but the NIC is what its request is bound to.
pub fn client(mac: MacAddress, choice: Option<Choice>) -> Client {
    let identity = Identity {
        macs: vec![mac],
        ..Identity::default()
    };
    let firmware = Firmware::Uefi;
    Client {
        identity,
        program: Program::IpxeScript { firmware, choice },
    }
}

/// `grub/grub.cfg`: asks for the machine's own script until it starts something.
///
/// `configfile` rather than `source`: the script may be a menu.
pub fn first_script() -> &'static str {
    "while true; do\n\
     configfile $prefix/$net_default_mac.cfg\n\
     echo Hardway: no script for $net_default_mac from $net_default_server: trying again in 5 seconds\n\
     sleep 5\n\
     done\n"
}

/// The script that starts the agent, whose kernel is signed; kernel and initramfs come by TFTP, since
/// the signed GRUB has no HTTP. `token` is the boot token that the run is bound to.
pub fn agent_script(
    appliance_url: &str,
    token: &str,
    mac: MacAddress,
    extra_arguments: &[String],
) -> Result<String, GrubError> {
    let own = [
        format!("hardway.url={appliance_url}"),
        format!("hardway.token={token}"),
    ];
    let last = [
        format!("BOOTIF=01-{}", mac.hyphenated()),
        "console=tty0".to_owned(),
        "console=ttyS0".to_owned(),
        "no_timer_check".to_owned(),
    ];
    let mut arguments = String::new();
    for argument in own.iter().chain(extra_arguments).chain(&last) {
        arguments += &format!(" '{}'", checked_argument(argument)?);
    }
    Ok(format!(
        "echo Hardway: starting the agent\n\
         if linux /vmlinuz{arguments}; then\n\
         if initrd /agent.initramfs; then\n\
         boot\n\
         fi\n\
         fi\n\
         echo Hardway: the agent could not be fetched\n"
    ))
}

/// The script that starts the first disk with an EFI boot loader, which has to be signed, too.
pub fn local_disk_script() -> &'static str {
    "echo Hardway: starting the disk\n\
     if search --no-floppy --file --set=root --hint=hd0 --hint=hd1 --hint=hd2 --hint=hd3 \
     /EFI/BOOT/BOOTX64.EFI; then\n\
     chainloader /EFI/BOOT/BOOTX64.EFI\n\
     boot\n\
     fi\n\
     echo Hardway: no disk with a signed EFI boot loader starts\n\
     sleep 5\n\
     exit\n"
}

/// The menu for undeclared machines. Nobody there within 30 seconds means the disk.
pub fn menu_script(mac: MacAddress) -> String {
    format!(
        "set timeout=30\n\
         set default=0\n\
         menuentry 'Start the disk of {mac}, which no machine in cluster.yaml matches' {{\n\
         configfile $prefix/{mac}-local-disk.cfg\n\
         }}\n\
         menuentry 'Start the agent and show this machine to the operator' {{\n\
         configfile $prefix/{mac}-discover.cfg\n\
         }}\n"
    )
}

/// Within single quotes GRUB expands nothing; its `linux` command puts a backslash before quotes and
/// backslashes (`grub_create_loader_cmdline`).
fn checked_argument(argument: &str) -> Result<&str, GrubError> {
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"'\"\\".contains(&byte);
    match !argument.is_empty() && argument.bytes().all(allowed) {
        true => Ok(argument),
        false => Err(GrubError::UnsafeArgument(
            argument.escape_default().to_string(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddress = MacAddress([0x52, 0x54, 0, 0, 0, 1]);
    const URL: &str = "http://10.77.0.1";

    #[test]
    fn names_that_grub_asks_for() {
        let script = |choice| Some(GrubFile::Script { mac: MAC, choice });
        for (name, file) in [
            ("grub/grub.cfg", Some(GrubFile::First)),
            ("grub/52:54:00:00:00:01.cfg", script(None)),
            (
                "grub/52:54:00:00:00:01-discover.cfg",
                script(Some(Choice::Discover)),
            ),
            (
                "grub/52:54:00:00:00:01-local-disk.cfg",
                script(Some(Choice::LocalDisk)),
            ),
            ("grub/x86_64-efi/command.lst", None),
            ("grub/52:54:00:00:00.cfg", None),
            ("grub/.cfg", None),
            ("grub.cfg", None),
            ("revocations_sku.efi", None),
        ] {
            assert_eq!(GrubFile::parse(name), file, "{name}");
        }
    }

    #[test]
    fn the_scripts_menu_leads_to_files_that_are_understood() {
        let menu = menu_script(MAC);
        let files: Vec<_> = menu
            .split_whitespace()
            .filter_map(|word| word.strip_prefix("$prefix/"))
            .map(|name| GrubFile::parse(&format!("grub/{name}")))
            .collect();
        let picked = |choice| {
            let choice = Some(choice);
            Some(GrubFile::Script { mac: MAC, choice })
        };
        assert_eq!(files, [picked(Choice::LocalDisk), picked(Choice::Discover)]);
    }

    #[test]
    fn the_agent_is_told_what_ipxe_tells_it() {
        let script = agent_script(URL, "0123abcd", MAC, &["hardway.debug".to_owned()]).unwrap();
        assert_eq!(
            script,
            "echo Hardway: starting the agent\n\
             if linux /vmlinuz 'hardway.url=http://10.77.0.1' 'hardway.token=0123abcd' \
             'hardway.debug' 'BOOTIF=01-52-54-00-00-00-01' 'console=tty0' 'console=ttyS0' \
             'no_timer_check'; then\n\
             if initrd /agent.initramfs; then\n\
             boot\n\
             fi\n\
             fi\n\
             echo Hardway: the agent could not be fetched\n"
        );
    }

    #[test]
    fn nothing_breaks_out_of_an_argument() {
        for argument in [
            "",
            "a b",
            "a\nreboot",
            "a'; reboot",
            "a\"",
            "a\\",
            "a\0",
            "ü",
        ] {
            let refused = agent_script(URL, "0123abcd", MAC, &[argument.to_owned()]);
            assert!(refused.is_err(), "{argument:?}");
        }
        assert!(agent_script(URL, "0123\nreboot", MAC, &[]).is_err());
        // Expanded by GRUB outside single quotes alone.
        let odd = ["a=$b;c&d|{e}#f".to_owned()];
        assert!(agent_script(URL, "0123abcd", MAC, &odd).is_ok());
    }

    #[test]
    fn every_block_of_a_script_is_closed() {
        let agent = agent_script(URL, "0123abcd", MAC, &[]).unwrap();
        for script in [first_script(), local_disk_script(), &agent] {
            let count = |word: &str| script.split_whitespace().filter(|w| *w == word).count();
            assert_eq!(count("if"), count("fi"), "{script}");
            assert_eq!(count("while"), count("done"), "{script}");
            assert!(script.ends_with('\n') && !script.contains('`'), "{script}");
        }
    }
}
