//! JSON as Go's `encoding/json` reads it, with the place of every value.
//!
//! Strict in syntax (no comments, no trailing commas, no byte order mark), lenient in text: bytes
//! that are not UTF-8 and lone surrogates become U+FFFD, as they do in Go.

use super::{Member, Node, Value};
use crate::report::{Position, Problem};

/// Depth at which Go's scanner gives up is 10000; a config of this program's is flat, and recursion
/// here costs stack, so the bound is lower.
const MAXIMUM_DEPTH: usize = 200;

/// Reads one JSON text.
pub(crate) fn read(bytes: &[u8]) -> Result<Node, Problem> {
    let mut reader = Reader {
        bytes,
        offset: 0,
        line: 1,
        line_start: 0,
    };
    reader.skip_space();
    let node = reader.value(0)?;
    reader.skip_space();
    match reader.peek() {
        None => Ok(node),
        Some(byte) => Err(reader.unexpected(byte, "after the end of the config")),
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
    line: usize,
    line_start: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.offset).copied()
    }

    fn position(&self) -> Position {
        let before = &self.bytes[self.line_start.min(self.offset)..self.offset];
        Position {
            line: self.line,
            column: String::from_utf8_lossy(before).chars().count() + 1,
        }
    }

    fn problem(&self, message: String) -> Problem {
        Problem::error("$", message).at(self.position())
    }

    fn unexpected(&self, byte: u8, place: &str) -> Problem {
        let shown = if byte.is_ascii() {
            format!("{:?}", byte as char)
        } else {
            format!("byte {byte:#04x}")
        };
        self.problem(format!("unexpected {shown} {place}"))
    }

    fn skip_space(&mut self) {
        while let Some(byte @ (b' ' | b'\t' | b'\r' | b'\n')) = self.peek() {
            self.offset += 1;
            if byte == b'\n' {
                self.line += 1;
                self.line_start = self.offset;
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, Problem> {
        if depth > MAXIMUM_DEPTH {
            return Err(self.problem("nested too deeply".to_owned()));
        }
        let position = self.position();
        let value = match self.peek() {
            None => return Err(self.problem("unexpected end of the config".to_owned())),
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.array(depth)?,
            Some(b'"') => Value::String(self.string()?),
            Some(b't') => self.literal("true", Value::Bool(true))?,
            Some(b'f') => self.literal("false", Value::Bool(false))?,
            Some(b'n') => self.literal("null", Value::Null)?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(byte) => return Err(self.unexpected(byte, "where a value should begin")),
        };
        Ok(Node::new(position, value))
    }

    fn object(&mut self, depth: usize) -> Result<Value, Problem> {
        self.offset += 1;
        let mut members = Vec::new();
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.offset += 1;
            return Ok(Value::Object(members));
        }
        loop {
            self.skip_space();
            let position = self.position();
            if self.peek() != Some(b'"') {
                return Err(self.misplaced("where a key should begin"));
            }
            let key = self.string()?;
            self.skip_space();
            if self.peek() != Some(b':') {
                return Err(self.misplaced("after a key: `:` is missing"));
            }
            self.offset += 1;
            self.skip_space();
            let node = self.value(depth + 1)?;
            members.push(Member {
                key,
                position,
                node,
            });
            self.skip_space();
            match self.peek() {
                Some(b',') => self.offset += 1,
                Some(b'}') => {
                    self.offset += 1;
                    return Ok(Value::Object(members));
                }
                _ => return Err(self.misplaced("after a value: `,` or `}` is missing")),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, Problem> {
        self.offset += 1;
        let mut items = Vec::new();
        self.skip_space();
        if self.peek() == Some(b']') {
            self.offset += 1;
            return Ok(Value::Array(items));
        }
        loop {
            self.skip_space();
            items.push(self.value(depth + 1)?);
            self.skip_space();
            match self.peek() {
                Some(b',') => self.offset += 1,
                Some(b']') => {
                    self.offset += 1;
                    return Ok(Value::Array(items));
                }
                _ => return Err(self.misplaced("after a value: `,` or `]` is missing")),
            }
        }
    }

    fn misplaced(&self, place: &str) -> Problem {
        match self.peek() {
            Some(byte) => self.unexpected(byte, place),
            None => self.problem("unexpected end of the config".to_owned()),
        }
    }

    fn literal(&mut self, word: &str, value: Value) -> Result<Value, Problem> {
        if !self.bytes[self.offset..].starts_with(word.as_bytes()) {
            return Err(self.problem(format!("misspelt `{word}`")));
        }
        self.offset += word.len();
        Ok(value)
    }

    /// RFC 8259, section 6.
    fn number(&mut self) -> Result<Value, Problem> {
        let start = self.offset;
        if self.peek() == Some(b'-') {
            self.offset += 1;
        }
        if self.peek() == Some(b'0') {
            self.offset += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.offset += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.offset += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.offset += 1;
            }
            self.digits()?;
        }
        let text = String::from_utf8_lossy(&self.bytes[start..self.offset]);
        Ok(Value::Number(text.into_owned()))
    }

    fn digits(&mut self) -> Result<(), Problem> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.misplaced("in a number"));
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.offset += 1;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<String, Problem> {
        self.offset += 1;
        let mut text = String::new();
        loop {
            let run = self.bytes[self.offset..]
                .iter()
                .position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))
                .unwrap_or(self.bytes.len() - self.offset);
            text.push_str(&String::from_utf8_lossy(
                &self.bytes[self.offset..self.offset + run],
            ));
            self.offset += run;
            match self.peek() {
                None => {
                    return Err(self.problem("unexpected end of the config in a string".to_owned()));
                }
                Some(b'"') => {
                    self.offset += 1;
                    return Ok(text);
                }
                Some(b'\\') => text.push(self.escape()?),
                Some(byte) => return Err(self.unexpected(byte, "in a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Problem> {
        self.offset += 1;
        let escaped = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => byte as char,
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.offset += 1;
                return self.unicode_escape();
            }
            _ => return Err(self.misplaced("in an escape sequence")),
        };
        self.offset += 1;
        Ok(escaped)
    }

    fn unicode_escape(&mut self) -> Result<char, Problem> {
        let first = self.hexadecimal()?;
        if let Some(character) = char::from_u32(first) {
            return Ok(character);
        }
        // A surrogate: with its partner a character, alone U+FFFD.
        if first < 0xdc00 && self.bytes[self.offset..].starts_with(b"\\u") {
            let before = self.offset;
            self.offset += 2;
            let second = self.hexadecimal()?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.offset = before;
        }
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn hexadecimal(&mut self) -> Result<u32, Problem> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| (byte as char).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.misplaced("in a \\u escape"));
            };
            code = code * 16 + digit;
            self.offset += 1;
        }
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn problem(text: &str) -> String {
        read(text.as_bytes()).expect_err("refused").to_string()
    }

    #[test]
    fn keeps_order_duplicates_and_places() {
        let node = read(b"{\"a\": 1,\n  \"a\": [true, \"\xc3\xa4\", null]}").expect("valid");
        let members = node.members();
        assert_eq!(members.len(), 2);
        assert_eq!(members[1].position, Position { line: 2, column: 3 });
        assert_eq!(
            members[1].node.items()[2].position,
            Position {
                line: 2,
                column: 20
            }
        );
        assert_eq!(node.get("a").map(Node::kind), Some("a list"));
    }

    #[test]
    fn reads_text_as_go_does() {
        let text = |source: &[u8]| read(source).expect("valid").as_str().map(str::to_owned);
        assert_eq!(text(br#""\ud83d\ude00\/""#).as_deref(), Some("\u{1f600}/"));
        assert_eq!(text(br#""\ud83dx""#).as_deref(), Some("\u{fffd}x"));
        assert_eq!(text(b"\"\xff\"").as_deref(), Some("\u{fffd}"));
    }

    #[test]
    fn names_the_place_of_a_mistake() {
        assert_eq!(
            problem("{\"a\": 1,}"),
            "1:9: error: unexpected '}' where a key should begin at $"
        );
        assert_eq!(
            problem("{\n \"a\" 1}"),
            "2:6: error: unexpected '1' after a key: `:` is missing at $"
        );
        assert_eq!(
            problem("[1] x"),
            "1:5: error: unexpected 'x' after the end of the config at $"
        );
        for text in [
            "",
            "\u{feff}{}",
            "01",
            "1.",
            "-",
            "tru",
            "\"\n\"",
            "\"\\x\"",
            "[1,]",
            "{a:1}",
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(read("[".repeat(100_000).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = read(&bytes);
        }

        #[test]
        fn reads_what_serde_json_writes(text: String, number: i64) {
            let written = serde_json::json!({"text": text, "number": number}).to_string();
            let node = read(written.as_bytes()).expect("valid");
            prop_assert_eq!(node.get("text").and_then(Node::as_str), Some(text.as_str()));
            prop_assert_eq!(&node.get("number").expect("there").value, &Value::Number(number.to_string()));
        }
    }
}
