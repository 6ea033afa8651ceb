//! Kernels from Debian's packages, by an apt configuration of their own: the machine's lists stay as they are.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::say;
use crate::{run, setup};

/// Depends on the newest of its series.
const NEWEST: &str = "linux-image-cloud-amd64";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const MIRROR: &str = "http://deb.debian.org/debian";

/// An unpacked kernel.
pub(super) struct Kernel {
    pub(super) version: String,
    pub(super) image: PathBuf,
    pub(super) modules: PathBuf,
    /// Where things of its own may be put.
    pub(super) directory: PathBuf,
}

/// The one unpacked in `directory`, which is downloaded first if there is none. Delete the directory for a newer one.
pub(super) fn provide(directory: &Path, release: &str) -> Result<Kernel> {
    if let Some(kernel) = unpacked(directory) {
        return Ok(kernel);
    }
    if run::find_program("apt-get").is_none() || run::find_program("dpkg-deb").is_none() {
        bail!("it is Debian's package {NEWEST} of {release}, and there is no apt-get here");
    }
    if !Path::new(KEYRING).exists() {
        setup::install_packages(&["debian-archive-keyring"])?;
    }
    say(&format!("downloading {NEWEST} of Debian {release} into {}", directory.display()));
    let apt = Apt::configure(&directory.join("apt"), release)?;
    apt.run("apt-get", &["-qq", "update"])?;
    let about = apt.run("apt-cache", &["show", "--no-all-versions", NEWEST])?;
    // `Depends: linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)`
    let package = about.lines().find_map(|line| line.strip_prefix("Depends: ")?.split(' ').next());
    let package = package.with_context(|| format!("{NEWEST} depends on no kernel"))?;
    apt.run("apt-get", &["-qq", "download", package])?;
    let file = entries(&apt.directory).find(|path| path.extension().is_some_and(|end| end == "deb"));
    let file = file.with_context(|| format!("apt-get left no {package} in {}", apt.directory.display()))?;

    // Under its name only when it is whole.
    let half = directory.join("half");
    let _ = fs::remove_dir_all(&half);
    run::quietly(Command::new("dpkg-deb").arg("-x").arg(file).arg(&half))?;
    fs::rename(&half, directory.join("root")).context("cannot put the unpacked kernel in its place")?;
    // Its lists and the package are large, and of no use any more.
    let _ = fs::remove_dir_all(&apt.directory);
    unpacked(directory).with_context(|| format!("{package} has no kernel in it"))
}

fn unpacked(directory: &Path) -> Option<Kernel> {
    let root = directory.join("root");
    let image = entries(&root.join("boot"))
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")))?;
    let version = image.file_name()?.to_str()?.strip_prefix("vmlinuz-")?.to_owned();
    let modules = ["lib/modules", "usr/lib/modules"].map(|place| root.join(place).join(&version));
    let modules = modules.into_iter().find(|place| place.is_dir())?;
    Some(Kernel { version, image, modules, directory: directory.to_owned() })
}

/// apt with lists, cache and sources in a directory.
struct Apt {
    directory: PathBuf,
}

impl Apt {
    fn configure(directory: &Path, release: &str) -> Result<Self> {
        let _ = fs::remove_dir_all(directory);
        for part in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(directory.join(part)).with_context(|| format!("cannot make {part}"))?;
        }
        let here = directory.display();
        let sources = format!("deb [signed-by={KEYRING}] {MIRROR} {release} main\n");
        // Unpacked as root, so there is no need for a download as nobody, who may not write here.
        let configuration = format!(
            "Dir::Etc::sourcelist \"{here}/sources.list\";\n\
             Dir::Etc::sourceparts \"/dev/null\";\n\
             Dir::Etc::preferences \"/dev/null\";\n\
             Dir::Etc::preferencesparts \"/dev/null\";\n\
             Dir::State \"{here}/state\";\n\
             Dir::State::status \"/dev/null\";\n\
             Dir::Cache \"{here}/cache\";\n\
             APT::Architecture \"amd64\";\n\
             APT::Sandbox::User \"root\";\n\
             Acquire::Languages \"none\";\n"
        );
        fs::write(directory.join("sources.list"), sources)
            .and_then(|()| fs::write(directory.join("apt.conf"), configuration))
            .with_context(|| format!("cannot write in {here}"))?;
        Ok(Self { directory: directory.to_owned() })
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(program);
        command.arg("--config-file").arg(self.directory.join("apt.conf")).args(arguments);
        // `download` leaves the package where it is run.
        run::quietly(command.current_dir(&self.directory))
    }
}

pub(super) fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}
