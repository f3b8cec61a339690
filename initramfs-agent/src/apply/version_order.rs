//! Which of two versions is newer (UAPI.10, "Version Format Specification"), as systemd-boot orders
//! its entries.

use std::cmp::Ordering;

/// Compares two versions, or two names with versions in them. The newer one is the greater one.
pub fn compare(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    loop {
        one = from(one, is_compared);
        other = from(other, is_compared);
        // Ahead of the end: `1~rc1` is older than `1`.
        if let Some(order) = mark(&mut one, &mut other, b'~') {
            return order;
        }
        if one.is_empty() || other.is_empty() {
            return one.len().cmp(&other.len());
        }
        for separator in *b"-^." {
            if let Some(order) = mark(&mut one, &mut other, separator) {
                return order;
            }
        }
        let is_number = |text: &[u8]| text.first().is_some_and(u8::is_ascii_digit);
        let order = if is_number(one) || is_number(other) {
            let (a, b) = (
                take(&mut one, u8::is_ascii_digit),
                take(&mut other, u8::is_ascii_digit),
            );
            let (short_a, short_b) = (from(a, |c| *c != b'0'), from(b, |c| *c != b'0'));
            (!a.is_empty(), short_a.len(), short_a).cmp(&(!b.is_empty(), short_b.len(), short_b))
        } else {
            take(&mut one, u8::is_ascii_alphabetic).cmp(take(&mut other, u8::is_ascii_alphabetic))
        };
        if order.is_ne() {
            return order;
        }
    }
}

fn is_compared(character: &u8) -> bool {
    character.is_ascii_alphanumeric() || b"~-^.".contains(character)
}

/// Text from the first character on for which `holds`.
fn from(text: &[u8], holds: impl Fn(&u8) -> bool) -> &[u8] {
    let start = text.iter().position(holds).unwrap_or(text.len());
    &text[start..]
}

/// Cuts off the characters for which `holds`.
fn take<'a>(text: &mut &'a [u8], holds: impl Fn(&u8) -> bool) -> &'a [u8] {
    let end = text.iter().position(|character| !holds(character));
    let (head, rest) = text.split_at(end.unwrap_or(text.len()));
    *text = rest;
    head
}

/// Whichever has the mark here is older; where both have it, it is passed over.
fn mark(one: &mut &[u8], other: &mut &[u8], mark: u8) -> Option<Ordering> {
    let lacks = |text: &[u8]| text.first() != Some(&mark);
    match (lacks(one), lacks(other)) {
        (true, true) => None,
        (false, false) => {
            (*one, *other) = (&one[1..], &other[1..]);
            None
        }
        (a, b) => Some(a.cmp(&b)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each is older than the next.
    fn check(versions: &[&str]) {
        for (at, one) in versions.iter().enumerate() {
            for (other_at, other) in versions.iter().enumerate() {
                assert_eq!(compare(one, other), at.cmp(&other_at), "{one} {other}");
            }
        }
    }

    #[test]
    fn examples_of_the_specification() {
        check(&["11~rc1", "11", "11a"]);
        check(&[
            "122.1",
            "123~rc1-1",
            "123",
            "123-a",
            "123-a.1",
            "123-1",
            "123-1.1",
        ]);
        check(&[
            "123-1.1",
            "123^post1",
            "123.a-1",
            "123.1-1",
            "123a-1",
            "124-1",
        ]);
        check(&["", "0", "1", "007", "8", "10", "99"]);
        check(&["A", "a", "b"]);
        for (one, other) in [("11", "011"), ("1_2", "1+2"), ("1.0", "1.0")] {
            assert_eq!(compare(one, other), Ordering::Equal, "{one} {other}");
        }
    }

    #[test]
    fn names_of_kernels() {
        check(&["d-6.2.conf", "d-6.12.9.conf", "d-6.12.10.conf"]);
    }
}
