//! Programs of others that tests run.

use std::env;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The one of this name that `cargo xtask setup` has unpacked, else on PATH or where administrators' programs are.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    // At run time, if there: two copies of the tree may share one target directory, and so this program.
    let own =
        env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    let unpacked = own.parent().unwrap_or(Path::new(".")).join("target/test-tools");
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = [unpacked.join("usr/bin"), unpacked.join("bin")].into_iter();
    let directories = directories.chain(env::split_paths(&path)).chain(["/usr/sbin".into(), "/sbin".into()]);
    directories.map(|directory| directory.join(name)).find(|candidate| candidate.is_file())
}

/// Says of a test that it cannot be run here. Not by `eprintln`, whose lines nobody sees of a test that passes.
pub fn skip(test: &str, why: &str) {
    let _ = writeln!(io::stderr(), "SKIPPED {test}: {why}; `cargo xtask setup` gets what is missing");
}
