//! All that one network namespace says of its flows, at one time.

use std::io;
use std::net::IpAddr;
use std::path::Path;

use rustc_hash::{FxHashMap, FxHashSet};

use super::super::devices;
use super::is_host;
use super::namespace::Namespace;
use super::questions::Questions;
use super::sockets::Sockets;
use super::tracked::{self, Tracked};

/// The files of this host.
const ROOT: &str = "/";

/// See above. An error takes nothing from the others.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) sockets: io::Result<Sockets>,
    pub(super) questions: Questions,
    pub(super) tracked: io::Result<Vec<Tracked>>,
    /// By index, the addresses of its devices; of an instance only.
    addresses: FxHashMap<u32, Vec<IpAddr>>,
}

impl Known {
    /// Of this host. Its flows are looked for by these addresses.
    pub(super) fn of_host(with_sockets: bool, addresses: &FxHashSet<IpAddr>) -> Self {
        let sockets = if with_sockets { Sockets::list() } else { Ok(Sockets::default()) };
        Self {
            questions: questions(&sockets, Some(Path::new(ROOT))),
            sockets,
            tracked: tracked::list(addresses),
            addresses: FxHashMap::default(),
        }
    }

    /// Of an instance.
    pub(super) fn of_instance(namespace: &Namespace) -> io::Result<Self> {
        namespace.run(|| {
            let sockets = Sockets::list();
            let devices = devices::list().map_err(|error| io::Error::other(error.to_string()))?;
            let addresses = |device: &devices::Device| {
                let addresses = device.addresses.iter().copied().filter(|address| is_host(*address));
                (device.ifindex, addresses.collect())
            };
            let addresses: FxHashMap<u32, Vec<IpAddr>> = devices.iter().map(addresses).collect();
            let all = addresses.values().flatten().copied().collect();
            Ok(Self {
                questions: questions(&sockets, namespace.root.as_deref()),
                sockets,
                tracked: tracked::list(&all),
                addresses,
            })
        })?
    }

    /// The addresses that an instance has at the device with this index, or, if it only passes on what comes there, has at
    /// all.
    pub(super) fn addresses(&self, ifindex: u32) -> Vec<IpAddr> {
        match self.addresses.get(&ifindex) {
            Some(addresses) if !addresses.is_empty() => addresses.clone(),
            _ => self.addresses.values().flatten().copied().collect(),
        }
    }
}

fn questions(sockets: &io::Result<Sockets>, root: Option<&Path>) -> Questions {
    sockets.as_ref().map_or_else(|_| Questions::default(), |sockets| Questions::of(sockets, root))
}
