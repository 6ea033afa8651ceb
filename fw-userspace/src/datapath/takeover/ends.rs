//! Whose sockets send and receive what a device carries: those of this host where it faces the network, those of an
//! instance where it faces one.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::super::devices::Device;
use super::namespace::{self, Namespace};
use super::{sockets, tracked};
use crate::compile::Binding;
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

    /// The TCP ports that are served at the near end of these devices, in order; `None` where that is not known.
    pub(in super::super) fn served<'b>(
        &self,
        asked: impl Iterator<Item = &'b Binding>,
    ) -> BTreeMap<u32, Option<Vec<u16>>> {
        let mut listening: BTreeMap<*const Namespace, Option<Vec<u16>>> = BTreeMap::new();
        let listen = || sockets::listening_ports().ok();
        let mut served = |binding: &Binding| match self.of(binding.ifindex)? {
            End::Host => {
                let mut ports = listening.entry(std::ptr::null()).or_insert_with(listen).clone()?;
                let addresses = binding.addresses.iter().copied().collect();
                ports.extend(tracked::entered_ports(&addresses).unwrap_or_default());
                Some(ports)
            }
            End::Instance { namespace, .. } => {
                let inside = || namespace.run(listen).ok().flatten();
                listening.entry(Arc::as_ptr(namespace)).or_insert_with(inside).clone()
            }
            End::Unknown(_) => None,
        };
        let in_order = |mut ports: Vec<u16>| {
            ports.sort_unstable();
            ports.dedup();
            ports
        };
        asked.map(|binding| (binding.ifindex, served(binding).map(in_order))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::compile::Carries;

    fn binding(ifindex: u32) -> Binding {
        Binding {
            ifindex,
            device: format!("eth{ifindex}"),
            carries: Carries::Interface("host".to_owned()),
            bare: false,
            bridge_port: false,
            addresses: Vec::new(),
            adopt_until_ns: 0,
            older: crate::compile::Older::default(),
            served: None,
        }
    }

    #[test]
    fn the_ports_of_this_host_are_those_that_are_listened_on_and_those_of_nobody_are_unknown() {
        let bindings = [1, 2].map(binding);
        let listeners: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("[::]:0").unwrap()).collect();
        let ends = Ends(BTreeMap::from([(1, End::Host), (2, End::Unknown(String::new()))]));
        let served = ends.served(bindings.iter());
        let ports = served[&1].as_ref().unwrap();
        assert!(listeners.iter().all(|listener| ports.contains(&listener.local_addr().unwrap().port())));
        assert!(ports.is_sorted_by(|one, next| one < next), "{ports:?}");
        assert_eq!(served[&2], None);
    }
}
