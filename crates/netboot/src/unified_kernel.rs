//! A unified kernel image: kernel, initramfs and command line as one EFI program, which firmware starts
//! without a boot loader in between (UAPI specification 5, "Unified Kernel Image").
//!
//! It is systemd's stub with more sections. Only the stub's head changes, so that the image of each
//! machine is composed of the same files and a few hundred bytes of its own.

use hardway_model::identity::MacAddress;

/// A part of the image, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The stub from this offset to its end.
    StubFrom(usize),
    /// The whole kernel.
    Linux,
    /// The whole initramfs.
    Initrd,
}

/// What is put into the image.
#[derive(Debug, Clone, Copy)]
pub struct Ingredients<'a> {
    /// `linuxx64.efi.stub` of systemd-boot.
    pub stub: &'a [u8],
    /// The kernel's command line.
    pub command_line: &'a str,
    /// Bytes of the kernel.
    pub linux: u64,
    /// Bytes of the initramfs.
    pub initrd: u64,
}

/// Why there is no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnifiedKernelError {
    /// Not a PE32+ file, or cut off.
    #[error("the stub is no EFI program for 64 bits: {0}")]
    NotAStub(&'static str),
    /// The signature would not hold for the image.
    #[error("the stub is signed; the unsigned one is needed")]
    Signed,
    /// No space for the table of sections.
    #[error("the stub's head has no room for {SECTIONS} more sections")]
    NoRoom,
    /// An image has at most 4 GiB.
    #[error("kernel and initramfs do not fit into one EFI program")]
    TooLarge,
    /// Would be read as more than one argument.
    #[error(
        "kernel argument `{0}` cannot stand on a command line: use printable ASCII without spaces"
    )]
    UnsafeArgument(String),
}

/// What `os-release` says of the agent; firmware's and boot managers' menus show it.
const OS_RELEASE: &str = "ID=hardway\nNAME=Hardway\nPRETTY_NAME=\"Hardway agent\"\n";
/// Sections that the stub gets.
const SECTIONS: usize = 4;

// Offsets and values of the PE format ("PE Format", Microsoft, revision 11), most of them from the
// signature `PE\0\0` on.
const OFFSET_OF_SIGNATURE: usize = 0x3c;
const NUMBER_OF_SECTIONS: usize = 6;
const SIZE_OF_OPTIONAL_HEADER: usize = 20;
const OPTIONAL_HEADER: usize = 24;
const MAGIC: usize = OPTIONAL_HEADER;
const SIZE_OF_INITIALIZED_DATA: usize = OPTIONAL_HEADER + 8;
const SECTION_ALIGNMENT: usize = OPTIONAL_HEADER + 32;
const FILE_ALIGNMENT: usize = OPTIONAL_HEADER + 36;
const SIZE_OF_IMAGE: usize = OPTIONAL_HEADER + 56;
const SIZE_OF_HEADERS: usize = OPTIONAL_HEADER + 60;
const CHECK_SUM: usize = OPTIONAL_HEADER + 64;
const CERTIFICATE_TABLE: usize = OPTIONAL_HEADER + 112 + 4 * 8;
const PE32_PLUS: u16 = 0x20b;
const SECTION_HEADER: usize = 40;
/// Initialised data that is read.
const DATA: u32 = 0x4000_0040;
/// As [`DATA`], executable: firmware and kernels before the LoadFile2 protocol start it in place.
const CODE: u32 = 0x6000_0020;

/// The kernel's command line for the agent on the machine with this NIC: what its iPXE script gives it,
/// too.
///
/// # Errors
/// An argument that would not stay one argument.
pub fn agent_command_line(
    appliance_url: &str,
    token: &str,
    boot_mac: MacAddress,
    extra_arguments: &[String],
) -> Result<String, UnifiedKernelError> {
    let own = [
        format!("hardway.url={appliance_url}"),
        format!("hardway.token={token}"),
    ];
    let more = [format!("BOOTIF=01-{}", boot_mac.hyphenated())];
    let fixed = ["console=tty0", "console=ttyS0", "no_timer_check"].map(str::to_owned);
    let arguments = own.iter().chain(extra_arguments).chain(&more).chain(&fixed);
    let checked: Result<Vec<&str>, _> = arguments.map(|argument| checked(argument)).collect();
    Ok(checked?.join(" "))
}

fn checked(argument: &str) -> Result<&str, UnifiedKernelError> {
    let is_one = !argument.is_empty() && argument.bytes().all(|byte| byte.is_ascii_graphic());
    let refused = || UnifiedKernelError::UnsafeArgument(argument.escape_default().to_string());
    is_one.then_some(argument).ok_or_else(refused)
}

/// Composes the image. Its size depends on the lengths of what is put in, and on nothing else.
///
/// # Errors
/// A stub that is none, and sizes that do not fit.
pub fn compose(of: Ingredients<'_>) -> Result<Vec<Part>, UnifiedKernelError> {
    let mut head = Head::of(of.stub)?;
    let stub_end = of.stub.len() as u64;
    let mut end = stub_end.next_multiple_of(head.file_alignment);
    let mut parts = vec![Part::StubFrom(head.bytes.len()), zeros(end - stub_end)];
    for (name, part, length, kind) in [
        (
            b".osrel\0\0",
            text(OS_RELEASE),
            OS_RELEASE.len() as u64,
            DATA,
        ),
        (
            b".cmdline",
            text(of.command_line),
            of.command_line.len() as u64,
            DATA,
        ),
        (b".linux\0\0", Part::Linux, of.linux, CODE),
        (b".initrd\0", Part::Initrd, of.initrd, DATA),
    ] {
        let space = length.next_multiple_of(head.file_alignment);
        head.add(*name, length, end, kind)?;
        end += space;
        parts.extend([part, zeros(space - length)]);
    }
    parts.insert(0, Part::Bytes(head.finished()?));
    Ok(parts)
}

fn text(text: &str) -> Part {
    Part::Bytes(text.as_bytes().to_vec())
}

/// Less than one alignment.
fn zeros(count: u64) -> Part {
    Part::Bytes(vec![0; count as usize])
}

/// The stub's head while it is changed.
struct Head {
    bytes: Vec<u8>,
    /// Where `PE\0\0` stands.
    pe: usize,
    sections: u16,
    /// Where the next section's header goes.
    next: usize,
    file_alignment: u64,
    section_alignment: u64,
    /// Where the next section is loaded, from the image's base.
    address: u64,
    data: u64,
}

impl Head {
    fn of(stub: &[u8]) -> Result<Self, UnifiedKernelError> {
        let bad = UnifiedKernelError::NotAStub;
        let pe = long(stub, OFFSET_OF_SIGNATURE).ok_or(bad("it is too short"))? as usize;
        let stub_from_pe = stub.get(pe..).ok_or(bad("it is cut off"))?;
        if !stub_from_pe.starts_with(b"PE\0\0") || !stub.starts_with(b"MZ") {
            return Err(bad("it has no signature"));
        }
        let field = |at| long(stub_from_pe, at).ok_or(bad("it is cut off"));
        let short_field = |at| short(stub_from_pe, at).ok_or(bad("it is cut off"));
        if short_field(MAGIC)? != PE32_PLUS {
            return Err(bad("it is not PE32+"));
        }
        let optional = short_field(SIZE_OF_OPTIONAL_HEADER)? as usize;
        // The directories up to the certificates have to be there.
        if optional < CERTIFICATE_TABLE + 8 - OPTIONAL_HEADER {
            return Err(bad("its optional header is too short"));
        }
        if field(CERTIFICATE_TABLE + 4)? != 0 {
            return Err(UnifiedKernelError::Signed);
        }
        let sections = short_field(NUMBER_OF_SECTIONS)?;
        let table = pe + OPTIONAL_HEADER + optional;
        let next = table + usize::from(sections) * SECTION_HEADER;
        let head = field(SIZE_OF_HEADERS)? as usize;
        let bytes = stub.get(..head).ok_or(bad("it is cut off"))?.to_vec();
        let room = bytes.get(next..next + SECTIONS * SECTION_HEADER);
        if !room.is_some_and(|room| room.iter().all(|byte| *byte == 0)) {
            return Err(UnifiedKernelError::NoRoom);
        }
        let alignment = |at| match field(at)? {
            value if value.is_power_of_two() && value <= 1 << 20 => Ok(u64::from(value)),
            _ => Err(bad("its alignment is odd")),
        };
        let section_alignment = alignment(SECTION_ALIGNMENT)?;
        Ok(Self {
            pe,
            sections,
            next,
            file_alignment: alignment(FILE_ALIGNMENT)?,
            section_alignment,
            // The size covers every section (PE Format, "SizeOfImage").
            address: u64::from(field(SIZE_OF_IMAGE)?).next_multiple_of(section_alignment),
            data: u64::from(field(SIZE_OF_INITIALIZED_DATA)?),
            bytes,
        })
    }

    /// Adds a section whose bytes begin at `position` of the file.
    fn add(
        &mut self,
        name: [u8; 8],
        length: u64,
        position: u64,
        kind: u32,
    ) -> Result<(), UnifiedKernelError> {
        let space = length.next_multiple_of(self.file_alignment);
        self.bytes[self.next..self.next + 8].copy_from_slice(&name);
        for (at, value) in [
            (8, length),
            (12, self.address),
            (16, space),
            (20, position),
            (36, u64::from(kind)),
        ] {
            put(&mut self.bytes, self.next + at, value)?;
        }
        self.address = (self.address + length).next_multiple_of(self.section_alignment);
        self.data += space;
        self.sections += 1;
        self.next += SECTION_HEADER;
        Ok(())
    }

    fn finished(mut self) -> Result<Vec<u8>, UnifiedKernelError> {
        let count = self.pe + NUMBER_OF_SECTIONS;
        self.bytes[count..count + 2].copy_from_slice(&self.sections.to_le_bytes());
        put(&mut self.bytes, self.pe + SIZE_OF_IMAGE, self.address)?;
        put(
            &mut self.bytes,
            self.pe + SIZE_OF_INITIALIZED_DATA,
            self.data,
        )?;
        // No firmware checks it for programs; 0 means that there is none.
        put(&mut self.bytes, self.pe + CHECK_SUM, 0)?;
        Ok(self.bytes)
    }
}

fn put(bytes: &mut [u8], at: usize, value: u64) -> Result<(), UnifiedKernelError> {
    let value = u32::try_from(value).map_err(|_| UnifiedKernelError::TooLarge)?;
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    Ok(())
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    four.try_into().map(u32::from_le_bytes).ok()
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..at.checked_add(2)?)?;
    two.try_into().map(u16::from_le_bytes).ok()
}

#[cfg(test)]
mod tests;
