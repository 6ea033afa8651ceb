//! What came of a run: the tables on the terminal, every value in `target/bench/results.json`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use comfy_table::{Table, presets};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::figures::Goal;
use crate::machine::Machine;
use crate::options::Options;

/// Everything that is to be written at the end.
#[derive(Serialize)]
pub(crate) struct Results {
    machine: Machine,
    quick: bool,
    parts: Map<String, Value>,
    goals: Vec<Goal>,
}

impl Results {
    /// Of a run that has just begun.
    pub(crate) fn new(machine: Machine, options: &Options) -> Self {
        Self { machine, quick: options.quick, parts: Map::new(), goals: Vec::new() }
    }

    /// What it runs on.
    pub(crate) fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Takes the values of a part and what was promised of them.
    pub(crate) fn take(&mut self, part: &str, values: impl Serialize, goals: Vec<Goal>) -> Result<()> {
        self.parts.insert(part.to_owned(), serde_json::to_value(values)?);
        self.goals.extend(goals);
        Ok(())
    }

    /// Prints the goals and writes the file.
    pub(crate) fn finish(&self) -> Result<()> {
        if !self.goals.is_empty() {
            println!("\n## goals: median (lowest-highest of the rounds)\n");
            self.goals.iter().for_each(|goal| println!("{goal}"));
        }
        let file = directory()?.join("results.json");
        fs::write(&file, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("cannot write \"{}\"", file.display()))?;
        println!("\nevery value is in {}", file.display());
        Ok(())
    }
}

/// `target/bench` of the workspace, made if it is not there.
pub(crate) fn directory() -> Result<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target").join("bench");
    fs::create_dir_all(&directory).with_context(|| format!("cannot make \"{}\"", directory.display()))?;
    Ok(directory)
}

/// A table that Markdown understands.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header);
    table
}
