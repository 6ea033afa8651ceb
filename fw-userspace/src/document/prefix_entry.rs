//! An entry of a prefix list: a CIDR, or an object around it that has room for a description.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::json::Raw;
use super::network::Cidr;
use super::object::document_object;
use super::report::Report;
use super::scalar::Description;
use super::value::{At, Label, Read};

/// One entry, whichever way it was written.
#[derive(Debug)]
pub(super) struct PrefixEntry(pub(super) At<Cidr>);

document_object! {
    /// One entry of a prefix list.
    DocumentPrefixEntry {
        /// A CIDR.
        required cidr: Cidr,
        /// A remark.
        optional description: Description,
    }
}

impl Read for PrefixEntry {
    fn read(value: Raw<'_>, label: Label<'_>, report: &mut Report<'_>) -> Option<Self> {
        if value.get().starts_with('{') {
            let object = DocumentPrefixEntry::read(value, label, report)?;
            return object.cidr.get().cloned().map(Self);
        }
        let at = report.offset_of(value.get());
        Cidr::read(value, label, report).map(|value| Self(At { at, value }))
    }
}

impl JsonSchema for PrefixEntry {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PrefixEntry".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                generator.subschema_for::<Cidr>(),
                generator.subschema_for::<DocumentPrefixEntry>(),
            ],
        })
    }
}
