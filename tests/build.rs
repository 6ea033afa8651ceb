//! Compiles the measuring instruments of `fw-ebpf/src/bin/instruments.rs` for the test rig and the benchmark.
//!
//! Where `FWCTL_BPF_OBJECT` says that nothing is to be compiled for BPF there are none: an empty file, which
//! `fw_tests::instruments` refuses.

#[path = "../fw-ebpf/compile.rs"]
mod compile;

const NAME: &str = "instruments";

fn main() {
    let workspace = compile::workspace();
    match compile::prebuilt() {
        Some(_) => compile::leave_nothing(NAME),
        None => compile::compile(&workspace, NAME),
    }
}
