//! YAML → the same tree as JSON makes, aliases and merge keys (`<<`) resolved.
//!
//! Plain scalars stay undecided until the schema says what their place wants, so that `0644`, `1.10`
//! and `yes` mean what they mean to the Go library that Butane uses.

use std::collections::HashMap;

use granit_parser::{Event, Marker, Parser, ScalarStyle, Span};

use super::{Member, Node, Value};
use crate::report::{Position, Problem};

/// Bounds what a small text with nested aliases can grow to.
const MAXIMUM_NODES: usize = 200_000;
const MAXIMUM_DEPTH: usize = 100;

/// Reads the first document of a YAML text; more than one is a problem.
pub(crate) fn read(text: &str) -> Result<Node, Problem> {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        nodes: 0,
    };
    loop {
        match reader.next()? {
            (Event::StreamStart | Event::DocumentStart(..), _) => {}
            (Event::StreamEnd | Event::DocumentEnd, span) => {
                return Err(problem(span.start, "the text is empty"));
            }
            (event, span) => {
                let node = reader.node(event, span, 0)?;
                reader.end()?;
                return Ok(node);
            }
        }
    }
}

/// An integer as a YAML 1.1 and 1.2 reader takes it: decimal, `0o17`, `017`, `0x0f`, `0b1`, `1_000`.
pub(crate) fn integer(text: &str) -> Option<i64> {
    let plain = text.replace('_', "");
    let (negative, digits) = match plain.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let (digits, radix) = if let Some(rest) = digits.strip_prefix("0x") {
        (rest, 16)
    } else if let Some(rest) = digits.strip_prefix("0o") {
        (rest, 8)
    } else if let Some(rest) = digits.strip_prefix("0b") {
        (rest, 2)
    } else if digits.len() > 1 && digits.starts_with('0') {
        (&digits[1..], 8)
    } else {
        (digits, 10)
    };
    if !digits.starts_with(|character: char| character.is_ascii_hexdigit()) {
        return None;
    }
    let value = i64::from_str_radix(digits, radix).ok()?;
    Some(if negative { -value } else { value })
}

/// A boolean as YAML 1.1 and 1.2 know it.
pub(crate) fn flag(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => {
            Some(true)
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => {
            Some(false)
        }
        _ => None,
    }
}

struct Reader<'a> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    /// The next event that is no comment.
    fn next(&mut self) -> Result<(Event<'a>, Span), Problem> {
        loop {
            match self.parser.next_event() {
                None => return Ok((Event::StreamEnd, Span::default())),
                Some(Err(error)) => {
                    return Err(problem(
                        *error.marker(),
                        &format!("not YAML: {}", error.info()),
                    ));
                }
                Some(Ok((Event::Comment(..), _))) => {}
                Some(Ok(event)) => return Ok(event),
            }
        }
    }

    fn end(&mut self) -> Result<(), Problem> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(()),
                (Event::DocumentEnd, _) => {}
                (_, span) => return Err(problem(span.start, "a second document is not allowed")),
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Problem> {
        self.nodes += 1;
        if self.nodes > MAXIMUM_NODES || depth > MAXIMUM_DEPTH {
            return Err(problem(span.start, "too many values or nested too deeply"));
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let forced = tag
                    .as_ref()
                    .is_some_and(|tag| tag.core_suffix() == Some("str"));
                (scalar(text.into_owned(), style, forced), anchor)
            }
            Event::SequenceStart(_, anchor, _) => (self.sequence(depth)?, anchor),
            Event::MappingStart(_, anchor, _) => (self.mapping(depth)?, anchor),
            Event::Alias(anchor) => {
                let Some(target) = self.anchors.get(&anchor).cloned() else {
                    return Err(problem(span.start, "an alias inside its own anchor"));
                };
                self.nodes += count(&target);
                return Ok(target);
            }
            _ => return Err(problem(span.start, "unexpected end of the text")),
        };
        let node = Node::new(position(span.start), value);
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn sequence(&mut self, depth: usize) -> Result<Value, Problem> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::Array(items)),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, Problem> {
        let mut members: Vec<Member> = Vec::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let position = position(span.start);
            let key = self.node(event, span, depth + 1)?;
            let Some(key) = key.as_str().map(str::to_owned) else {
                return Err(Problem::error("$", "a key has to be a string").at(position));
            };
            let (event, span) = self.next()?;
            let node = self.node(event, span, depth + 1)?;
            if key == "<<" {
                merged.push(node);
            } else if members.iter().any(|member| member.key == key) {
                let message = format!("key `{key}` is given twice");
                return Err(Problem::error("$", message).at(position));
            } else {
                members.push(Member {
                    key,
                    position,
                    node,
                });
            }
        }
        for source in merged {
            add_merged(&mut members, &source);
        }
        Ok(Value::Object(members))
    }
}

/// What `<<` brings in: keys that are not there yet, from a mapping or a list of mappings.
fn add_merged(members: &mut Vec<Member>, source: &Node) {
    for inner in source.items() {
        add_merged(members, inner);
    }
    for member in source.members() {
        if members.iter().all(|present| present.key != member.key) {
            members.push(member.clone());
        }
    }
}

fn scalar(text: String, style: ScalarStyle, forced: bool) -> Value {
    if style != ScalarStyle::Plain || forced {
        return Value::String(text);
    }
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        _ => Value::Scalar(text),
    }
}

fn count(node: &Node) -> usize {
    let inner = node
        .items()
        .iter()
        .chain(node.members().iter().map(|member| &member.node));
    1 + inner.map(count).sum::<usize>()
}

fn position(marker: Marker) -> Position {
    Position {
        line: marker.line().max(1),
        column: marker.col() + 1,
    }
}

fn problem(marker: Marker, message: &str) -> Problem {
    Problem::error("$", message).at(position(marker))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn scalars_wait_for_their_place() {
        for (text, expected) in [
            ("0644", Some(420)),
            ("0o644", Some(420)),
            ("0x1F", Some(31)),
            ("1_000", Some(1000)),
            ("-3", Some(-3)),
            ("0", Some(0)),
            ("089", None),
            ("1.0", None),
            ("0x-1", None),
            ("", None),
        ] {
            assert_eq!(integer(text), expected, "{text:?}");
        }
        assert_eq!(
            (flag("yes"), flag("Off"), flag("1")),
            (Some(true), Some(false), None)
        );
        let node = read("a: 1.10\nb: \"1\"\nc: ~\nd: !!str null\n").expect("YAML");
        let value = |key| node.get(key).map(|node| node.value.clone());
        assert_eq!(value("a"), Some(Value::Scalar("1.10".into())));
        assert_eq!(value("b"), Some(Value::String("1".into())));
        assert_eq!(value("c"), Some(Value::Null));
        assert_eq!(value("d"), Some(Value::String("null".into())));
    }

    #[test]
    fn places_aliases_and_merge_keys() {
        let text = "base: &base\n  user: root\n  mode: 1\nfile:\n  <<: *base\n  mode: 2\n";
        let node = read(text).expect("YAML");
        let file = node.get("file").expect("there");
        assert_eq!(file.get("user").and_then(Node::as_str), Some("root"));
        assert_eq!(file.get("mode").and_then(Node::as_str), Some("2"));
        let mode = file.get("mode").map(|node| node.position);
        assert_eq!(mode, Some(Position { line: 6, column: 9 }));
    }

    #[test]
    fn mistakes_have_a_place() {
        for (text, place) in [
            ("a: 1\na: 2\n", "2:1"),
            ("a: [1\n", "1:4"),
            ("a: 1\n---\nb: 2\n", "2:1"),
        ] {
            let problem = read(text).expect_err("refused").to_string();
            assert!(problem.starts_with(place), "{text:?}: {problem}");
        }
        let bomb: String = (1..30)
            .map(|n| format!("a{n}: &a{n} [*a{0}, *a{0}]\n", n - 1))
            .collect();
        assert!(read(&format!("a0: &a0 x\n{bomb}")).is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[ -~\n&*<!|>]{0,80}") {
            let _ = read(&text);
        }
    }
}
