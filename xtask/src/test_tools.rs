//! Programs that only tests run, each of which skips by itself, and says so, where it lacks one: Prometheus, and what makes
//! containers.
//!
//! Prometheus is unpacked below `target`, not installed: its package would start a service on the developer's host. So is
//! a busybox: an image is made of it alone, and an installed one may need libraries.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{run, setup};

/// Engine and runtime of containers, with the Debian package that has each.
const CONTAINERS: [(&str, &str); 2] = [("podman", "podman"), ("runc", "runc")];

/// Where packages are unpacked; `tests/src/programs.rs` looks there too.
fn directory() -> PathBuf {
    run::workspace().join("target/test-tools")
}

/// Finds them or gets them. What cannot be had is said and stops nothing.
pub(crate) fn provide() {
    if let Err(error) = setup::need_programs(&CONTAINERS) {
        setup::say(&format!("tests with containers will be skipped: {error:#}"));
    }
    let is_installed = |program: &str| run::find_program(program).is_some();
    if !["prometheus", "promtool"].into_iter().all(is_installed)
        && let Err(error) = unpack("prometheus", "usr/bin/prometheus")
    {
        setup::say(&format!("tests with Prometheus will be skipped: {error:#}"));
    }
    if let Err(error) = unpack("busybox-static", "bin/busybox") {
        setup::say(&format!("tests with containers will be skipped: {error:#}"));
    }
}

/// Unpacks a package, unless this file of it is there.
fn unpack(package: &str, file: &str) -> Result<()> {
    let directory = directory();
    // Newer packages have all of it below usr.
    if [directory.join(file), directory.join("usr").join(file)].iter().any(|path| path.is_file()) {
        return Ok(());
    }
    if run::find_program("apt-get").is_none() {
        bail!("{package} is a package of Debian and there is no apt-get here: have its programs on PATH");
    }
    setup::say(&format!("unpacking Debian's {package} into target/test-tools"));
    let downloads = directory.join(format!("{package}.download"));
    let unpacked = download(package, &downloads).and_then(|archive| {
        run::quietly(Command::new("dpkg").arg("-x").args([&archive, &directory])).map(drop)
    });
    fs::remove_dir_all(&downloads).with_context(|| format!("cannot remove {}", downloads.display()))?;
    unpacked
}

/// The archive of a package, alone in a directory.
fn download(package: &str, into: &Path) -> Result<PathBuf> {
    fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
    let get = || {
        let mut apt = Command::new("apt-get");
        run::quietly(apt.args(["-qq", "download", package]).current_dir(into))
    };
    if get().is_err() {
        setup::update_package_lists();
        get()?;
    }
    let archive = fs::read_dir(into).ok().and_then(|mut entries| entries.next()?.ok());
    Ok(archive.with_context(|| format!("apt-get downloaded nothing of {package}"))?.path())
}
