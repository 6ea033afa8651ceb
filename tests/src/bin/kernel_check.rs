//! What `cargo xtask kernels` runs on every kernel, in a machine of its own or here: the programs load, every case
//! holds in the bytecode and, with the argument `wire`, on the wire, and `fwctl` says which hooks it got.
//!
//! Every line of its result begins with `check: ` and a word; other programs may print in between.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use aya::util::KernelVersion;
use fw_tests::case::{self, Case};
use fw_tests::fwctl::Fwctl;
use fw_tests::kernel::{Kernel, Received};
use fw_tests::netns::{BpffsDir, Rig};
use fw_tests::run::bytecode::Twins;
use fw_tests::run::wire::Wire;
use fw_userspace::datapath::PROGRAMS;
use serde_json::{Value, json};

fn main() {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    say("kernel", release.trim());
    let wanted = std::env::args().nth(1);
    let wire = if wanted.as_deref() == Some("wire") { wire } else { || Ok(()) };
    for step in [bytecode, hooks, wire] {
        if let Err(error) = step() {
            say("fault", &format!("{error:#}"));
        }
    }
    say("done", "");
}

fn say(word: &str, what: &str) {
    println!("check: {}", format!("{word} {what}").trim_end().replace('\n', "; "));
}

const HOOKS: [(Received, &str); 2] = [(Received::Tc, "tc"), (Received::Xdp, "xdp")];

fn bytecode() -> Result<()> {
    let mut kernel = Kernel::load()?;
    for name in PROGRAMS {
        say("program", &format!("{name} {}", kernel.sizes(name)?.0));
    }
    let cases = case::load()?;
    let cases: Vec<Case> = cases.into_iter().filter(|case| case.refused.is_none()).collect();
    for (received, name) in HOOKS {
        count("bytecode", name, &cases, |case| Twins::new(received, &mut kernel)?.run(case).map(drop));
    }
    Ok(())
}

fn wire() -> Result<()> {
    let cases = case::load()?;
    for (received, name) in HOOKS {
        let mut wire = Wire::new(received)?;
        count("wire", name, &cases, |case| {
            let failures = wire.run(case).failures;
            ensure!(failures.is_empty(), "{}", failures.join("; "));
            Ok(())
        });
    }
    Ok(())
}

/// Says how many hold, and why the others do not.
fn count(way: &str, hook: &str, cases: &[Case], mut run: impl FnMut(&Case) -> Result<()>) {
    let mut held = 0;
    for case in cases {
        match run(case) {
            Ok(()) => held += 1,
            Err(error) => say("fault", &format!("{way} {hook} {}: {error:#}", case.place())),
        }
    }
    say(way, &format!("{hook} {held} of {}", cases.len()));
}

/// Below 6.6 there are filters where there are TCX links above: `load` and `status` have to say so, and why.
fn hooks() -> Result<()> {
    let rig = Rig::direct()?;
    let has_tcx = KernelVersion::current()? >= KernelVersion::new(6, 6, 0);
    let tc = if has_tcx { "tcx" } else { "tc" };
    let bpffs = BpffsDir::new()?;
    let fwctl = Fwctl::new(&rig.server, &bpffs)?;
    // In this order: under `auto` a hook stays where it is.
    for (mode, received) in [("auto", tc), ("tc", tc), ("xdp", "xdp")] {
        let load = fwctl.load(&json!({
            "version": 1, "security_groups": { "sg": {} },
            "interfaces": { "eth0": { "device": "eth0", "mode": mode, "security_groups": ["sg"] } }
        }))?;
        let status = fwctl.run(["status", "--json"])?.success().context("status is not healthy")?;
        let said = hooks_of(&load)?;
        ensure!(said == hooks_of(&status)?, "load says {said:?}, status {:?}", hooks_of(&status)?);
        let names: Vec<&str> = said.iter().map(|(hook, _)| hook.as_str()).collect();
        say("hooks", &format!("{mode} {}", names.join(" ")));
        let expected = [received, tc];
        ensure!(names == expected, "mode {mode}: expected the hooks {expected:?}, not {said:?}");
        let mut fallbacks: Vec<&str> =
            said.iter().filter_map(|(_, why)| Some(why.split_once("; ")?.1)).collect();
        let filters = names.iter().filter(|name| **name == "tc").count();
        ensure!(fallbacks.len() == filters, "mode {mode}: {filters} hooks are no TCX, and it says {said:?}");
        let notes = load["notes"].as_array().into_iter().flatten().filter_map(Value::as_str);
        fallbacks.extend(notes);
        fallbacks.dedup();
        for fallback in fallbacks {
            say("fallback", fallback);
        }
    }
    let gone = fwctl.run(["unload"])?;
    ensure!(gone.code() == 0, "unload: {}", gone.said());
    Ok(())
}

/// Received and sent: which hook, and why.
fn hooks_of(report: &Value) -> Result<Vec<(String, String)>> {
    let text = |hook: &Value, key: &str| hook[key].as_str().unwrap_or_default().to_owned();
    let hooks = report["hooks"].as_array().context("the report has no hooks")?;
    Ok(hooks.iter().map(|hook| (text(hook, "hook"), text(hook, "why"))).collect())
}
