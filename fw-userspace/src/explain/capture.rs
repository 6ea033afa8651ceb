//! Every packet of a capture, summarised: how many would meet which fate, and by what.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io::Read;
use std::net::IpAddr;

use fw_common::Direction;
use fw_common::rehearsed::Rehearsed;
use serde::Serialize;

use super::caught::{self, Caught, flow_of};
use super::source::{Explainer, Explanation};
use crate::error::Result;

/// What becomes of the packets of a capture.
#[derive(Debug, Clone, Serialize)]
pub struct CaptureReport {
    /// Packets that were asked about.
    pub packets: u64,
    /// Packets of which neither end is an address of the interface, where no direction was said.
    pub elsewhere: u64,
    /// Where and why the rest of the capture could not be read.
    pub cut_off: Option<String>,
    /// Most packets first.
    pub groups: Vec<Group>,
}

/// Packets that meet the same fate for the same reason.
#[derive(Debug, Clone, Serialize)]
pub struct Group {
    /// `ingress` or `egress`.
    pub direction: &'static str,
    /// How many.
    pub packets: u64,
    /// The number of the first one in the capture, from 1.
    pub first: u64,
    /// What that one is.
    pub example: String,
    /// What happens to them.
    #[serde(flatten)]
    pub explanation: Explanation,
}

/// Which way the packets of a capture go.
#[derive(Debug, Clone)]
pub enum Way {
    /// All of them.
    All(Direction),
    /// To these addresses is inbound, from them outbound.
    ByAddress(Vec<IpAddr>),
}

/// The first of a group, and how many there are.
struct Tally {
    packets: u64,
    first: u64,
    example: String,
}

/// Asks about all packets in their order. By the rules of a file they happen one after the other, as far apart as they
/// were caught, and connections come to be and end; what is in force is asked about each by itself.
pub fn summarise(
    explainer: &Explainer,
    at: &str,
    way: &Way,
    capture: impl Read + Send,
) -> Result<CaptureReport> {
    let mut tallies: HashMap<(Direction, Rehearsed), Tally> = HashMap::new();
    let (mut packets, mut elsewhere, mut number) = (0, 0, 0);
    let mut began_ns = None;
    let cut_off = caught::each(capture, |Caught { frame, at_ns }| {
        number += 1;
        let flow = flow_of(&frame);
        let Some(direction) = way.of(flow.map(|flow| (flow.source.address, flow.destination.address))) else {
            elsewhere += 1;
            return Ok(());
        };
        let since_ns = at_ns.saturating_sub(*began_ns.get_or_insert(at_ns));
        let rehearsed = explainer
            .judge(at, direction, &frame, since_ns)
            .map_err(|error| error.about(&format!("packet {number}")))?;
        packets += 1;
        let new = || Tally { packets: 0, first: number, example: frame.to_string() };
        tallies.entry((direction, rehearsed)).or_insert_with(new).packets += 1;
        Ok(())
    })?;
    let group = |((direction, rehearsed), tally): ((Direction, Rehearsed), Tally)| Group {
        direction: direction.name(),
        packets: tally.packets,
        first: tally.first,
        example: tally.example,
        explanation: explainer.explained(rehearsed),
    };
    let mut groups: Vec<Group> = tallies.into_iter().map(group).collect();
    groups.sort_by_key(|group| (Reverse(group.packets), group.first));
    let cut_off = cut_off.map(|why| format!("after packet {number} it {why}"));
    Ok(CaptureReport { packets, elsewhere, cut_off, groups })
}

impl Way {
    fn of(&self, ends: Option<(IpAddr, IpAddr)>) -> Option<Direction> {
        match (self, ends) {
            (Self::All(direction), _) => Some(*direction),
            (Self::ByAddress(own), Some((_, destination))) if own.contains(&destination) => {
                Some(Direction::Ingress)
            }
            (Self::ByAddress(own), Some((source, _))) if own.contains(&source) => Some(Direction::Egress),
            (Self::ByAddress(_), _) => None,
        }
    }
}
