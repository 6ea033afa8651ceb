//! What every part of the file is made of: a value and its place, read one by one so that a mistake in one
//! never hides a mistake in the next.

use std::borrow::Cow;
use std::collections::HashSet;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::json::{Raw, elements, entries, integer_of, key_text, shown, text_of};
use super::report::Report;
use crate::lint::Code;

/// A type that is built from one JSON value. `None` means that an error was reported.
pub(super) trait Read: Sized {
    fn read(value: Raw<'_>, label: Label<'_>, report: &mut Report<'_>) -> Option<Self>;
}

/// How messages call the value that is being read.
#[derive(Clone, Copy)]
pub(super) enum Label<'a> {
    /// `"from_port" is ...`
    Key(&'a str),
    /// `"cidr_blocks" has ...`
    ElementOf(&'a str),
    /// `the file is ...`
    File,
}

impl Label<'_> {
    /// The first half of a message: whose value it is and what stands there.
    pub(super) fn says(self, value: Raw<'_>) -> String {
        let shown = shown(value);
        match self {
            Label::Key(key) => format!("{key:?} is {shown}"),
            Label::ElementOf(key) => format!("{key:?} has {shown}"),
            Label::File => format!("the file is {shown}"),
        }
    }
}

/// A value and the offset of its first byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At<T> {
    pub(super) at: usize,
    pub(super) value: T,
}

/// What an object says under one key.
#[derive(Debug)]
pub(super) enum Field<T> {
    /// No such key.
    Absent,
    /// The key is there and its mistake was reported: nothing else is to be said about it.
    Wrong,
    /// A good value.
    Given(At<T>),
}

impl<T> Field<T> {
    pub(super) fn get(&self) -> Option<&At<T>> {
        match self {
            Self::Given(value) => Some(value),
            Self::Absent | Self::Wrong => None,
        }
    }

    pub(super) fn value(&self) -> Option<&T> {
        self.get().map(|given| &given.value)
    }

    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    pub(super) fn is_wrong(&self) -> bool {
        matches!(self, Self::Wrong)
    }
}

/// A scalar of the file.
#[derive(Debug)]
pub(super) enum Scalar<'a> {
    Text(Cow<'a, str>),
    Integer(i64),
    Bool(bool),
    /// Anything else: null, a list, an object, a fraction, an integer beyond 64 bits.
    Other,
}

/// A type that is built from a scalar. The error is the second half of a message: `must be ...`.
pub(super) trait FromScalar: Sized {
    fn from_scalar(scalar: &Scalar<'_>, report: &mut Report<'_>) -> Result<Self, String>;
}

impl<T: FromScalar> Read for T {
    fn read(value: Raw<'_>, label: Label<'_>, report: &mut Report<'_>) -> Option<Self> {
        T::from_scalar(&scalar_of(value), report)
            .map_err(|must_be| {
                let message = format!("{}, {must_be}", label.says(value));
                report.say(report.offset_of(value.get()), Code::ValueInvalid, message);
            })
            .ok()
    }
}

fn scalar_of(value: Raw<'_>) -> Scalar<'_> {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'"') => text_of(value).map_or(Scalar::Other, Scalar::Text),
        Some(b'-' | b'0'..=b'9') => integer_of(value).map_or(Scalar::Other, Scalar::Integer),
        Some(b't') => Scalar::Bool(true),
        Some(b'f') => Scalar::Bool(false),
        _ => Scalar::Other,
    }
}

/// A list in the order of the file; wrong elements were reported and left out.
#[derive(Debug)]
pub(super) struct List<T> {
    items: Vec<At<T>>,
    complete: bool,
}

impl<T> Field<List<T>> {
    /// The good elements; an absent list has none.
    pub(super) fn list(&self) -> &[At<T>] {
        self.value().map_or(&[], |list| list.items.as_slice())
    }

    /// Whether [`Self::list`] is all that was written: only then may a check complain of what is missing.
    pub(super) fn is_complete(&self) -> bool {
        match self {
            Self::Absent => true,
            Self::Wrong => false,
            Self::Given(list) => list.value.complete,
        }
    }
}

impl<T: Read> Read for List<T> {
    fn read(value: Raw<'_>, label: Label<'_>, report: &mut Report<'_>) -> Option<Self> {
        let at = report.offset_of(value.get());
        if !value.get().starts_with('[') {
            report.say(at, Code::ValueInvalid, format!("{}, must be a list", label.says(value)));
            return None;
        }
        let element_label = match label {
            Label::Key(key) | Label::ElementOf(key) => Label::ElementOf(key),
            Label::File => Label::File,
        };
        let mut items = Vec::with_capacity(elements(value).count());
        let mut complete = true;
        for element in elements(value) {
            let at = report.offset_of(element.get());
            match T::read(element, element_label, report) {
                Some(value) => items.push(At { at, value }),
                None => complete = false,
            }
        }
        Some(Self { items, complete })
    }
}

/// An object keyed by the user's own names, in the order of the file.
#[derive(Debug)]
pub(super) struct Named<T>(Vec<NamedItem<T>>);

/// One named thing; `None` when it could not be read, which was reported.
#[derive(Debug)]
pub(super) struct NamedItem<T> {
    pub(super) name: String,
    /// Where the name itself stands.
    pub(super) key_at: usize,
    pub(super) item: Option<At<T>>,
}

impl<T> Field<Named<T>> {
    /// Everything that has a name, readable or not.
    pub(super) fn items(&self) -> &[NamedItem<T>] {
        self.value().map_or(&[], |named| named.0.as_slice())
    }

    /// Everything that could be read.
    pub(super) fn readable(&self) -> impl Iterator<Item = (&str, &At<T>)> {
        self.items().iter().filter_map(|named| Some((named.name.as_str(), named.item.as_ref()?)))
    }
}

impl<T: Read> Read for Named<T> {
    fn read(value: Raw<'_>, label: Label<'_>, report: &mut Report<'_>) -> Option<Self> {
        let at = report.offset_of(value.get());
        if !value.get().starts_with('{') {
            report.say(
                at,
                Code::ValueInvalid,
                format!("{}, must be an object keyed by name", label.says(value)),
            );
            return None;
        }
        let mut seen = HashSet::new();
        let mut named = Vec::new();
        for (key, member) in entries(value) {
            let key_at = report.offset_of(key.get());
            let name = key_text(key).into_owned();
            // Half of a surrogate pair is JSON, but no text.
            let checked =
                text_of(key).map_or(Err("must be Unicode text".to_owned()), |name| check_name(&name));
            if let Err(must_be) = checked {
                report.say(key_at, Code::ValueInvalid, format!("name {} {must_be}", shown(key)));
            } else if !seen.insert(name.clone()) {
                report.say(
                    key_at,
                    Code::KeyDuplicate,
                    format!("duplicate name {name:?}, remove or rename one of the two"),
                );
            }
            let at = report.offset_of(member.get());
            let item = T::read(member, Label::Key(&name), report).map(|value| At { at, value });
            named.push(NamedItem { name, key_at, item });
        }
        Some(Self(named))
    }
}

/// Names and ids end up in counters, metrics and logs, one per line.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.chars().count() > MAX_NAME_CHARS || name.chars().any(char::is_control) {
        return Err(format!("must be 1 to {MAX_NAME_CHARS} characters, none of them a control character"));
    }
    Ok(())
}

/// AWS's limit for names and descriptions.
pub(super) const MAX_NAME_CHARS: usize = 255;

macro_rules! same_schema_as_inner {
    ($outer:ident) => {
        impl<T: JsonSchema> JsonSchema for $outer<T> {
            fn inline_schema() -> bool {
                T::inline_schema()
            }
            fn schema_name() -> Cow<'static, str> {
                T::schema_name()
            }
            fn schema_id() -> Cow<'static, str> {
                T::schema_id()
            }
            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                T::json_schema(generator)
            }
        }
    };
}

same_schema_as_inner!(Field);

impl<T: JsonSchema> JsonSchema for List<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("List{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": generator.subschema_for::<T>() })
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Named{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "propertyNames": { "minLength": 1, "maxLength": MAX_NAME_CHARS },
            "additionalProperties": generator.subschema_for::<T>(),
        })
    }
}
