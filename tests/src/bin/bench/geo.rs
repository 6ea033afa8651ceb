//! Real address ranges: those of the countries in Debian's package tor-geoipdb (from IPFire's location database, CC
//! BY-SA 4.0). Read from the package where it is installed, else the package is fetched at bench time; nothing of it is
//! in this repository.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, ensure};
use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

use crate::results;
use crate::sets::LISTS;

const PACKAGE: &str = "tor-geoipdb";
const FILES: &str = "usr/share/tor";

/// All ranges of both families as the least number of CIDRs, each with the list that its country is in.
///
/// Two lists, because the ranges follow each other without a gap: in one they would melt into few.
pub(crate) fn cidrs() -> Result<Vec<(IpNet, usize)>> {
    let directory = directory().with_context(|| format!("no address ranges of {PACKAGE}"))?;
    let mut nets = Vec::new();
    for [low, high, country] in ranges(&directory.join("geoip"))? {
        // Addresses of IPv4 are written as numbers.
        let [low, high] = [low.parse::<u32>()?, high.parse()?].map(Ipv4Addr::from);
        nets.extend(Ipv4Subnets::new(low, high, 0).map(|net| (net.into(), list_of(&country))));
    }
    for [low, high, country] in ranges(&directory.join("geoip6"))? {
        let [low, high]: [Ipv6Addr; 2] = [low.parse()?, high.parse()?];
        nets.extend(Ipv6Subnets::new(low, high, 0).map(|net| (net.into(), list_of(&country))));
    }
    ensure!(!nets.is_empty(), "\"{}\" has no ranges", directory.display());
    Ok(nets)
}

/// Countries by turns, as good as.
fn list_of(country: &str) -> usize {
    country.bytes().map(usize::from).sum::<usize>() % LISTS
}

/// The first and the last address, and the country.
fn ranges(file: &Path) -> Result<Vec<[String; 3]>> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read \"{}\"", file.display()))?;
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let range = |line: &str| {
        let columns: Vec<String> = line.split(',').map(str::to_owned).collect();
        columns
            .try_into()
            .map_err(|_| anyhow!("\"{}\" has a line that is no range: \"{line}\"", file.display()))
    };
    lines.map(range).collect()
}

fn directory() -> Result<PathBuf> {
    let installed = Path::new("/").join(FILES);
    if installed.join("geoip").is_file() {
        return Ok(installed);
    }
    let place = results::directory()?;
    let unpacked = place.join(PACKAGE);
    if !unpacked.join(FILES).join("geoip6").is_file() {
        println!("   fetching {PACKAGE} into {}", place.display());
        run(Command::new("apt-get").args(["-qq", "download", PACKAGE]).current_dir(&place))?;
        let mut packages = fs::read_dir(&place)?.filter_map(|entry| Some(entry.ok()?.path()));
        let package = packages.find(|path| {
            path.extension().is_some_and(|end| end == "deb")
                && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PACKAGE))
        });
        let package = package.context("apt-get left no package")?;
        run(Command::new("dpkg-deb").arg("--extract").args([&package, &unpacked]))?;
        fs::remove_file(package)?;
    }
    Ok(unpacked.join(FILES))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}", said.lines().last().unwrap_or("it says nothing"));
    Ok(())
}
