//! Compiles the measuring instruments of `fw-ebpf/src/bin/instruments.rs` for the test rig and the benchmark.
//!
//! Where `FWCTL_BPF_OBJECT` says that nothing is to be compiled for BPF there are none: an empty file, which
//! `fw_tests::instruments` refuses.

#[path = "../fw-ebpf/compile.rs"]
mod compile;

use std::{fs, path::Path};

const NAME: &str = "instruments";

fn main() {
    let workspace = compile::workspace();
    match compile::prebuilt() {
        Some(_) => leave_nothing(),
        None => compile::compile(&workspace, NAME),
    }
}

fn leave_nothing() {
    let place = Path::new(&compile::cargo_var("OUT_DIR")).join(format!("{NAME}.o"));
    if let Err(error) = fs::write(&place, []) {
        compile::fail(&format!("cannot write {}: {error}", place.display()));
    }
}
