//! A throw-away machine: this host's file system under a layer that is written to, with a `/sys` and a BPF file system
//! of its own, and systemd as its first process. Its network is that of a namespace.
//!
//! What is written lies in memory and is gone with the machine; the host's files, services and hooks are never touched.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use fw_tests::fwctl::{Fwctl, Output};
use fw_tests::netns::{Namespace, Process};

/// What [`Machine::boot`] made.
pub(crate) struct Machine<'a> {
    network: &'a Namespace,
    /// Of the first process, as the host counts.
    init: u32,
    /// Killed with everything in the machine when this goes.
    process: Option<Process>,
    cgroup: PathBuf,
    /// False where systemd is not installed.
    pub(crate) has_systemd: bool,
}

impl<'a> Machine<'a> {
    /// Boots with the packages in `/packages`, since a service may have systemd empty `/tmp`; `command_line` is the kernel's, as systemd sees it.
    pub(crate) fn boot(network: &'a Namespace, packages: &[&Path], command_line: &str) -> Result<Self> {
        let cgroup = cgroup()?;
        let mut command = network.command("sh", ["-c", OUTSIDE, "sh"]);
        command.arg(cgroup.join("cgroup.procs")).arg(INSIDE).arg(command_line).args(packages);
        let process =
            Process::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()));
        let mut process = process.context("cannot start the machine")?;
        let deadline = Instant::now() + PATIENCE;
        let (init, name) = loop {
            if let Some(found) = first_process(process.child().id()) {
                break found;
            }
            if process.child().try_wait()?.is_some() || Instant::now() > deadline {
                let _ = process.child().kill();
                let mut said = String::new();
                if let Some(mut stderr) = process.child().stderr.take() {
                    stderr.read_to_string(&mut said)?;
                }
                bail!("the machine does not boot: {}", said.trim());
            }
            sleep(STEP);
        };
        let machine = Self { network, init, process: Some(process), cgroup, has_systemd: name == "systemd" };
        if machine.has_systemd {
            machine.await_systemd(deadline)?;
        }
        Ok(machine)
    }

    fn await_systemd(&self, deadline: Instant) -> Result<()> {
        loop {
            let said = self.run("systemctl is-system-running")?.stdout;
            if ["running", "degraded"].contains(&said.trim()) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "systemd in the machine is {:?}", said.trim());
            sleep(STEP);
        }
    }

    /// Runs a line of shell in the machine.
    pub(crate) fn run(&self, line: &str) -> Result<Output> {
        let init = self.init.to_string();
        let mut command = self.network.command("nsenter", ["--target", &init]);
        command.args(["--mount", "--pid", "--uts", "--ipc", "--root", "--wdns=/", "/bin/sh", "-c", line]);
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command.stdin(Stdio::null());
        Fwctl::finish(command).with_context(|| format!("cannot run {line:?} in the machine"))
    }

    /// The same; a failure is an error with what was said.
    pub(crate) fn succeed(&self, line: &str) -> Result<String> {
        let output = self.run(line)?;
        ensure!(output.status.success(), "{line:?} failed: {}\n{}", output.said().trim(), self.service_log());
        Ok(output.stdout)
    }

    /// Writes a file of the machine.
    pub(crate) fn write(&self, path: &str, text: &str) -> Result<()> {
        let mut tee = self.network.command("nsenter", ["--target", &self.init.to_string()]);
        tee.args(["--mount", "--root", "--", "tee", path]);
        let mut tee = Process::start(tee.stdin(Stdio::piped()).stdout(Stdio::null()))?;
        let mut input = tee.child().stdin.take().context("tee has no input")?;
        input.write_all(text.as_bytes())?;
        drop(input);
        ensure!(tee.child().wait()?.success(), "cannot write {path:?} in the machine");
        Ok(())
    }

    /// What systemd says of the service and what that has printed; there is no journal.
    pub(crate) fn service_log(&self) -> String {
        self.run("systemctl status fwctl fwctl-serve; cat /run/fwctl.log")
            .map(|output| output.stdout)
            .unwrap_or_default()
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        // Its processes first.
        self.process = None;
        let deadline = Instant::now() + PATIENCE;
        while !remove_cgroup(&self.cgroup) && Instant::now() < deadline {
            sleep(STEP);
        }
    }
}

/// A control group for the machine, so that its systemd does not take the host's for its own. Those that killed
/// processes left go too.
fn cgroup() -> Result<PathBuf> {
    const PREFIX: &str = "fwctl-package-";
    let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
    let unified = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let place = fields.next()?;
        (fields.next()? == "cgroup2").then_some(place)
    });
    let unified = Path::new(unified.context("no cgroup2 file system is mounted")?);
    for left in fs::read_dir(unified).with_context(|| format!("cannot read {}", unified.display()))?.flatten()
    {
        if left.file_name().to_string_lossy().starts_with(PREFIX) {
            remove_cgroup(&left.path());
        }
    }
    let own = unified.join(format!("{PREFIX}{}", std::process::id()));
    fs::create_dir_all(&own).with_context(|| format!("cannot make {}", own.display()))?;
    Ok(own)
}

/// The groups below it first; false while there are processes in one.
fn remove_cgroup(group: &Path) -> bool {
    for below in fs::read_dir(group).into_iter().flatten().flatten() {
        if below.path().is_dir() {
            remove_cgroup(&below.path());
        }
    }
    fs::remove_dir(group).is_ok() || !group.exists()
}

/// The child of `unshare`, once it is what it will be.
fn first_process(unshare: u32) -> Option<(u32, String)> {
    let children = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).ok()?;
    let init = children.split_whitespace().next()?.parse().ok()?;
    let name = fs::read_to_string(format!("/proc/{init}/comm")).ok()?.trim().to_owned();
    ["systemd", "sleep"].contains(&name.as_str()).then_some((init, name))
}

/// Whether this host has what the machine is made of.
pub(crate) fn lacks() -> Option<&'static str> {
    let has = |program: &str| {
        let status =
            Command::new("sh").args(["-c", &format!("command -v {program}")]).stdout(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    ["dpkg", "unshare", "nsenter", "chroot"].into_iter().find(|program| !has(program))
}

/// Joins the control group, then makes the namespaces: the group is the root of what is seen inside.
const OUTSIDE: &str = r#"
set -e
echo $$ > "$1"
inside=$2
shift 2
exec unshare --mount --pid --uts --ipc --cgroup --fork --kill-child --propagation private sh -c "$inside" sh "$@"
"#;

/// The lower layer is the host's root file system alone, without what is mounted on it.
const INSIDE: &str = r#"
set -e
command_line=$1
shift
mount -t tmpfs fwctl-package /mnt
mkdir /mnt/upper /mnt/work /mnt/root /mnt/packages
cp "$@" /mnt/packages
root=/mnt/root
mount -t overlay fwctl-package -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work $root
mount -t proc proc $root/proc
mount -o bind,ro $root/proc/sys $root/proc/sys
mount -t sysfs sysfs $root/sys
mount -t bpf bpf $root/sys/fs/bpf
mount -t cgroup2 cgroup2 $root/sys/fs/cgroup
mount -t tmpfs tmpfs $root/run
mount -t tmpfs tmpfs $root/tmp
mount -t tmpfs -o mode=755 tmpfs $root/dev
for device in null zero full random urandom tty; do
    touch $root/dev/$device
    mount --bind /dev/$device $root/dev/$device
done
# PrivateDevices wants them.
mkdir $root/dev/pts $root/dev/shm
mount -t devpts devpts $root/dev/pts
ln -s /proc/self/fd $root/dev/fd
ln -s pts/ptmx $root/dev/ptmx
mkdir $root/packages
cp /mnt/packages/* $root/packages
rm -rf $root/usr/sbin/policy-rc.d $root/etc/fwctl $root/var/lib/fwctl
mkdir -p $root/run/systemd/system/fwctl.service.d $root/run/systemd/system/fwctl-serve.service.d
printf '[Unit]\nDefaultDependencies=no\n' > $root/run/systemd/system/fwctl-package.target
printf '[Service]\nStandardOutput=append:/run/fwctl.log\nStandardError=append:/run/fwctl.log\n' \
    > $root/run/systemd/system/fwctl.service.d/log.conf
cp $root/run/systemd/system/fwctl.service.d/log.conf $root/run/systemd/system/fwctl-serve.service.d
if [ -x $root/lib/systemd/systemd ]; then
    exec chroot $root env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        /lib/systemd/systemd --unit=fwctl-package.target --log-target=null --show-status=no $command_line
fi
exec chroot $root sleep infinity
"#;

const PATIENCE: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(50);
