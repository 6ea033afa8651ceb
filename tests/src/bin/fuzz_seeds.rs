//! `fuzz_seeds FOLDER`: writes what fuzzing starts from, `FOLDER/TARGET/seed-N` and `FOLDER/rules.dict`.

use std::path::Path;

use anyhow::{Context as _, Result};
use fw_tests::fuzz;

fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).context("usage: fuzz_seeds FOLDER")?;
    let folder = Path::new(&folder);
    for target in fuzz::TARGETS {
        let corpus = folder.join(target.name);
        std::fs::create_dir_all(&corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
        for (number, seed) in fuzz::seeds(target.name)?.iter().enumerate() {
            std::fs::write(corpus.join(format!("seed-{number}")), seed)?;
        }
    }
    std::fs::write(folder.join("rules.dict"), fuzz::dictionary())?;
    Ok(())
}
