//! Which flows the devices that are filtered for the first time may carry, by what all namespaces behind them say.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use fw_common::Direction;
use fw_common::packet::protocol;
use rustc_hash::{FxHashMap, FxHashSet};

use super::account::{Account, Knowledge};
use super::ends::End;
use super::known::Known;
use super::namespace::Namespace;
use super::sockets::{Connected, Sockets};
use super::tracked::Tracked;
use super::{is_host, is_link_local};
use crate::compile::Binding;
use crate::model::Faces;

/// A device that is filtered for the first time.
pub(super) struct Newcomer<'a> {
    pub(super) binding: &'a Binding,
    end: &'a End,
    /// Of its near end.
    addresses: Vec<IpAddr>,
}

/// A flow that a device may carry, by the device's number.
pub(super) struct Candidate {
    pub(super) device: usize,
    pub(super) flow: Connected,
    pub(super) knowledge: Knowledge,
}

/// What this host and the instances say at one time.
pub(super) struct Look {
    host: Known,
    instances: BTreeMap<*const Namespace, io::Result<Known>>,
}

impl<'a> Newcomer<'a> {
    /// With an end whose addresses are not known yet, unless it is this host.
    pub(super) fn of(binding: &'a Binding, end: &'a End) -> Self {
        let addresses = if matches!(end, End::Host) { binding.addresses.clone() } else { Vec::new() };
        Self { binding, end, addresses }
    }

    /// Which side of the filter it looks at.
    pub(super) fn faces(&self) -> Faces {
        if matches!(self.end, End::Host) { Faces::Network } else { Faces::Instance }
    }

    /// The instance at its near end, if that is not this host.
    pub(super) fn instance(&self) -> Option<String> {
        (self.faces() == Faces::Instance).then(|| self.binding.carries.name().to_owned())
    }

    /// The device's index where its near end is.
    fn ifindex(&self) -> u32 {
        match self.end {
            End::Instance { ifindex, .. } => *ifindex,
            End::Host | End::Unknown(_) => self.binding.ifindex,
        }
    }

    /// Whether packets of a flow would take this device. What an end has with itself no device carries, and nobody answers
    /// for a group.
    fn carries(&self, flow: &Connected) -> bool {
        let Connected { local, remote, ifindex, .. } = flow;
        let is_here = !is_link_local(local.ip()) || *ifindex == self.ifindex();
        let has = |address: IpAddr| self.addresses.contains(&address);
        is_here && has(local.ip()) && is_host(remote.ip()) && !has(remote.ip())
    }
}

impl Look {
    /// Asks them, and tells the devices what addresses they have there.
    pub(super) fn at(newcomers: &mut [Newcomer<'_>]) -> Self {
        let mut instances = BTreeMap::new();
        for newcomer in newcomers.iter_mut() {
            let End::Instance { namespace, ifindex } = newcomer.end else { continue };
            let ask = || Known::of_instance(namespace);
            if let Ok(known) = instances.entry(Arc::as_ptr(namespace)).or_insert_with(ask) {
                newcomer.addresses = known.addresses(*ifindex);
            }
        }
        let addresses: FxHashSet<IpAddr> =
            newcomers.iter().flat_map(|newcomer| &newcomer.addresses).copied().collect();
        let with_sockets = newcomers.iter().any(|newcomer| matches!(newcomer.end, End::Host));
        Self { host: Known::of_host(with_sockets, &addresses), instances }
    }

    /// Notes what they do not say.
    pub(super) fn tell_gaps(&self, newcomers: &[Newcomer<'_>], account: &mut Account) {
        for newcomer in newcomers {
            if let End::Unknown(why) = newcomer.end {
                account.without_instance(&newcomer.binding.device, newcomer.binding.carries.name(), why);
            }
            match self.known(newcomer.end).map(|known| known.map(|known| &known.sockets)) {
                Some(Err(error) | Ok(Err(error))) => {
                    account.without_sockets(newcomer.instance(), error.to_string());
                }
                Some(Ok(Ok(Sockets { without_udp: Some(why), .. }))) => {
                    account.without_udp(newcomer.instance(), why.clone());
                }
                Some(Ok(Ok(_))) | None => {}
            }
        }
        if let Err(error) = &self.host.tracked {
            account.without_tracking(error.to_string());
        }
    }

    /// What each device may carry; what is known best comes first.
    pub(super) fn candidates(&self, newcomers: &[Newcomer<'_>]) -> Vec<Candidate> {
        let mut by_opener: FxHashMap<IpAddr, Vec<Connected>> = FxHashMap::default();
        for flow in self.host.tracked.iter().flatten().map(Tracked::towards_opener) {
            by_opener.entry(flow.local.ip()).or_default().push(flow);
        }
        let mut candidates = Vec::new();
        for (device, newcomer) in newcomers.iter().enumerate() {
            let mut add = |flow: Connected, knowledge| {
                if newcomer.carries(&flow) {
                    candidates.push(Candidate { device, flow, knowledge });
                }
            };
            let known = self.known(newcomer.end).and_then(Result::ok);
            let sockets = known.and_then(|known| known.sockets.as_ref().ok());
            // The tracking takes the first packet that it sees for the first that there was. A UDP socket that anybody may
            // write to serves, unless it has its port from the kernel: nobody could know that port.
            let asks = |local: SocketAddr| known.is_some_and(|known| known.questions.come_from(local.port()));
            let tracked = |flow: Connected| {
                let is_served = sockets.is_some_and(|sockets| sockets.serves(flow.protocol, flow.local))
                    && (flow.protocol != protocol::UDP || !asks(flow.local));
                let opener = if is_served { Direction::Ingress } else { Direction::Egress };
                Connected { opened_by: Some(opener), ..flow }
            };
            for flow in sockets.into_iter().flat_map(|sockets| &sockets.connected) {
                add(*flow, Knowledge::Sockets);
            }
            for flow in known.into_iter().flat_map(|known| known.tracked.iter().flatten()) {
                add(tracked(flow.beyond_opener()), Knowledge::Tracking);
            }
            if newcomer.faces() == Faces::Instance {
                for flow in newcomer.addresses.iter().filter_map(|address| by_opener.get(address)).flatten() {
                    add(tracked(*flow), Knowledge::Tracking);
                }
            }
            for flow in known
                .into_iter()
                .flat_map(|known| known.questions.at(newcomer.ifindex(), &newcomer.addresses))
            {
                add(flow, Knowledge::Answers);
            }
        }
        candidates
    }

    fn known(&self, end: &End) -> Option<Result<&Known, &io::Error>> {
        match end {
            End::Host => Some(Ok(&self.host)),
            End::Instance { namespace, .. } => {
                self.instances.get(&Arc::as_ptr(namespace)).map(Result::as_ref)
            }
            End::Unknown(_) => None,
        }
    }
}
