//! Compiles `fw-ebpf` and leaves the object in `$OUT_DIR/fw-ebpf.o`, to be embedded.
//!
//! `FWCTL_BPF_OBJECT` names an object that is there already, to be embedded instead: nothing is built for BPF then, and
//! neither compiler nor linker is asked for. For packagers, and for builds of the host side alone. Whether it was built
//! of these sources is theirs to know.

#[path = "../fw-ebpf/compile.rs"]
mod compile;

use std::{fs, path::Path};

use compile::{OBJECT_VARIABLE, endian_suffix, fail};

const NAME: &str = "fw-ebpf";

fn main() {
    let workspace = compile::workspace();
    match compile::prebuilt() {
        Some(object) => embed_prebuilt(&workspace, &object),
        None => compile::compile(&workspace, NAME),
    }
}

/// Embeds the object of `FWCTL_BPF_OBJECT`; a relative path counts from the workspace.
fn embed_prebuilt(workspace: &Path, object: &Path) {
    let object = workspace.join(object);
    println!("cargo::rerun-if-changed={}", object.display());
    let image = match fs::read(&object) {
        Ok(image) => image,
        Err(error) => {
            fail(&format!("{OBJECT_VARIABLE}: cannot read {:?}: {error}", object.display().to_string()))
        }
    };
    if let Err(what) = check_elf(&image) {
        fail(&format!(
            "{OBJECT_VARIABLE}: {:?} is {what}, an object is taken that was compiled for bpf{}-unknown-none",
            object.display().to_string(),
            endian_suffix()
        ));
    }
    compile::leave(&object, NAME);
}

/// Says what a file is that is no BPF object of the target's byte order (ELF-64: class at 4, byte order at 5, machine
/// at 18).
fn check_elf(image: &[u8]) -> Result<(), &'static str> {
    const EM_BPF: u16 = 247;
    let Some(header) = image.get(..64).filter(|header| header.starts_with(b"\x7fELF")) else {
        return Err("no ELF file");
    };
    let big = match header[5] {
        1 => false,
        2 => true,
        _ => return Err("an ELF file of no known byte order"),
    };
    let machine = [header[18], header[19]];
    let machine = if big { u16::from_be_bytes(machine) } else { u16::from_le_bytes(machine) };
    if machine != EM_BPF || header[4] != 2 {
        return Err("an ELF file of another machine than BPF");
    }
    if big != (endian_suffix() == "eb") { Err("a BPF object of the other byte order") } else { Ok(()) }
}
