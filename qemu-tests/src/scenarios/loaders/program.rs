//! Unified kernel images, made: sections are appended to systemd's stub (UAPI.5), which is a PE file
//! ("PE Format", Microsoft, revision 11).

use anyhow::{Context, Result, ensure};

const SECTION_HEADER: usize = 40;
/// Initialised data that may be read.
const CHARACTERISTICS: u32 = 0x4000_0040;

/// The stub with these sections behind its own.
pub fn unified(stub: &[u8], sections: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let mut program = stub.to_vec();
    let pe = long(stub, 0x3c)? as usize;
    ensure!(
        stub.starts_with(b"MZ") && stub.get(pe..pe + 4) == Some(b"PE\0\0"),
        "the stub is no EFI program"
    );
    let optional = pe + 24;
    let count = short(stub, pe + 6)?;
    let table = optional + usize::from(short(stub, pe + 20)?);
    let [alignment, file_alignment] = [long(stub, optional + 32)?, long(stub, optional + 36)?];
    let room = long(stub, optional + 60)? as usize;
    let at = |number: usize| table + number * SECTION_HEADER;
    let first = usize::from(count);
    ensure!(
        at(first + sections.len()) <= room && first > 0,
        "the stub's header has no room for {} sections more",
        sections.len()
    );
    let last = at(first - 1);
    let mut address = long(stub, last + 12)? + long(stub, last + 8)?;
    for (number, (name, content)) in (first..).zip(sections) {
        address = address.next_multiple_of(alignment);
        let place = program.len().next_multiple_of(file_alignment as usize);
        program.resize(place, 0);
        program.extend(*content);
        program.resize(program.len().next_multiple_of(file_alignment as usize), 0);
        let header = at(number);
        ensure!(name.len() <= 8, "{name} is too long for a section's name");
        program[header..header + SECTION_HEADER].fill(0);
        program[header..header + name.len()].copy_from_slice(name.as_bytes());
        let length = u32::try_from(content.len()).context("a section is too long")?;
        let padded = (program.len() - place) as u32;
        for (field, value) in [
            (8, length),
            (12, address),
            (16, padded),
            (20, u32::try_from(place).context("the program is too long")?),
            (36, CHARACTERISTICS),
        ] {
            put(&mut program, header + field, value);
        }
        address += length;
    }
    let total = count + sections.len() as u16;
    program[pe + 6..pe + 8].copy_from_slice(&total.to_le_bytes());
    put(
        &mut program,
        optional + 56,
        address.next_multiple_of(alignment),
    );
    Ok(program)
}

fn put(program: &mut [u8], at: usize, value: u32) {
    program[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn short(bytes: &[u8], at: usize) -> Result<u16> {
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk);
    Ok(u16::from_le_bytes(*found.context("the stub is cut off")?))
}

fn long(bytes: &[u8], at: usize) -> Result<u32> {
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk);
    Ok(u32::from_le_bytes(*found.context("the stub is cut off")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A PE file with one section of 0x10 bytes at address 0x1000, and room for two more headers.
    fn stub() -> Vec<u8> {
        let mut stub = vec![0; 0x400];
        stub[..2].copy_from_slice(b"MZ");
        put(&mut stub, 0x3c, 0x80);
        stub[0x80..0x84].copy_from_slice(b"PE\0\0");
        stub[0x86] = 1;
        stub[0x94] = 0x70;
        for (field, value) in [(32, 0x1000), (36, 0x200), (60, 0x180)] {
            put(&mut stub, 0x98 + field, value);
        }
        put(&mut stub, 0x108 + 8, 0x10);
        put(&mut stub, 0x108 + 12, 0x1000);
        stub
    }

    #[test]
    fn sections_stand_behind_those_of_the_stub() {
        let kernel = vec![7; 0x1001];
        let sections: [(&str, &[u8]); 2] = [(".linux", &kernel), (".cmdline", b"quiet")];
        let program = unified(&stub(), &sections).unwrap();
        assert_eq!(short(&program, 0x86).unwrap(), 3);
        // The first takes up two pages.
        for (number, address, place) in [(0, 0x2000, 0x400), (1, 0x4000, 0x1600)] {
            let (name, content) = sections[number];
            let header = 0x108 + 40 * (number + 1);
            assert!(program[header..].starts_with(name.as_bytes()));
            let field = |at: usize| long(&program, header + at).unwrap();
            assert_eq!((field(8), field(12)), (content.len() as u32, address));
            assert_eq!(field(20), place);
            assert!(program[place as usize..].starts_with(content), "{name}");
        }
        assert_eq!(long(&program, 0x98 + 56).unwrap(), 0x5000);
    }

    #[test]
    fn what_cannot_take_them_is_refused() {
        let one: (&str, &[u8]) = (".x", b"x");
        let error = unified(&stub(), &[one; 3]).unwrap_err().to_string();
        assert_eq!(error, "the stub's header has no room for 3 sections more");
        let error = unified(&[0; 0x100], &[one]).unwrap_err().to_string();
        assert_eq!(error, "the stub is no EFI program");
    }
}
