//! What the documents say of the cases is true of the cases there are.

use std::collections::BTreeSet;
use std::path::Path;

use fw_tests::case;

/// The last column of these tables names cases, or something else in backticks or as a link.
#[test]
fn every_case_that_a_document_names_is_there() {
    let cases = case::load().expect("the cases load");
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    let mut missing = Vec::new();
    let mut found = 0;
    for document in ["choices.md", "packets.md"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(document);
        let text = std::fs::read_to_string(&path).expect("the document can be read");
        for name in named_cases(&text) {
            found += 1;
            if !names.contains(name) && !is_case_file(name) {
                missing.push(format!("{document} names the case \"{name}\""));
            }
        }
    }
    assert!(missing.is_empty(), "there is no such case:\n{}", missing.join("\n"));
    assert!(found > 100, "only {found} names were found in the tables");
}

fn is_case_file(name: &str) -> bool {
    name.ends_with(".toml") && case::directory().join(name).is_file()
}

/// The words of the last cells, in tables whose last column is headed "cases" or "proof".
fn named_cases(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let Some(cell) = line.strip_suffix('|').and_then(|line| line.rsplit('|').next()) else {
            inside = false;
            continue;
        };
        match cell.trim() {
            "cases" | "proof" => inside = true,
            words if inside => names.extend(words.split(", ").filter(|word| is_name(word))),
            _ => {}
        }
    }
    names
}

fn is_name(word: &str) -> bool {
    !word.is_empty() && !word.starts_with("---") && !word.contains(['`', '[', ' '])
}
