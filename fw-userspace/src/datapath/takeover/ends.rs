//! Whose sockets send and receive what a device carries: those of this host where it faces the network, those of an
//! instance where it faces one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::super::devices::Device;
use super::namespace::{self, Namespace};
use super::sockets;
use crate::model::Faces;

/// Where the near end of a device's connections is.
#[derive(Debug)]
pub(in super::super) enum End {
    /// In this network namespace.
    Host,
    /// In another, where the device's pair is.
    Instance {
        /// That one.
        namespace: Arc<Namespace>,
        /// The index of the pair there.
        ifindex: u32,
    },
    /// In one that cannot be entered, or in another kernel, for this reason.
    Unknown(String),
}

/// By index, the ends of devices.
#[derive(Debug, Default)]
pub(in super::super) struct Ends(BTreeMap<u32, End>);

impl Ends {
    /// Of devices of this namespace.
    pub(in super::super) fn find<'d>(devices: impl Iterator<Item = (&'d Device, Faces)>) -> Self {
        let devices: Vec<(&Device, Faces)> = devices.collect();
        let pairs = devices.iter().filter(|(_, faces)| *faces == Faces::Instance);
        let numbers: FxHashSet<i32> =
            pairs.filter_map(|(device, _)| device.pair.map(|pair| pair.namespace)).collect();
        let found = namespace::find(numbers).into_iter();
        let found: BTreeMap<i32, Arc<Namespace>> =
            found.map(|(number, namespace)| (number, Arc::new(namespace))).collect();
        let end = |device: &Device, faces| match (faces, device.pair) {
            (Faces::Network, _) => End::Host,
            (Faces::Instance, None) => End::Unknown("it leads to no other network namespace".to_owned()),
            (Faces::Instance, Some(pair)) => match found.get(&pair.namespace) {
                Some(namespace) => End::Instance { namespace: namespace.clone(), ifindex: pair.ifindex },
                None => End::Unknown("its network namespace has neither a name nor a process".to_owned()),
            },
        };
        Self(devices.into_iter().map(|(device, faces)| (device.ifindex, end(device, faces))).collect())
    }

    /// The end of a device with this index.
    pub(super) fn of(&self, ifindex: u32) -> Option<&End> {
        self.0.get(&ifindex)
    }

    /// The TCP ports that somebody listens on at the near end of these devices, in order; `None` where that is not known.
    pub(in super::super) fn served(&self, asked: &BTreeSet<u32>) -> BTreeMap<u32, Option<Vec<u16>>> {
        let mut host = None;
        let mut instances: BTreeMap<*const Namespace, Option<Vec<u16>>> = BTreeMap::new();
        let listen = || sockets::listening_ports().ok();
        let mut served = |end: &End| match end {
            End::Host => host.get_or_insert_with(listen).clone(),
            End::Instance { namespace, .. } => {
                let inside = || namespace.run(listen).ok().flatten();
                instances.entry(Arc::as_ptr(namespace)).or_insert_with(inside).clone()
            }
            End::Unknown(_) => None,
        };
        let asked = self.0.iter().filter(|(ifindex, _)| asked.contains(ifindex));
        asked.map(|(ifindex, end)| (*ifindex, served(end))).collect()
    }
}
