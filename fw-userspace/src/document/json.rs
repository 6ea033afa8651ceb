//! Looks into JSON values without reading what is inside: members and elements stay text.
//!
//! One walk over the whole text notes where every value begins and ends, so that going into one costs nothing for what
//! is beside it, and every key and value knows its place. The walk needs no stack of ours however deep values nest.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// Where a value stands. What is inside it follows it.
#[derive(Debug, Clone, Copy)]
struct Node {
    start: u32,
    end: u32,
    /// Itself and everything inside.
    nodes: u32,
}

/// A text that is known to be JSON, and where its values are.
#[derive(Debug)]
pub(super) struct Json<'a> {
    text: &'a str,
    nodes: Vec<Node>,
}

impl<'a> Json<'a> {
    /// Longer texts are not looked into.
    pub(super) const MAX_BYTES: usize = u32::MAX as usize;

    /// At most [`Self::MAX_BYTES`], else only their beginning is seen.
    pub(super) fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<IgnoredAny>(text)?;
        Ok(Self { text, nodes: nodes(text.as_bytes()) })
    }

    /// The value that all others are in.
    pub(super) fn root(&self) -> Raw<'_> {
        Raw { text: self.text, nodes: &self.nodes }
    }
}

/// One value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raw<'a> {
    text: &'a str,
    /// Its own first.
    nodes: &'a [Node],
}

impl<'a> Raw<'a> {
    /// As it stands in the file.
    pub(super) fn get(self) -> &'a str {
        let span = self.nodes.first().map(|node| node.start as usize..node.end as usize);
        span.and_then(|span| self.text.get(span)).unwrap_or_default()
    }

    /// The elements of a list, or keys and values of an object in turn.
    fn inside(self) -> impl Iterator<Item = Raw<'a>> {
        let mut rest = self.nodes.split_first().map_or(&[][..], |(_, inside)| inside);
        std::iter::from_fn(move || {
            let (nodes, behind) = rest.split_at_checked(rest.first()?.nodes as usize)?;
            rest = behind;
            Some(Raw { text: self.text, nodes })
        })
    }
}

/// The nodes of a text that is JSON, in the order in which their values begin.
fn nodes(json: &[u8]) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    let mut at = 0;
    while let Some(byte) = json.get(at) {
        let start = at as u32;
        let length = match byte {
            b'"' => string_length(&json[at..]),
            b'{' | b'[' => {
                open.push(nodes.len());
                1
            }
            b'}' | b']' => {
                if let Some(container) = open.pop() {
                    nodes[container].end = start + 1;
                    nodes[container].nodes = (nodes.len() - container) as u32;
                }
                at += 1;
                continue;
            }
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => {
                at += 1;
                continue;
            }
            _ => {
                let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
                json[at..].iter().position(ends).unwrap_or(json.len() - at)
            }
        };
        at += length;
        nodes.push(Node { start, end: at as u32, nodes: 1 });
    }
    nodes
}

/// With both quotes.
fn string_length(json: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    json.len()
}

/// The members of an object in the order of the file, duplicates included. Empty for any other value.
pub(super) fn entries(value: Raw<'_>) -> impl Iterator<Item = (Raw<'_>, Raw<'_>)> {
    let mut inside = value.inside();
    let is_object = value.get().starts_with('{');
    std::iter::from_fn(move || if is_object { Some((inside.next()?, inside.next()?)) } else { None })
}

/// The elements of a list. Empty for any other value.
pub(super) fn elements(value: Raw<'_>) -> impl Iterator<Item = Raw<'_>> {
    let is_list = value.get().starts_with('[');
    value.inside().take_while(move |_| is_list)
}

/// A key without its quotes and escapes.
pub(super) fn key_text(key: Raw<'_>) -> Cow<'_, str> {
    // Half of a surrogate pair is no text; such a key is refused under any name.
    text_of(key).unwrap_or(Cow::Borrowed(key.get()))
}

/// The text of a JSON string; borrowed where it has no escapes.
pub(super) fn text_of(value: Raw<'_>) -> Option<Cow<'_, str>> {
    let plain = value.get().strip_prefix('"')?.strip_suffix('"')?;
    if !plain.as_bytes().contains(&b'\\') {
        return Some(Cow::Borrowed(plain));
    }
    serde_json::from_str::<Text<'_>>(value.get()).ok().map(|text| text.0)
}

/// The integer that a JSON number is, if it is one of 64 bits.
pub(super) fn integer_of(value: Raw<'_>) -> Option<i64> {
    let text = value.get();
    let is_short = text.len() <= MAX_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_short { text.parse().ok() } else { serde_json::from_str(text).ok() }
}

/// A value as it stands in the file, on one line and short enough for a message.
pub(super) fn shown(value: Raw<'_>) -> String {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'{') => return "an object".to_owned(),
        Some(b'[') => return "a list".to_owned(),
        _ => {}
    }
    match text.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

const MAX_SHOWN_CHARS: usize = 60;

/// Any number of so many digits is one of 64 bits.
const MAX_DIGITS: usize = 18;

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Built by going into every value.
    fn value(raw: Raw<'_>) -> Value {
        match raw.get().as_bytes().first() {
            Some(b'{') => {
                entries(raw).map(|(key, member)| (key_text(key).into_owned(), value(member))).collect()
            }
            Some(b'[') => elements(raw).map(value).collect(),
            Some(b'"') => text_of(raw).map_or(Value::Null, |text| text.into_owned().into()),
            _ => integer_of(raw)
                .map_or_else(|| serde_json::from_str(raw.get()).unwrap_or_default(), Value::from),
        }
    }

    #[test]
    fn values_are_those_of_serde_json() {
        for text in [
            "7",
            " -0.5e3 ",
            "null",
            r#""""#,
            r#""a \" \\ é \n b""#,
            "[]",
            "{}",
            r#"[1,[2,[],{}],{"a":[{"b":"]"}]},"}",[[[9]]] ]"#,
            "{ \"a\" :\t{ \"b\": [ true , false ] , \"c,\": -12 },\r\n\"d\\\"\": {\"e\": null} }",
            "[9223372036854775807, 999999999999999999, -9223372036854775808, 18446744073709551615]",
        ] {
            let json = Json::parse(text).expect("it is JSON");
            assert_eq!(value(json.root()), serde_json::from_str::<Value>(text).expect("JSON"), "{text}");
        }
    }

    #[test]
    fn values_know_where_they_are() {
        let text = r#"{"a": [10, "x"], "b": {}}"#;
        let json = Json::parse(text).expect("it is JSON");
        let spans: Vec<&str> = entries(json.root()).map(|(_, member)| member.get()).collect();
        assert_eq!(spans, [r#"[10, "x"]"#, "{}"]);
        assert_eq!(elements(json.root()).count(), 0, "an object is no list");
        assert!(Json::parse("[1,]").is_err());
    }
}
