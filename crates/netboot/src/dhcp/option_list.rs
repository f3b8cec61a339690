//! Options of a message, in order, in one piece of memory.

/// Codes and values. A packet costs two allocations, however many options it has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OptionList {
    entries: Vec<(u8, std::ops::Range<usize>)>,
    values: Vec<u8>,
}

const PAD: u8 = 0;
/// What ends a field of options.
pub const END: u8 = 255;

impl OptionList {
    /// Adds an option at the end.
    pub fn push(&mut self, code: u8, value: &[u8]) {
        let start = self.values.len();
        self.values.extend_from_slice(value);
        self.entries.push((code, start..self.values.len()));
    }

    /// The value of an option.
    pub fn get(&self, code: u8) -> Option<&[u8]> {
        self.iter()
            .find_map(|(own, value)| (own == code).then_some(value))
    }

    /// The value of an option that is one byte.
    pub fn byte(&self, code: u8) -> Option<u8> {
        match self.get(code)? {
            [byte] => Some(*byte),
            _ => None,
        }
    }

    /// Codes and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        self.entries
            .iter()
            .map(|(code, range)| (*code, self.values.get(range.clone()).unwrap_or_default()))
    }

    /// Reads a field of options. The parts of one option are joined in the order in which they stand
    /// (RFC 3396 section 5). An option that is cut off by the end of the field is not there.
    pub fn read(&mut self, mut field: &[u8]) {
        while let Some((&code, rest)) = field.split_first() {
            field = match code {
                PAD => rest,
                END => return,
                _ => {
                    let Some((&length, rest)) = rest.split_first() else {
                        return;
                    };
                    let Some((value, rest)) = rest.split_at_checked(usize::from(length)) else {
                        return;
                    };
                    self.join(code, value);
                    rest
                }
            };
        }
    }

    fn join(&mut self, code: u8, part: &[u8]) {
        let Some(index) = self.entries.iter().position(|(own, _)| *own == code) else {
            return self.push(code, part);
        };
        let (_, former) = self.entries[index].clone();
        let start = self.values.len();
        // A value that is not the last to be written moves to the end, where it can grow.
        let start = match former.end == start {
            true => former.start,
            false => {
                self.values.extend_from_within(former);
                start
            }
        };
        self.values.extend_from_slice(part);
        self.entries[index].1 = start..self.values.len();
    }
}

/// Writes an option. A value of more than 255 bytes is written in parts (RFC 3396 section 6).
pub fn write(bytes: &mut Vec<u8>, code: u8, value: &[u8]) {
    if value.is_empty() {
        bytes.extend_from_slice(&[code, 0]);
    }
    for part in value.chunks(255) {
        bytes.extend_from_slice(&[code, part.len() as u8]);
        bytes.extend_from_slice(part);
    }
}

/// Bytes that [`write`] needs for a value of this length.
pub fn written_length(length: usize) -> usize {
    length + 2 * length.div_ceil(255).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_joined_wherever_they_stand() {
        let mut list = OptionList::default();
        list.read(&[
            60, 1, b'a', 60, 1, b'b', 12, 1, b'h', 0, 60, 2, b'c', b'd', 12, 1, b'i',
        ]);
        let options: Vec<_> = list.iter().collect();
        assert_eq!(options, [(60, &b"abcd"[..]), (12, b"hi")]);
        list.read(&[77, 0, 61, 9, 1]);
        assert_eq!((list.get(77), list.get(61)), (Some(&b""[..]), None));
    }

    /// Many short parts of two options cost memory once for every part, not for every pair of parts.
    #[test]
    fn alternating_parts_stay_bounded() {
        let field: Vec<u8> = [1, 1, 7, 2, 1, 8].repeat(200);
        let mut list = OptionList::default();
        list.read(&field);
        assert_eq!(list.get(1).map(<[u8]>::len), Some(200));
        assert!(
            list.values.len() <= 200 * 200 + 200,
            "{}",
            list.values.len()
        );
    }

    #[test]
    fn long_values_are_written_in_parts_and_read_back() {
        for length in [0, 1, 255, 256, 510, 511, 700] {
            let value: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
            let mut bytes = Vec::new();
            write(&mut bytes, 43, &value);
            assert_eq!(bytes.len(), written_length(length as usize));
            let mut list = OptionList::default();
            list.read(&bytes);
            assert_eq!(list.get(43), Some(value.as_slice()));
        }
    }
}
