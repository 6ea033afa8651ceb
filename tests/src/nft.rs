//! nftables in a namespace, to be compared with, where it is installed.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::netns::Namespace;

/// Seconds that rules may take to load; what takes longer is left out. nft 1.0.6 takes minutes for tens of thousands
/// of concatenated intervals.
const SECONDS_TO_LOAD: u32 = 30;

/// Whether `nft` is there.
pub fn is_installed() -> bool {
    Command::new("nft").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Puts rules in force.
pub fn put(namespace: &Namespace, text: &str) -> Result<()> {
    let seconds = SECONDS_TO_LOAD.to_string();
    let mut nft = namespace.command("timeout", [seconds.as_str(), "nft", "-f", "-"]);
    let mut child = nft.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    // It may end before it has read everything; its status says why.
    let written = child.stdin.take().context("no pipe to nft")?.write_all(text.as_bytes());
    let output = child.wait_with_output()?;
    match output.status.code() {
        Some(0) => written.context("nft did not read its rules"),
        Some(124) => bail!("nft takes more than {SECONDS_TO_LOAD} s to load it"),
        _ => {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("nft: {}", said.lines().next().unwrap_or("it says nothing"))
        }
    }
}
