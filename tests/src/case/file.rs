//! A directory of case files: finds the bases, gathers the mistakes, refuses names that occur twice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use toml::de::DeTable;

use super::read::{Fields, Source};
use super::{Case, merge};

/// What a file gives to its cases, before they are read.
struct Frame {
    base: Option<String>,
    rules: Option<Value>,
    changes: Option<Value>,
}

pub(super) fn load_directory(directory: &Path) -> Result<Vec<Case>> {
    let entries =
        std::fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    let texts: Vec<String> = paths
        .iter()
        .map(|path| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display())))
        .collect::<Result<_>>()?;

    let mut mistakes = Vec::new();
    let mut files = Vec::new();
    for (path, text) in paths.iter().zip(&texts) {
        let source = Source { path, text };
        match DeTable::parse(text) {
            Ok(table) => files.push((source, table.into_inner())),
            Err(error) => mistakes.push(source.syntax(&error)),
        }
    }
    let frames: BTreeMap<String, Frame> = files
        .iter()
        .map(|(source, table)| (stem(source.path), frame(*source, table, &mut mistakes)))
        .collect();

    let mut cases = Vec::new();
    for (source, table) in &files {
        match rules_of(&stem(source.path), &frames) {
            Ok(rules) => read_cases(*source, table, &rules, &mut cases, &mut mistakes),
            Err(error) => mistakes.push(format!("{}:1: {error:#}", source.path.display())),
        }
    }
    refuse_duplicates(&cases, &mut mistakes);
    ensure!(mistakes.is_empty(), "{}", mistakes.join("\n"));
    Ok(cases)
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn frame(source: Source<'_>, table: &DeTable<'_>, mistakes: &mut Vec<String>) -> Frame {
    let mut fields = Fields::new(source, table, 0..0);
    fields.required("about", Fields::text);
    fields.optional("source", Fields::text);
    let frame = Frame {
        base: fields.optional("base", Fields::text),
        rules: fields.optional("rules", Fields::table),
        changes: fields.optional("changes", Fields::table),
    };
    fields.known("case");
    fields.finish(mistakes);
    frame
}

/// The rules that the cases of a file begin with.
fn rules_of(name: &str, frames: &BTreeMap<String, Frame>) -> Result<Value> {
    let frame = &frames[name];
    let mut rules = match (&frame.base, &frame.rules) {
        (Some(base), None) => match frames.get(base) {
            Some(Frame { rules: Some(rules), .. }) => rules.clone(),
            Some(_) => bail!("base \"{base}\": {base}.toml has no [rules]"),
            None => bail!("base \"{base}\": there is no {base}.toml"),
        },
        (None, Some(rules)) => rules.clone(),
        (Some(_), Some(_)) => bail!("a file has a base or [rules], not both; use [changes]"),
        (None, None) => json!({}),
    };
    if let Some(changes) = &frame.changes {
        merge(&mut rules, changes);
    }
    Ok(rules)
}

fn read_cases(
    source: Source<'_>,
    table: &DeTable<'_>,
    rules: &Value,
    cases: &mut Vec<Case>,
    mistakes: &mut Vec<String>,
) {
    let Some((_, value)) = table.iter().find(|(key, _)| key.get_ref() == "case") else { return };
    let Some(array) = value.get_ref().as_array() else {
        mistakes.push(source.mistake(value.span(), "\"case\" is written [[case]]"));
        return;
    };
    for item in array.iter() {
        match item.get_ref().as_table() {
            Some(table) => cases.extend(super::read::case(source, table, item.span(), rules, mistakes)),
            None => mistakes.push(source.mistake(item.span(), "a case is a table")),
        }
    }
}

fn refuse_duplicates(cases: &[Case], mistakes: &mut Vec<String>) {
    let mut first: BTreeMap<&str, &Case> = BTreeMap::new();
    for case in cases {
        if let Some(other) = first.insert(&case.name, case) {
            let (file, line) = (other.file.display(), other.line);
            mistakes.push(format!("{}: the name is taken by {file}:{line}", case.place()));
        }
    }
}
