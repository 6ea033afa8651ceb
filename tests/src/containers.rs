//! Real containers: podman with runc, in a store of the test's own, of an image that holds a busybox and nothing else.
//!
//! They have a network namespace without any device; [`Container::plug`] gives them one. The containers, images and locks
//! of whoever runs the tests are not touched.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::netns::Namespace;
use crate::netns::registry::{self, Thing};
use crate::programs;

/// Short, for podman refuses a path of more than 50 characters for its temporary files.
pub(crate) const STORE_PREFIX: &str = "fwctl-ct-";
const BUSYBOX: &str = "/bin/busybox";
const IMAGE: &str = "localhost/fwctl-test";
/// Locks in files: those in shared memory, the default, are all of this host's podman, and a new store frees them. The
/// limits are those of whoever runs the tests, which may not be raised.
const SETTINGS: &str = r#"[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
runtime = "runc"
"#;

/// An engine with its store; both go with the value, and so do its containers.
#[derive(Debug)]
pub struct Engine {
    store: PathBuf,
}

/// A running container.
#[derive(Debug)]
pub struct Container<'a> {
    engine: &'a Engine,
    name: String,
    process: String,
}

impl Engine {
    /// Makes the store and the image, and runs a container to see whether it can.
    pub fn new() -> Result<Self> {
        let busybox = programs::find("busybox").context("there is no busybox to make an image of")?;
        for program in ["podman", "runc"] {
            ensure!(programs::find(program).is_some(), "there is no {program}");
        }
        let name = format!("{STORE_PREFIX}{}-{}", std::process::id(), registry::number());
        let store = std::env::temp_dir().join(name);
        registry::create(Thing::Containers(store.clone()), || make(&store, &busybox))?;
        Ok(Self { store })
    }

    /// Starts an applet of busybox in a container.
    pub fn run(&self, name: &str, applet: &[&str]) -> Result<Container<'_>> {
        let command = ["run", "-d", "--name", name, "--network", "none", IMAGE, BUSYBOX];
        self.podman(command.iter().chain(applet))?;
        let mut container = Container { engine: self, name: name.to_owned(), process: String::new() };
        container.process = self.podman(["inspect", "-f", "{{.State.Pid}}", name])?.trim().to_owned();
        Ok(container)
    }

    fn podman<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<String> {
        run(podman(&self.store).args(arguments))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        registry::remove(&Thing::Containers(self.store.clone()));
    }
}

impl Container<'_> {
    /// Gives it `eth0` with this address, whose other end is this device of a host, with that address: its gateway.
    pub fn plug(&self, host: &Namespace, device: &str, address: &str, gateway: &str) -> Result<()> {
        host.ip(&format!("link add {device} type veth peer name eth0 netns {}", self.process))?;
        host.address(device, &format!("{gateway}/24"))?;
        host.ip(&format!("link set {device} up"))?;
        self.ip(&format!("address add {address}/24 dev eth0"))?;
        self.ip("link set eth0 up")?;
        self.ip(&format!("route add default via {gateway}"))
    }

    fn ip(&self, arguments: &str) -> Result<()> {
        let namespace = format!("--net=/proc/{}/ns/net", self.process);
        run(Command::new("nsenter").args([&namespace, "ip"]).args(arguments.split(' '))).map(drop)
    }

    /// What comes back when a process in it says a line to a TCP port; nothing if there is no connection in a second.
    pub fn says(&self, line: &str, address: &str, port: u16) -> Result<String> {
        let mut command = podman(&self.engine.store);
        command.args(["exec", "-i", &self.name, BUSYBOX, "nc", "-w", "1", address, &port.to_string()]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        // Where there is no connection nobody reads it.
        let _ = child.stdin.take().context("no pipe")?.write_all(format!("{line}\n").as_bytes());
        let output = child.wait_with_output()?;
        // Of busybox's nc; anything else is podman's.
        ensure!([Some(0), Some(1)].contains(&output.status.code()), "{output:?}");
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let _ = self.engine.podman(["rm", "-f", "-t", "0", &self.name]);
    }
}

/// The image, and a container to see whether it can be run.
fn make(store: &Path, busybox: &Path) -> Result<()> {
    let (image, tar) = (store.join("image"), store.join("image.tar"));
    fs::create_dir_all(image.join("bin")).with_context(|| format!("cannot make {}", image.display()))?;
    fs::copy(busybox, image.join("bin/busybox")).context("cannot copy busybox")?;
    fs::write(store.join("containers.conf"), SETTINGS).context("cannot write podman's settings")?;
    run(Command::new("tar").arg("-C").arg(&image).arg("-cf").arg(&tar).arg("."))?;
    run(podman(store).args(["import", "-q"]).arg(&tar).arg(IMAGE))?;
    run(podman(store).args(["run", "--rm", "--network", "none", IMAGE, BUSYBOX, "true"])).map(drop)
}

/// Ends and removes all that is in a store, and the store.
pub(crate) fn remove_store(store: &Path) {
    if store.join("containers.conf").exists() {
        let _ = run(podman(store).args(["rm", "-a", "-f", "-t", "0"]));
    }
    let _ = fs::remove_dir_all(store);
}

fn podman(store: &Path) -> Command {
    let mut command = Command::new("podman");
    for (option, folder) in [("--root", "root"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
        command.arg(option).arg(store.join(folder));
    }
    command.args(["--storage-driver", "vfs"]);
    command.env("CONTAINERS_CONF", store.join("containers.conf")).env("TMPDIR", store);
    command.env_remove("CONTAINER_HOST");
    command
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {}", output.status, stderr.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
