//! The generated files of `docs/`: what is checked in is what the code says. `FWCTL_BLESS=1` writes them anew.

use std::path::PathBuf;

use fw_userspace::document::schema_text;
use fw_userspace::{lint, reasons};

#[test]
fn the_schema_is_the_one_of_the_types() {
    check("rules.schema.json", &schema_text());
}

#[test]
fn the_reasons_are_the_ones_of_the_core() {
    check("reasons.md", &reasons::markdown());
}

#[test]
fn the_lints_are_those_of_the_table() {
    check("lints.md", &lint::markdown());
}

fn check(name: &str, generated: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    if std::env::var_os("FWCTL_BLESS").is_some() {
        std::fs::write(&path, generated).expect("docs can be written");
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(checked_in == generated, "docs/{name} is out of date: run the test again with FWCTL_BLESS=1");
}
