//! `fwctl-serve.service` in the machine: neither enabled nor started by the package, in its sandbox once it is, and
//! another process after an upgrade.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::machine::Machine;
use crate::say;

const PATIENCE: Duration = Duration::from_secs(20);

/// bash speaks TCP, and nothing else in the machine is sure to.
const SCRAPE: &str = r#"bash -c 'exec 3<>/dev/tcp/127.0.0.1/9798; printf "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" >&3; cat <&3'"#;

/// Starts it, and has it scraped.
pub(crate) fn begin(machine: &Machine<'_>) -> Result<()> {
    machine.succeed("systemd-analyze verify fwctl-serve.service")?;
    machine.succeed("! systemctl is-enabled fwctl-serve && ! systemctl is-active fwctl-serve")?;
    machine.succeed("systemctl start fwctl-serve")?;
    let metrics = machine.succeed(SCRAPE)?;
    ensure!(metrics.contains("fwctl_hook_attached{") && metrics.contains("fwctl_up 1"), "metrics: {metrics}");
    machine.succeed("systemctl reload fwctl-serve && systemctl is-active fwctl-serve")?;
    say("served: started in its sandbox, scraped, reloaded");
    Ok(())
}

/// Until a saved file with this port is what is in force, and is kept.
pub(crate) fn await_port(machine: &Machine<'_>, port: u16) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    let line = format!(
        "fwctl show --source | grep -q '\"from_port\":{port}' && cmp /etc/fwctl/rules.json /var/lib/fwctl/last-good.json"
    );
    while !machine.run(&line)?.status.success() {
        ensure!(Instant::now() < end, "port {port} is not in force: {}", machine.service_log());
        sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// It runs still, as the new version, and is stopped.
pub(crate) fn end(machine: &Machine<'_>) -> Result<()> {
    machine.succeed("systemctl is-active fwctl-serve")?;
    let running = "readlink /proc/$(systemctl show --value --property MainPID fwctl-serve)/exe";
    let program = machine.succeed(running)?;
    // One that was replaced is "(deleted)".
    ensure!(program.trim().ends_with("/usr/sbin/fwctl"), "after the upgrade {program:?} runs");
    machine.succeed("systemctl stop fwctl-serve")?;
    Ok(())
}
