//! The packets of the [`workload`], sent through the emulated programs: what each makes them do.
//!
//! Every verdict and every reason is checked: figures of a program that decides wrongly would mean nothing.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use fw_common::verdict::counter_index;
use fw_common::{Direction, Hook, Reason};

use super::emulate::Run;
use super::host::{Host, program};
use crate::kernel::{IFINDEX, Received};
use crate::workload;

/// A port of the client's.
const PORT: u16 = 40_000;

/// The workload's device.
struct Device {
    host: Host,
    zone: u32,
    received: Received,
}

/// What was done for every packet of the workload, by program and packet. What is sent comes twice, to the same program.
pub fn all() -> Result<BTreeMap<(&'static str, String), Run>> {
    let (compiled, zone) = workload::compiled(IFINDEX)?;
    let mut runs = BTreeMap::new();
    for received in [Received::Xdp, Received::Tc] {
        let mut host = Host::new()?;
        host.publish(&compiled.patch.image())?;
        let mut device = Device { host, zone, received };
        let mut judge = |name: String, frame: &[u8], hook, reason| -> Result<()> {
            let run = device.judge(frame, hook, reason).with_context(|| name.clone())?;
            runs.insert((program(hook, received), name), run);
            Ok(())
        };
        for denied in workload::denied() {
            judge(denied.name.to_owned(), &denied.frame, Hook::Received, denied.reason)?;
        }
        for (family, name) in ["IPv4", "IPv6"].into_iter().enumerate() {
            let packets = workload::connection(family, PORT);
            for (what, frame, hook, reason) in [
                ("first packet (SYN)", &packets.syn, Hook::Received, Reason::GroupRule),
                ("first answer (SYN, ACK)", &packets.answer, Hook::Sent, Reason::Established),
                ("third packet (ACK)", &packets.ack, Hook::Received, Reason::Established),
                ("established", &packets.data, Hook::Received, Reason::Established),
                ("established", &packets.reply, Hook::Sent, Reason::Established),
            ] {
                judge(format!("{name}, {what}"), frame, hook, reason)?;
            }
        }
    }
    Ok(runs)
}

impl Device {
    fn judge(&mut self, frame: &[u8], hook: Hook, expected: Reason) -> Result<Run> {
        let seen = self.host.judge(frame, IFINDEX, hook, self.received)?;
        let direction = match hook {
            Hook::Received => Direction::Ingress,
            Hook::Sent => Direction::Egress,
        };
        let counter = counter_index(self.zone, direction, false, expected);
        ensure!(
            seen.counter == counter,
            "counter {} was counted, not {counter} ({expected:?})",
            seen.counter
        );
        ensure!(seen.verdict == expected.verdict(), "{:?} is not the verdict of {expected:?}", seen.verdict);
        Ok(seen.run)
    }
}
