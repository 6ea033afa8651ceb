//! Looks into one JSON value without reading what is inside: members and elements stay raw text.
//!
//! `RawValue` borrows from the source, so every key and value still knows its place, and scanning one needs no
//! stack however deep it nests.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an object in the order of the file, duplicates included. Empty for any other value.
pub(super) fn entries(value: &RawValue) -> Vec<(&RawValue, &RawValue)> {
    serde_json::from_str::<Entries<'_>>(value.get()).map(|entries| entries.0).unwrap_or_default()
}

/// The elements of a list. Empty for any other value.
pub(super) fn elements(value: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(value.get()).unwrap_or_default()
}

/// A key without its quotes and escapes.
pub(super) fn key_text(key: &RawValue) -> Cow<'_, str> {
    // Half of a surrogate pair is no text; such a key is refused under any name.
    text_of(key).unwrap_or(Cow::Borrowed(key.get()))
}

/// The text of a JSON string; borrowed where it has no escapes.
pub(super) fn text_of(value: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(value.get()).ok().map(|text| text.0)
}

/// A value as it stands in the file, on one line and short enough for a message.
pub(super) fn shown(value: &RawValue) -> String {
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

struct Entries<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}

const MAX_SHOWN_CHARS: usize = 60;
