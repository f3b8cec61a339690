//! The text of a unit: as strict, and as lenient, as the Go library that Ignition reads it with.

/// The longest line that systemd takes, in bytes.
const MAXIMUM_LINE: usize = 2048;

/// What makes a text no unit.
pub(super) fn mistake(text: &str) -> Option<&'static str> {
    let mut rest = skip_to_section(text);
    // Only what follows a `[` is judged; a text without any section says nothing and passes.
    while let Some(section) = rest {
        match after_section_name(section).and_then(options) {
            Ok(next) => rest = next,
            Err(mistake) => return Some(mistake),
        }
    }
    None
}

/// What follows the first `[` outside a comment. Whatever stands before it is skipped.
fn skip_to_section(text: &str) -> Option<&str> {
    let mut rest = text;
    loop {
        let next = rest.find(['[', '#', ';'])?;
        let after = &rest[next + 1..];
        if rest[next..].starts_with('[') {
            return Some(after);
        }
        rest = &after[after.find('\n')? + 1..];
    }
}

fn after_section_name(text: &str) -> Result<&str, &'static str> {
    let (_, rest) = text.split_once(']').ok_or("a section's name has no end")?;
    let (garbage, rest) = line(rest)?;
    if garbage.trim().is_empty() {
        Ok(rest)
    } else {
        Err("something follows a section's name")
    }
}

/// The options of a section; what follows the `[` of the next one.
fn options(text: &str) -> Result<Option<&str>, &'static str> {
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        match rest.chars().next() {
            None => return Ok(None),
            Some('[') => return Ok(Some(&rest[1..])),
            Some('#' | ';') => rest = line(rest)?.1,
            Some(_) => rest = value(after_option_name(rest)?)?,
        }
    }
}

fn after_option_name(text: &str) -> Result<&str, &'static str> {
    match text.find(['=', '\n', '\r']) {
        Some(end) if text[end..].starts_with('=') => Ok(&text[end + 1..]),
        Some(_) => Err("a line within a section has no `=`"),
        None => Err("the last line has no `=`"),
    }
}

/// Skips a value, which goes on after a line that ends in a backslash.
fn value(text: &str) -> Result<&str, &'static str> {
    let mut rest = text;
    loop {
        let (part, next) = line(rest)?;
        rest = next;
        if part.trim().is_empty() || !part.ends_with('\\') {
            return Ok(rest);
        }
    }
}

/// The line without its end, and what follows.
fn line(text: &str) -> Result<(&str, &str), &'static str> {
    let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.len() > MAXIMUM_LINE {
        return Err("a line is longer than 2048 bytes");
    }
    Ok((line, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn judges_as_ignition_does() {
        let long = format!("[a]\nb={}", "a".repeat(3000));
        for (text, valid) in [
            ("", true),
            ("x\n", true),
            ("x[y]\na=b", true),
            ("# [\n[a]\nb=c", true),
            ("x#[\n", true),
            ("[a\nb]\nc=d", true),
            ("[a]\n b=c", true),
            ("[a]\n=c", true),
            ("[a]\nb=c\r\n[c]\r\n", true),
            ("[a]\nb=c\\\n[x", true),
            ("[a]\nb=c\\\n  \nfoo=x", true),
            ("[a]\nb=c\\\n#x\\\nfoo=1\nbar", false),
            ("x[", false),
            ("[a\n\n", false),
            ("[Unit]\nfoo", false),
            ("[Unit]\nfoo\nb=c", false),
            ("[a] x\nb=c", false),
            ("[a]\nb=\n\nfoo", false),
            (long.as_str(), false),
        ] {
            assert_eq!(mistake(text).is_none(), valid, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[\\[\\]=#;\\\\\n\r aä]{0,40}") {
            let _ = mistake(&text);
        }
    }
}
