//! Frames sent into a veth pair, and how many of them came out.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fw_tests::affinity;
use fw_tests::instruments::Instruments;
use fw_tests::netns::Rig;

/// Sends frames from one CPU: how many arrived, and the nanoseconds of each that did.
pub(crate) fn send(rig: &Rig, cpu: usize, generator: &mut Instruments, count: u32) -> Result<(u64, f64)> {
    rig.client.run(|| {
        affinity::pin(cpu)?;
        let before = received(rig)?;
        let ns = generator.send(count)?;
        let arrived = settled(rig, before + u64::from(count))? - before;
        ensure!(arrived > 0, "none of {count} frames arrived");
        Ok((arrived, ns * f64::from(count) / arrived as f64))
    })
}

/// Packets that the server's device has received: so many, or all that come.
fn settled(rig: &Rig, wanted: u64) -> Result<u64> {
    let mut last = received(rig)?;
    for _ in 0..50 {
        if last >= wanted {
            break;
        }
        thread::sleep(Duration::from_millis(2));
        let now = received(rig)?;
        if now == last {
            break;
        }
        last = now;
    }
    Ok(last)
}

/// Packets that the server's device has received so far.
pub(crate) fn received(rig: &Rig) -> Result<u64> {
    let text = rig.server.run(|| fs::read_to_string("/proc/thread-self/net/dev"))?;
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("eth0:"));
    let packets = line.and_then(|line| line.split_whitespace().nth(1)).context("no eth0 in net/dev")?;
    Ok(packets.parse()?)
}

/// Packets that the server's stack gave to its sockets.
pub(crate) fn delivered(rig: &Rig) -> Result<u64> {
    rig.server.run(|| {
        let four = fs::read_to_string("/proc/thread-self/net/snmp")?;
        let six = fs::read_to_string("/proc/thread-self/net/snmp6")?;
        let mut lines = four.lines().filter_map(|line| line.strip_prefix("Ip: "));
        let names = lines.next().context("no names in snmp")?.split(' ');
        let at = names.take_while(|name| *name != "InDelivers").count();
        let value = lines.next().and_then(|line| line.split(' ').nth(at)).context("no InDelivers in snmp")?;
        let six = six.lines().find_map(|line| line.strip_prefix("Ip6InDelivers"));
        Ok(value.parse::<u64>()? + six.context("no Ip6InDelivers in snmp6")?.trim().parse::<u64>()?)
    })
}
