//! One variant with one rule set, ready to drop frames: a veth pair of its own, so that a round only changes which pair
//! the generator sends into.
//!
//! A veth's receiver runs in the softirq of its sender, so generator and filter share one CPU: the time of a packet is
//! both.

use std::fs;

use anyhow::{Result, ensure};
use fw_common::Reason;
use fw_tests::instruments::Instruments;
use fw_tests::netns::{Namespace, Rig};

use crate::arrivals;
use crate::filter::Loaded;
use crate::nft::{self, Form};
use crate::sets::{CLOSED_PORT, Set};

/// The device of every client: the second of a fresh namespace, after `lo`. One generator can then serve them all.
pub(crate) const DEVICE: u32 = 2;
/// Where libxdp keeps its pins; it leaves the directory.
const LEFT_BEHIND: &str = "/sys/fs/bpf/xdp";
/// The address that [`fw_tests::packet`] sends to: frames to another would be others' to the stack.
const MAC: &str = "02:00:00:00:00:02";

/// Who drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    /// A program that drops everything without a look, at XDP.
    EmptyXdp,
    /// The same at TC.
    EmptyTc,
    /// fwctl with `mode: xdp`.
    OursXdp,
    /// fwctl with `mode: tc`.
    OursTc,
    /// `xdp-filter` with a single port.
    XdpFilter,
    /// nftables.
    Nft(Form),
}

impl Variant {
    /// As tables call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::EmptyXdp => "empty, XDP",
            Self::EmptyTc => "empty, TC",
            Self::OursXdp => "fwctl, XDP",
            Self::OursTc => "fwctl, TC",
            Self::XdpFilter => "xdp-filter, one port",
            Self::Nft(Form::Linear) => "nft netdev, linear",
            Self::Nft(Form::Sets) => "nft netdev, sets",
            Self::Nft(Form::Tracked) => "nft inet, ct, sets",
        }
    }

    /// The empty program of its hook; for nftables that of TC, which is where the netdev hook is.
    pub(crate) fn empty(self) -> Self {
        match self {
            Self::EmptyXdp | Self::OursXdp | Self::XdpFilter => Self::EmptyXdp,
            Self::EmptyTc | Self::OursTc | Self::Nft(_) => Self::EmptyTc,
        }
    }

    /// Neither fwctl nor an empty program.
    pub(crate) fn is_peer(self) -> bool {
        matches!(self, Self::XdpFilter | Self::Nft(_))
    }
}

/// A variant on its veth pair.
pub(crate) struct Lane {
    /// Who drops.
    pub(crate) variant: Variant,
    /// Which of the rule sets.
    pub(crate) set: usize,
    held: Held,
    // After what is held: a command is run in it to let go.
    rig: Rig,
}

/// What keeps the variant at its hook until the lane goes.
enum Held {
    Instruments(#[expect(dead_code, reason = "held for its links")] Instruments),
    Ours(Loaded, #[expect(dead_code, reason = "held for its links")] Instruments),
    XdpFilter(Unload),
}

/// `xdp-filter` keeps its program and its pins until it is told.
struct Unload(Option<std::process::Command>);

impl Drop for Unload {
    fn drop(&mut self) {
        if let Some(mut unload) = self.0.take() {
            let _ = unload.output();
            // Only if nothing is in it.
            let _ = fs::remove_dir(LEFT_BEHIND);
        }
    }
}

impl Lane {
    /// Makes it, with everything in force. `None`, said aloud, where the machine has not what it needs.
    pub(crate) fn open(variant: Variant, number: usize, set: &Set) -> Result<Option<Self>> {
        let missing = match variant {
            Variant::Nft(_) => !nft::is_installed(),
            Variant::XdpFilter => std::process::Command::new("xdp-filter").arg("help").output().is_err(),
            _ => false,
        };
        if missing {
            skip(variant, set, "it is not installed");
            return Ok(None);
        }
        let rig = Rig::direct()?;
        rig.server.ip(&format!("link set eth0 address {MAC}"))?;
        ensure!(rig.client.index("eth0")? == DEVICE, "the client's device has not the index {DEVICE}");
        let mut instruments = Instruments::load(&[], None)?;
        let at = match variant {
            Variant::EmptyXdp => Some("drop_xdp"),
            Variant::OursXdp | Variant::XdpFilter => None,
            _ => Some("pass_xdp"),
        };
        if let Some(program) = at {
            rig.server.run(|| instruments.attach_xdp(program, "eth0"))?;
        }
        let held = match variant {
            Variant::EmptyXdp => Ok(Held::Instruments(instruments)),
            Variant::EmptyTc => rig
                .server
                .run(|| instruments.attach_tc("drop_tc", "eth0").map(|()| instruments))
                .map(Held::Instruments),
            Variant::OursXdp | Variant::OursTc => {
                let mode = if variant == Variant::OursXdp { "xdp" } else { "tc" };
                let (source, policy) = set.policy(mode)?;
                Loaded::new(&rig.server, &source, &policy).map(|loaded| Held::Ours(loaded, instruments))
            }
            Variant::Nft(form) => nft::load(&rig.server, set, form).map(|()| Held::Instruments(instruments)),
            Variant::XdpFilter => xdp_filter(&rig.server).map(Held::XdpFilter),
        };
        match held {
            Ok(held) => Ok(Some(Self { variant, set: number, held, rig })),
            Err(error) if variant.is_peer() => {
                skip(variant, set, &format!("{error:#}"));
                Ok(None)
            }
            Err(error) => Err(error.context(format!("{} with {} rules", variant.name(), set.size))),
        }
    }

    /// Sends frames from one CPU: how many arrived, and the nanoseconds of each that did.
    pub(crate) fn send(&self, generator: &mut Instruments, count: u32) -> Result<(u64, f64)> {
        arrivals::send(&self.rig, 0, generator, count)
    }

    /// Packets of the kind that fwctl counted under these reasons; `None` if it is not fwctl.
    pub(crate) fn counted(&self, reasons: &[Reason]) -> Result<Option<u64>> {
        match &self.held {
            Held::Ours(loaded, _) => loaded.counted(&self.rig.server, reasons).map(Some),
            _ => Ok(None),
        }
    }

    /// Packets that the server's stack gave to its sockets.
    pub(crate) fn delivered(&self) -> Result<u64> {
        arrivals::delivered(&self.rig)
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if let Held::XdpFilter(unload) = &mut self.held {
            unload.0 = Some(self.rig.server.command("xdp-filter", ["unload", "eth0"]));
        }
    }
}

fn skip(variant: Variant, set: &Set, why: &str) {
    println!("!! left out: {} with {} rules or CIDRs: {why}", variant.name(), set.size);
}

/// Loads xdp-filter for the port that our frames go to.
fn xdp_filter(namespace: &Namespace) -> Result<Unload> {
    namespace.output("xdp-filter", ["load", "--mode", "native", "--features", "tcp,udp", "eth0"])?;
    namespace.output("xdp-filter", ["port", &CLOSED_PORT.to_string()])?;
    Ok(Unload(None))
}
