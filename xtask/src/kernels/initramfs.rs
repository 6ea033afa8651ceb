//! The little system that runs the programs: busybox, iproute2, ours, their libraries, and the kernel's modules.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    bound,
    debian::{Kernel, entries},
};
use crate::run;

/// What the rig makes and `fwctl` attaches to. IPv6 and packet sockets are built into Debian's kernels.
const MODULES: [&str; 5] = ["veth", "bridge", "sch_ingress", "cls_bpf", "act_bpf"];

const INIT: &str = "\
#!/bin/busybox sh
/bin/busybox --install -s /usr/bin
export PATH=/sbin:/bin:/usr/bin HOME=/
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t bpf bpf /sys/fs/bpf
for module in /modules/*; do insmod $module || echo \"cannot load $module\"; done
ip link set lo up
# Emulated, everything takes longer.
export FWCTL_TEST_TIMEOUT_MS=900 FWCTL_TEST_LOADS=5
";

/// Tests of `fw-tests`, in these files and by a part of their name. Three at a time, for they mostly wait: for answers
/// that must not come, and where it is emulated for the verifier.
pub(super) const TESTS: [&str; 2] = ["traffic", "safety"];
const CHOSEN: [&str; 10] = [
    "--test-threads=3",
    "own_nic",
    "veth_of_an_instance",
    "vlan_tags",
    "twenty_loads",
    "status_fails",
    "taken_xdp_hook",
    "rollback_brings",
    "confirmation_the_rules_before",
    "unload",
];

/// What was built for it.
pub(super) struct Programs {
    pub(super) fwctl: PathBuf,
    pub(super) check: PathBuf,
    /// [`TESTS`], in their order.
    pub(super) tests: Vec<PathBuf>,
    /// Cases on the wire as well.
    pub(super) wire: bool,
}

impl Programs {
    /// What is run, as it is run here.
    pub(super) fn commands(&self) -> Vec<Command> {
        // They clean up when they are told to end.
        let mut check = bound("TERM", &self.check);
        check.args(self.wire.then_some("wire"));
        let mut commands = vec![check];
        for test in &self.tests {
            let mut test = bound("TERM", test);
            test.args(CHOSEN);
            commands.push(test);
        }
        commands
    }
}

/// Packs one for a kernel; returns the archive.
pub(super) fn pack(kernel: &Kernel, programs: &Programs) -> Result<PathBuf> {
    let root = Root::new(&kernel.directory.join("initramfs"))?;
    for directory in ["proc", "sys", "dev", "run", "tmp", "usr/bin", "modules"] {
        root.directory(directory)?;
    }
    let program = |name: &str| run::find_program(name).with_context(|| format!("there is no {name}"));
    let busybox = program("busybox")?;
    root.program(&busybox, "bin/busybox")?;
    // busybox's own say less.
    root.program(&program("ip")?, "sbin/ip")?;
    root.program(&program("tc")?, "sbin/tc")?;
    // fwctl beside its users, as cargo has it.
    root.program(&programs.fwctl, "fwctl/fwctl")?;
    root.program(&programs.check, "fwctl/kernel_check")?;
    let mut run = format!("/fwctl/kernel_check {}\n", if programs.wire { "wire" } else { "" });
    for (test, name) in programs.tests.iter().zip(TESTS) {
        root.program(test, &format!("fwctl/{name}"))?;
        run.push_str(&format!("/fwctl/{name} {}\n", CHOSEN.join(" ")));
    }
    // At the same place as here: it is compiled in.
    let cases = run::workspace().join("tests/cases");
    for file in entries(&cases) {
        root.file(&fs::read(&file)?, &inside(&file), 0o644)?;
    }
    for (position, (name, module)) in modules(kernel, &busybox)?.into_iter().enumerate() {
        root.file(&module, &format!("modules/{position:02}-{name}.ko"), 0o644)?;
    }
    root.file(format!("{INIT}{run}poweroff -f\n").as_bytes(), "init", 0o755)?;
    root.archive(&kernel.directory.join("initramfs.cpio"))
}

/// The tree before it is packed.
struct Root(PathBuf);

impl Root {
    fn new(place: &Path) -> Result<Self> {
        let _ = fs::remove_dir_all(place);
        let root = Self(place.to_owned());
        root.directory("")?;
        Ok(root)
    }

    fn directory(&self, at: &str) -> Result<()> {
        fs::create_dir_all(self.0.join(at)).with_context(|| format!("cannot make {}/{at}", self.0.display()))
    }

    fn file(&self, content: &[u8], at: &str, mode: u32) -> Result<()> {
        let (directory, _) = at.rsplit_once('/').unwrap_or_default();
        self.directory(directory)?;
        let path = self.0.join(at);
        fs::write(&path, content)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// With the libraries that it loads, at their own places; without what only a debugger reads.
    fn program(&self, program: &Path, at: &str) -> Result<()> {
        self.file(&fs::read(program)?, at, 0o755)?;
        run::quietly(Command::new("strip").arg(self.0.join(at)))?;
        // Fails for a program that loads none.
        let libraries = run::quietly(Command::new("ldd").arg(program)).unwrap_or_default();
        for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
            let library = Path::new(library);
            self.file(&fs::read(library)?, &inside(library), 0o755)?;
        }
        Ok(())
    }

    fn archive(self, to: &Path) -> Result<PathBuf> {
        let pack = "find . | cpio --quiet --create --format=newc > \"$0\"";
        run::quietly(Command::new("sh").args(["-c", pack]).arg(to).current_dir(&self.0))?;
        let _ = fs::remove_dir_all(&self.0);
        Ok(to.to_owned())
    }
}

/// A path of this machine below another root.
fn inside(path: &Path) -> String {
    path.to_string_lossy().trim_start_matches('/').to_owned()
}

/// The modules and those that they need, decompressed, in the order in which they load.
fn modules(kernel: &Kernel, busybox: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = BTreeMap::new();
    collect(&kernel.modules.join("kernel"), &mut files);
    let builtin = fs::read_to_string(kernel.modules.join("modules.builtin")).unwrap_or_default();
    let builtin: Vec<String> = builtin.lines().map(|line| module_name(Path::new(line))).collect();

    let mut loaded = Vec::new();
    let mut waiting: Vec<String> = MODULES.iter().rev().map(|name| (*name).to_owned()).collect();
    while let Some(name) = waiting.pop() {
        if loaded.iter().any(|(other, _)| *other == name) || builtin.contains(&name) {
            continue;
        }
        let file = files.get(&name).with_context(|| format!("{} has no module {name}", kernel.version))?;
        let module = decompressed(file, busybox)?;
        let is_there =
            |need: &String| loaded.iter().any(|(other, _)| other == need) || builtin.contains(need);
        let missing: Vec<String> = needs(&module).into_iter().filter(|need| !is_there(need)).collect();
        if missing.is_empty() {
            loaded.push((name, module));
        } else {
            ensure!(
                !waiting.contains(&name),
                "the modules {name} and {} need each other",
                missing.join(", ")
            );
            waiting.push(name);
            waiting.extend(missing);
        }
    }
    Ok(loaded)
}

fn collect(directory: &Path, files: &mut BTreeMap<String, PathBuf>) {
    for path in entries(directory) {
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.insert(module_name(&path), path);
        }
    }
}

/// `net/802/stp.ko.xz` is `stp`; `-` and `_` are the same in names.
fn module_name(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    file.split('.').next().unwrap_or_default().replace('-', "_")
}

/// What `.modinfo` says it depends on.
fn needs(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let list = module[at + KEY.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let list = String::from_utf8_lossy(list).replace('-', "_");
    list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn decompressed(file: &Path, busybox: &Path) -> Result<Vec<u8>> {
    if file.extension().is_some_and(|end| end == "ko") {
        return fs::read(file).with_context(|| format!("cannot read {}", file.display()));
    }
    let output = Command::new(busybox).args(["xz", "-dc"]).arg(file).output()?;
    if !output.status.success() {
        bail!("cannot decompress {}: {}", file.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_says_what_it_needs() {
        assert_eq!(needs(b"ELF\0license=GPL\0depends=stp,llc-x\0retpoline=Y\0"), ["stp", "llc_x"]);
        assert_eq!(needs(b"ELF\0depends=\0name=llc\0"), Vec::<String>::new());
        assert_eq!(module_name(Path::new("kernel/net/sched/act-bpf.ko.xz")), "act_bpf");
    }
}
