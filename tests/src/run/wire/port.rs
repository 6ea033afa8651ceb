//! One filtered device and the far end of its cable: a frame goes through, and whether it passed is seen behind the
//! filter.
//!
//! Nobody waits for silence: behind each frame goes a marker, an ARP frame, which always passes. When it has arrived
//! the frame has, too, or never will.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::case::Expect;
use crate::netns::{self, Namespace};
use crate::packet::{self, ethertype};
use crate::traffic::{Capture, capture, listen};

/// For what is certain to arrive, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// For what ought to arrive and may be held back a moment: the kernel gathers TCP segments behind XDP.
const GRACE: Duration = Duration::from_millis(500);

/// As long as veth allows, and the largest frame of the cases fits.
const MTU: u32 = 65_535;

/// What became of a frame.
pub(super) enum Crossing {
    Passed,
    Dropped,
    /// No filter sees it, for this reason.
    Unsendable(String),
}

/// Both ends of a veth pair, and sockets on them.
pub(super) struct Port {
    device: String,
    near: Capture,
    far: Capture,
    /// Behind TC on the device, by protocol. Closing one takes the kernel a while, so they stay open.
    ears: BTreeMap<u16, Capture>,
    markers: u32,
    /// The last frame that did not pass, as it would have arrived, and where.
    denied: Option<(Heard, Vec<u8>)>,
}

/// Who hears a frame that passes.
#[derive(Clone, Copy)]
enum Heard {
    /// The far end.
    Far,
    /// The ear of a protocol, if the frame has any.
    Near(Option<u16>),
}

/// Ears of one device. Damaged frames have ethertypes that nobody else has.
const MOST_EARS: usize = 100;

impl Port {
    /// Makes the pair: a device of that name in both namespaces.
    pub(super) fn new(host: &Namespace, outside: &Namespace, device: String) -> Result<Self> {
        netns::join(host, &device, outside, &device)?;
        for namespace in [host, outside] {
            namespace.ip(&format!("link set {device} mtu {MTU}"))?;
        }
        let near = listen(host, &device, 0)?;
        let far = capture(outside, &device)?;
        let ears = BTreeMap::from([(ethertype::ARP, listen(host, &device, ethertype::ARP)?)]);
        Ok(Self { device, near, far, ears, markers: 0, denied: None })
    }

    /// Lets the device receive a frame.
    pub(super) fn enter(&mut self, host: &Namespace, frame: &[u8], expect: Expect) -> Result<Crossing> {
        self.check_late()?;
        let protocol = protocol_behind_tag(frame);
        if let Some(protocol) = protocol
            && !self.ears.contains_key(&protocol)
        {
            if self.ears.len() >= MOST_EARS {
                let markers = self.ears.remove_entry(&ethertype::ARP);
                let closed = std::mem::replace(&mut self.ears, BTreeMap::from_iter(markers));
                std::thread::spawn(move || drop(closed));
            }
            self.ears.insert(protocol, listen(host, &self.device, protocol)?);
        }
        if let Some(why) = unsendable(self.far.send(frame))? {
            return Ok(Crossing::Unsendable(why));
        }
        let marker = self.marker()?;
        self.far.send(&marker).context("cannot send the marker")?;
        let mut seen = wait_for(&self.ears[&ethertype::ARP], &marker)?;
        let heard = Heard::Near(protocol);
        if let Some(ear) = self.ear(heard) {
            seen.extend(ear.so_far()?);
        }
        self.outcome(frame, expect, &seen, heard)
    }

    /// Sends a frame through the device.
    pub(super) fn leave(&mut self, frame: &[u8], expect: Expect) -> Result<Crossing> {
        self.check_late()?;
        if let Some(why) = unsendable(self.near.send(frame))? {
            return Ok(Crossing::Unsendable(why));
        }
        let marker = self.marker()?;
        self.near.send(&marker).context("cannot send the marker")?;
        let seen = wait_for(&self.far, &marker)?;
        self.outcome(frame, expect, &seen, Heard::Far)
    }

    fn ear(&self, heard: Heard) -> Option<&Capture> {
        match heard {
            Heard::Far => Some(&self.far),
            Heard::Near(protocol) => self.ears.get(&protocol?),
        }
    }

    fn outcome(&mut self, frame: &[u8], expect: Expect, seen: &[Vec<u8>], heard: Heard) -> Result<Crossing> {
        let wanted = without_tags(frame);
        let is_it = |seen: &Vec<u8>| without_tags(seen) == wanted;
        let mut passed = seen.iter().any(is_it);
        if let Some(ear) = self.ear(heard).filter(|_| !passed && expect == Expect::Allow) {
            let end = Instant::now() + GRACE;
            while !passed && let Some(late) = ear.next_in(end.saturating_duration_since(Instant::now()))? {
                passed = is_it(&late);
            }
        }
        self.denied = (!passed).then_some((heard, wanted));
        Ok(if passed { Crossing::Passed } else { Crossing::Dropped })
    }

    /// An error if what was taken for dropped is there after all.
    pub(super) fn check_late(&mut self) -> Result<()> {
        let Some((heard, denied)) = self.denied.take() else { return Ok(()) };
        for frame in self.ear(heard).map_or_else(|| Ok(Vec::new()), Capture::so_far)? {
            ensure!(denied != without_tags(&frame), "the frame before arrived late on {}", self.device);
        }
        Ok(())
    }

    fn marker(&mut self) -> Result<Vec<u8>> {
        self.markers += 1;
        let number = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + self.markers);
        packet::parse(&format!("arp {number} > 198.19.255.254"))
    }
}

/// What comes in before the marker.
fn wait_for(ear: &Capture, marker: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut before = Vec::new();
    let end = Instant::now() + PATIENCE;
    loop {
        match ear.next_in(end.saturating_duration_since(Instant::now()))? {
            Some(frame) if frame == marker => return Ok(before),
            Some(frame) => before.push(frame),
            None => bail!("the marker behind the frame did not arrive"),
        }
    }
}

/// Why a frame could not be sent. What a program at TC drops is sent, though the kernel says that it has no room.
fn unsendable(sent: std::io::Result<usize>) -> Result<Option<String>> {
    match sent {
        Ok(_) => Ok(None),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOBUFS) => Ok(None),
            Some(libc::EINVAL | libc::EMSGSIZE | libc::ENXIO) => Ok(Some(format!("cannot be sent: {error}"))),
            _ => Err(error).context("cannot send the frame"),
        },
    }
}

fn word(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?))
}

fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, ethertype::VLAN | ethertype::SERVICE_VLAN)
}

/// Whether the kernel can take the first tag off, which it does before TC; else it drops the frame itself
/// (`skb_vlan_untag`, net/core/skbuff.c, 6.18).
pub(super) fn reaches_tc(frame: &[u8]) -> bool {
    !word(frame, 12).is_some_and(is_tag) || frame.len() >= 20
}

/// What the kernel reads as the protocol of a frame whose first tag it has taken off, and whose next as well if the
/// first was of VLAN 0 (`__netif_receive_skb_core`, net/core/dev.c; `eth_type_trans`, net/ethernet/eth.c; 6.18).
fn protocol_behind_tag(frame: &[u8]) -> Option<u16> {
    let mut at = 12;
    let mut protocol = word(frame, at)?;
    for _ in 0..2 {
        if !is_tag(protocol) {
            break;
        }
        let vlan = word(frame, at + 2)? & 0x0fff;
        at += 4;
        protocol = word(frame, at)?;
        if vlan != 0 {
            break;
        }
    }
    // Below this it is a length, of a frame of IEEE 802.3.
    if protocol >= 0x0600 {
        return Some(protocol);
    }
    let is_raw = word(frame, at + 2) == Some(0xffff);
    Some(if is_raw { libc::ETH_P_802_3 as u16 } else { libc::ETH_P_802_2 as u16 })
}

/// Without tags a frame is the same wherever the kernel keeps them.
fn without_tags(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    while word(&frame, 12).is_some_and(is_tag) && frame.len() >= 16 {
        frame.drain(12..16);
    }
    frame
}
