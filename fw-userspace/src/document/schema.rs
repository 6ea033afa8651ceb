//! The JSON Schema of the rules file, draft 2020-12, from the types that read it.

use schemars::Schema;
use schemars::generate::SchemaSettings;

use super::types::Document;

/// What editors need to complete and check a rules file. Checks across values (a port range that ends before it
/// begins, a name that is not there) are [`super::read`]'s alone.
pub fn schema() -> Schema {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Document>();
    schema.insert("title".to_owned(), "fwctl rules file".into());
    schema
}

/// The schema as `docs/rules.schema.json` has it.
pub fn schema_text() -> String {
    // Pretty-printing a value that holds no maps with other than text keys cannot fail.
    let mut text = serde_json::to_string_pretty(&schema()).unwrap_or_default();
    text.push('\n');
    text
}
