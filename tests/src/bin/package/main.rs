//! What `cargo xtask dist --check` runs: the Debian package installed, used, upgraded, removed and purged in a
//! throw-away machine, with real packets. Arguments: the package, and the same as a newer version.

mod machine;
mod serve;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use fw_tests::netns::{Rig, join};
use fw_tests::traffic::Outcome::{self, Blocked, Reached};
use fw_tests::traffic::{Echo, tcp_connect};
use serde_json::{Value, json};

use machine::Machine;

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(package), Some(newer)) = (arguments.next(), arguments.next()) else {
        bail!("two packages are needed; `cargo xtask dist --check` makes them");
    };
    if let Some(program) = machine::lacks() {
        bail!("the package cannot be checked: there is no {program} here");
    }
    life(&package, &newer)?;
    off(&package)
}

/// From installation to purge.
fn life(package: &Path, newer: &Path) -> Result<()> {
    let rig = Rig::direct()?;
    let _services = [80, 81].map(|port| Echo::tcp(&rig.server, (rig.server.v4, port)));
    let machine = Machine::boot(&rig.server, &[package, newer], "")?;
    if !machine.has_systemd {
        say("SKIPPED: there is no systemd here, so what the unit says is not tested; its script is");
    }
    let expect = |port_80: Outcome, port_81: Outcome, when: &str| -> Result<()> {
        let seen = [80, 81].map(|port| tcp_connect(&rig.client, (rig.client.v4, 0), (rig.server.v4, port)));
        let [seen_80, seen_81] = seen;
        let (seen_80, seen_81) = (seen_80?, seen_81?);
        ensure!(
            (seen_80, seen_81) == (port_80, port_81),
            "{when}: ports 80 and 81 are {seen_80:?} and {seen_81:?}, not {port_80:?} and {port_81:?}\n{}",
            machine.service_log()
        );
        say(when);
        Ok(())
    };

    let install = |package: &Path| -> Result<String> {
        let name = package.file_name().context("a package without a name")?.to_string_lossy();
        machine.succeed(&format!("dpkg --install /packages/{name}"))
    };
    install(package)?;
    machine.succeed("fwctl check /etc/fwctl/rules.json.example")?;
    machine.succeed("test ! -e /etc/fwctl/rules.json && test ! -e /sys/fs/bpf/fwctl")?;
    if machine.has_systemd {
        machine.succeed("systemd-analyze verify fwctl.service")?;
        machine.succeed("systemctl is-enabled fwctl")?;
        machine.succeed("systemctl start fwctl")?;
        ensure!(active(&machine)? == "inactive", "without rules the service is {:?}", active(&machine)?);
    }
    expect(Reached, Reached, "installed: the example checks, nothing is in force")?;

    machine.write("/etc/fwctl/rules.json", &rules().to_string())?;
    service(&machine, "start")?;
    machine.succeed("cmp /etc/fwctl/rules.json /var/lib/fwctl/last-good.json")?;
    expect(Reached, Blocked, "started: the rules are in force, and kept as the last good ones")?;
    service(&machine, "reload")?;

    later_device(&rig, &machine)?;

    if machine.has_systemd {
        serve::begin(&machine)?;
        machine.write("/etc/fwctl/rules.json", &rules_for(81).to_string())?;
        serve::await_port(&machine, 81)?;
        expect(Blocked, Reached, "served: a file that is saved is in force a moment later")?;
        machine.write("/etc/fwctl/rules.json", &rules().to_string())?;
        serve::await_port(&machine, 80)?;
        expect(Reached, Blocked, "served: and so is the next one")?;
    }
    machine.write("/etc/fwctl/rules.json", "{ \"version\": 1,")?;
    ensure!(service(&machine, "reload").is_err(), "a broken file was loaded");
    expect(Reached, Blocked, "reload with a broken file fails and changes nothing")?;

    let generation = || -> Result<Value> { Ok(status(&machine)?["generation"].clone()) };
    let before = generation()?;
    install(newer)?;
    machine.succeed("dpkg-query --show fwctl | grep -q check")?;
    ensure!(before.is_u64() && generation()? == before, "the upgrade loaded anew");
    machine.succeed("fwctl status")?;
    expect(Reached, Blocked, "upgraded: the filter stayed")?;
    if machine.has_systemd {
        serve::end(&machine)?;
        expect(Reached, Blocked, "served no more: the filter stayed")?;
    }

    // As if a version with another layout of the state had loaded it.
    machine.write("/etc/fwctl/rules.json", &rules().to_string())?;
    machine.succeed("mv /sys/fs/bpf/fwctl/schema-* /sys/fs/bpf/fwctl/schema-0")?;
    ensure!(service(&machine, "reload").is_err(), "the state of another version was read");
    expect(Reached, Blocked, "reload over the state of another version fails and changes nothing")?;
    service(&machine, "stop")?;
    machine.succeed("test ! -e /sys/fs/bpf/fwctl")?;
    expect(Reached, Reached, "stopped, whatever version it was: nothing is filtered")?;
    machine.write("/etc/fwctl/rules.json", "{ \"version\": 1,")?;
    ensure!(service(&machine, "start").is_err(), "a start with a broken file does not fail");
    if machine.has_systemd {
        ensure!(active(&machine)? == "failed", "the service is {:?}", active(&machine)?);
        let log = machine.service_log();
        ensure!(log.contains("last-good.json is in force instead"), "the log does not say so: {log}");
    }
    expect(Reached, Blocked, "started with a broken file: failed, and the last good rules are in force")?;

    machine.succeed("dpkg --remove fwctl")?;
    machine.succeed("test -e /etc/fwctl/rules.json && test ! -e /sys/fs/bpf/fwctl")?;
    expect(Reached, Reached, "removed: nothing is filtered, the rules file is there")?;
    install(newer)?;
    machine.write("/etc/fwctl/rules.json", &rules().to_string())?;
    service(&machine, "start")?;
    expect(Reached, Blocked, "installed again over the old rules file, and started")?;
    machine.succeed("dpkg --purge fwctl")?;
    machine.succeed(
        "! ls -d /etc/fwctl /var/lib/fwctl /sys/fs/bpf/fwctl /usr/sbin/fwctl /usr/lib/fwctl 2>/dev/null",
    )?;
    expect(Reached, Reached, "purged: nothing is filtered, nothing is left")
}

/// Boot with `fwctl=off`: the way past rules that lock out.
fn off(package: &Path) -> Result<()> {
    let rig = Rig::direct()?;
    let _service = Echo::tcp(&rig.server, (rig.server.v4, 81))?;
    let machine = Machine::boot(&rig.server, &[package], "fwctl=off")?;
    if !machine.has_systemd {
        return Ok(());
    }
    machine.succeed("dpkg --install /packages/*.deb")?;
    machine.write("/etc/fwctl/rules.json", &rules().to_string())?;
    machine.succeed("systemctl start fwctl")?;
    ensure!(active(&machine)? == "inactive", "with fwctl=off the service is {:?}", active(&machine)?);
    let seen = tcp_connect(&rig.client, (rig.client.v4, 0), (rig.server.v4, 81))?;
    ensure!(seen == Reached, "with fwctl=off port 81 is {seen:?}");
    say("booted with fwctl=off: the service is skipped");
    Ok(())
}

/// What udev's rule does for a device that comes, in the sandbox of Debian's systemd-udevd.
fn later_device(rig: &Rig, machine: &Machine<'_>) -> Result<()> {
    let attach = |device: &str| match machine.has_systemd {
        true => machine.succeed(&format!("systemctl start udev@{device}")),
        false => machine.succeed(&format!("fwctl attach {device}")),
    };
    if machine.has_systemd {
        machine.write("/run/systemd/system/udev@.service", UDEVD)?;
        machine.succeed("systemctl daemon-reload")?;
    }
    machine
        .succeed("grep -q 'RUN+=\"/usr/sbin/fwctl attach $name\"' /usr/lib/udev/rules.d/90-fwctl.rules")?;
    for name in ["later", "other"] {
        join(&rig.client, name, &rig.server, name)?;
    }
    let pending = || -> Result<Value> { Ok(status(machine)?["pending"].clone()) };
    ensure!(pending()? == json!([{ "interface": "later", "device": "later" }]), "pending: {}", pending()?);
    attach("other")?;
    ensure!(pending()? != json!([]), "a device that no rule names was attached");
    attach("later")?;
    ensure!(pending()? == json!([]), "the device is not attached: {}", pending()?);
    machine.succeed("fwctl status")?;
    say("a device that came is filtered by what udev runs, in udev's sandbox");
    Ok(())
}

/// `systemctl VERB fwctl`, or what it would run.
fn service(machine: &Machine<'_>, verb: &str) -> Result<()> {
    let line = match machine.has_systemd {
        true => format!("systemctl {verb} fwctl"),
        false => format!("mkdir -p /var/lib/fwctl && /usr/lib/fwctl/service {verb}"),
    };
    machine.succeed(&line).map(drop)
}

fn active(machine: &Machine<'_>) -> Result<String> {
    Ok(machine.run("systemctl is-active fwctl")?.stdout.trim().to_owned())
}

fn status(machine: &Machine<'_>) -> Result<Value> {
    machine.run("fwctl status --json")?.json()
}

fn rules() -> Value {
    rules_for(80)
}

/// One port is open.
fn rules_for(port: u16) -> Value {
    json!({
        "version": 1,
        "security_groups": { "web": { "ingress": [
            { "id": "web", "protocol": "tcp", "from_port": port, "to_port": port, "cidr_blocks": ["0.0.0.0/0"] }
        ] } },
        "interfaces": {
            "eth0": { "device": "eth0", "security_groups": ["web"] },
            "later": { "device": "later", "security_groups": ["web"] }
        }
    })
}

fn say(what: &str) {
    println!("package: {what}");
}

/// The sandbox is that of systemd-udevd.service in Debian 12, systemd 252.
const UDEVD: &str = "[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/usr/sbin/fwctl attach %i
StandardOutput=append:/run/fwctl.log
StandardError=append:/run/fwctl.log
CapabilityBoundingSet=~CAP_SYS_TIME CAP_WAKE_ALARM
PrivateMounts=yes
ProtectHostname=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_UNIX AF_NETLINK AF_INET AF_INET6
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallFilter=@system-service @module @raw-io bpf
SystemCallFilter=~@clock
SystemCallErrorNumber=EPERM
LockPersonality=yes
";
