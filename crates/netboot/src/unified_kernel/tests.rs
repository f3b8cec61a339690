//! Images read back by a reader of object files that shares nothing with this module.

use object::read::pe::PeFile64;
use object::{Object as _, ObjectSection as _};

use super::*;

/// As systemd's stub is built: two sections, room for more in the head.
fn stub() -> Vec<u8> {
    let mut bytes = vec![0; 0xa00];
    let mut set = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    set(0, b"MZ");
    set(0x3c, &0x40_u32.to_le_bytes());
    set(0x40, b"PE\0\0");
    set(0x44, &0x8664_u16.to_le_bytes());
    set(0x46, &2_u16.to_le_bytes());
    set(0x54, &240_u16.to_le_bytes());
    set(0x56, &0x22_u16.to_le_bytes());
    set(0x58, &PE32_PLUS.to_le_bytes());
    for (at, value) in [
        (SIZE_OF_INITIALIZED_DATA, 0x200_u32),
        (SECTION_ALIGNMENT, 0x1000),
        (FILE_ALIGNMENT, 0x200),
        (SIZE_OF_IMAGE, 0x3000),
        (SIZE_OF_HEADERS, 0x600),
        (CHECK_SUM, 0xbad),
        (OPTIONAL_HEADER + 108, 16),
    ] {
        set(0x40 + at, &value.to_le_bytes());
    }
    for (at, name, address, position) in [
        (0x148, b".text\0\0\0", 0x1000_u32, 0x600_u32),
        (0x170, b".sbat\0\0\0", 0x2000, 0x800),
    ] {
        set(at, name);
        for (field, value) in [(8, 0x123), (12, address), (16, 0x200), (20, position)] {
            set(at + field, &value.to_le_bytes());
        }
    }
    set(0x600, b"code");
    set(0x800, b"sbat,1");
    bytes
}

const LINUX: &[u8] = &[b'k'; 0x1801];
const INITRD: &[u8] = &[b'i'; 0x400];

fn image(stub: &[u8], command_line: &str) -> Result<Vec<u8>, UnifiedKernelError> {
    let parts = compose(Ingredients {
        stub,
        command_line,
        linux: LINUX.len() as u64,
        initrd: INITRD.len() as u64,
    })?;
    let bytes = parts.iter().map(|part| match part {
        Part::Bytes(bytes) => bytes.as_slice(),
        Part::StubFrom(start) => &stub[*start..],
        Part::Linux => LINUX,
        Part::Initrd => INITRD,
    });
    Ok(bytes.collect::<Vec<_>>().concat())
}

/// What every image has to be, read by somebody else.
fn check(stub: &[u8]) {
    let image = image(stub, "hardway.token=0123 console=ttyS0").unwrap();
    let file = PeFile64::parse(&*image).unwrap();
    let before = PeFile64::parse(stub).unwrap();
    let content = |name: &str| {
        let section = file.section_by_name(name);
        // The reader cuts the file's padding off at the size in memory.
        section
            .unwrap_or_else(|| panic!("no {name}"))
            .data()
            .unwrap()
    };
    assert_eq!(content(".osrel"), OS_RELEASE.as_bytes());
    assert_eq!(content(".cmdline"), b"hardway.token=0123 console=ttyS0");
    assert_eq!(content(".linux"), LINUX);
    assert_eq!(content(".initrd"), INITRD);
    for section in before.sections() {
        let name = section.name().unwrap();
        assert_eq!(content(name), section.data().unwrap(), "{name}");
    }
    let header = |file: &PeFile64<'_>| file.nt_headers().optional_header;
    assert_eq!(header(&file).check_sum.get(object::LittleEndian), 0);
    let align = u64::from(header(&file).section_alignment.get(object::LittleEndian));
    let mut free = 0;
    for section in file.sections() {
        let (name, address) = (section.name().unwrap(), section.address());
        assert!(address >= free && address % align == 0, "{name} overlaps");
        free = address + section.size();
        let (position, size) = section.file_range().unwrap();
        assert!(position + size <= image.len() as u64, "{name} is cut off");
    }
    let size = u64::from(header(&file).size_of_image.get(object::LittleEndian));
    let base = header(&file).image_base.get(object::LittleEndian);
    assert_eq!(size, (free - base).next_multiple_of(align));
}

#[test]
fn an_image_holds_what_was_put_in_and_the_stub() {
    check(&stub());
}

#[test]
fn images_of_two_machines_have_one_size() {
    let one = image(&stub(), "hardway.token=0123").unwrap();
    let other = image(&stub(), "hardway.token=abcd").unwrap();
    assert_eq!(one.len(), other.len());
    assert_ne!(one, other);
}

#[test]
fn what_is_no_stub_is_refused() {
    let check = |change: &dyn Fn(&mut Vec<u8>), expected: UnifiedKernelError| {
        let mut stub = stub();
        change(&mut stub);
        assert_eq!(image(&stub, "").unwrap_err(), expected);
    };
    let bad = UnifiedKernelError::NotAStub;
    check(&|stub| stub.clear(), bad("it is too short"));
    check(&|stub| stub.truncate(0x60), bad("it is cut off"));
    check(&|stub| stub.truncate(0x500), bad("it is cut off"));
    check(&|stub| stub[0x3f] = 0xff, bad("it is cut off"));
    check(&|stub| stub[0x40] = 0, bad("it has no signature"));
    check(&|stub| stub[0x58] = 0, bad("it is not PE32+"));
    check(
        &|stub| stub[0x40 + FILE_ALIGNMENT] = 3,
        bad("its alignment is odd"),
    );
    check(
        &|stub| stub[0x40 + CERTIFICATE_TABLE + 4] = 8,
        UnifiedKernelError::Signed,
    );
    check(&|stub| stub[0x1a0] = 1, UnifiedKernelError::NoRoom);
    check(&|stub| stub[0x47] = 0xff, UnifiedKernelError::NoRoom);
    let sizes = |linux| Ingredients {
        stub: &[],
        command_line: "",
        linux,
        initrd: 0,
    };
    let stub = stub();
    let huge = Ingredients {
        stub: &stub,
        ..sizes(5 << 30)
    };
    assert_eq!(compose(huge), Err(UnifiedKernelError::TooLarge));
}

#[test]
fn the_command_line_says_what_the_script_says() {
    let mac: MacAddress = "52:54:00:00:00:01".parse().unwrap();
    let url = "http://10.77.0.1";
    let line = agent_command_line(url, "0123", mac, &["hardway.debug".to_owned()]).unwrap();
    assert_eq!(
        line,
        "hardway.url=http://10.77.0.1 hardway.token=0123 hardway.debug \
         BOOTIF=01-52-54-00-00-00-01 console=tty0 console=ttyS0 no_timer_check"
    );
    for argument in ["", "a b", "a\nb", "ü", "\0"] {
        let refused = agent_command_line(url, "0123", mac, &[argument.to_owned()]);
        assert!(matches!(
            refused,
            Err(UnifiedKernelError::UnsafeArgument(_))
        ));
    }
}
