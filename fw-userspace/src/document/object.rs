//! Objects with known keys: one declaration gives the type, its JSON Schema and its reader.

use schemars::Schema;

use super::json::{Raw, entries, key_text};
use super::report::Report;
use super::value::{At, Field, Label, Read};
use crate::lint::Code;

/// Declares an object of the file. Each field is `required` or `optional`, and every mistake in it is reported,
/// not the first alone. A key that is no Rust name is given after the type: `optional itself: Flag = "self",`.
macro_rules! document_object {
    (
        $(#[$attribute:meta])*
        $object:ident {
            $( $(#[$field_attribute:meta])* $need:ident $field:ident : $type:ty $(= $key:literal)? , )*
        }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, schemars::JsonSchema)]
        #[allow(dead_code, reason = "descriptions and the version are read to be checked, nobody needs them later")]
        #[schemars(deny_unknown_fields, transform = Self::name_required_keys)]
        pub(super) struct $object {
            $( $(#[$field_attribute])* pub(super) $field: $crate::document::value::Field<$type>, )*
        }

        impl $object {
            const KEYS: &[&str] =
                &[$( $crate::document::object::document_object!(@key $field $($key)?) ),*];
            const REQUIRED: &[bool] =
                &[$( $crate::document::object::document_object!(@required $need) ),*];

            fn name_required_keys(schema: &mut schemars::Schema) {
                $crate::document::object::name_required_keys(schema, Self::KEYS, Self::REQUIRED);
            }
        }

        impl $crate::document::value::Read for $object {
            fn read(
                value: $crate::document::json::Raw<'_>,
                label: $crate::document::value::Label<'_>,
                report: &mut $crate::document::report::Report<'_>,
            ) -> Option<Self> {
                let mut members = $crate::document::object::Members::of(
                    value, label, Self::KEYS, Self::REQUIRED, report,
                )?;
                // The fields are initialised in the order of KEYS.
                Some(Self { $( $field: members.next_field(report), )* })
            }
        }
    };
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
    (@required required) => { true };
    (@required optional) => { false };
}

pub(super) use document_object;

/// The values of one object in the order of its known keys.
pub(super) struct Members<'a> {
    known: std::iter::Zip<std::slice::Iter<'static, &'static str>, std::vec::IntoIter<Option<Raw<'a>>>>,
}

impl<'a> Members<'a> {
    /// Sorts an object's members by key; reports unknown, duplicate and missing keys.
    pub(super) fn of(
        object: Raw<'a>,
        label: Label<'_>,
        keys: &'static [&'static str],
        required: &[bool],
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let at = report.offset_of(object.get());
        if !object.get().starts_with('{') {
            report.say(at, Code::ValueInvalid, format!("{}, must be an object", label.says(object)));
            return None;
        }
        let mut values = vec![None; keys.len()];
        for (key, value) in entries(object) {
            let key_at = report.offset_of(key.get());
            let text = key_text(key);
            match keys.iter().position(|known| *known == text) {
                Some(index) if values[index].is_some() => {
                    report.say(
                        key_at,
                        Code::KeyDuplicate,
                        format!("duplicate key {text:?}, remove one of the two"),
                    );
                }
                Some(index) => values[index] = Some(value),
                None => {
                    let message = unknown_key(&super::json::shown(key), &text, keys, report);
                    report.say(key_at, Code::KeyUnknown, message);
                }
            }
        }
        for ((key, required), value) in keys.iter().zip(required).zip(&values) {
            if *required && value.is_none() {
                report.say(at, Code::KeyMissing, format!("{key:?} is missing"));
            }
        }
        Some(Self { known: keys.iter().zip(values) })
    }

    /// Reads the value of the next known key.
    pub(super) fn next_field<T: Read>(&mut self, report: &mut Report<'_>) -> Field<T> {
        let Some((key, Some(value))) = self.known.next() else {
            return Field::Absent;
        };
        let at = report.offset_of(value.get());
        match T::read(value, Label::Key(key), report) {
            Some(value) => Field::Given(At { at, value }),
            None => Field::Wrong,
        }
    }
}

fn unknown_key(shown: &str, key: &str, keys: &[&str], report: &mut Report<'_>) -> String {
    let suggestion = report.did_you_mean(key, keys.iter().copied());
    if suggestion.is_empty() {
        format!("unknown key {shown}, must be one of {}", keys.join(", "))
    } else {
        format!("unknown key {shown}{suggestion}")
    }
}

/// The derive takes every field for required, because none is an `Option`.
pub(super) fn name_required_keys(schema: &mut Schema, keys: &[&str], required: &[bool]) {
    let names: Vec<&str> =
        keys.iter().zip(required).filter(|(_, required)| **required).map(|(key, _)| *key).collect();
    if names.is_empty() {
        schema.remove("required");
    } else {
        schema.insert("required".to_owned(), names.into());
    }
}
