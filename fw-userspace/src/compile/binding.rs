//! Which device of the host carries which interface or leg.

use std::collections::HashMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Older;
use crate::model::{Attachment, DeviceSelector, Policy};

/// What a device carries.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Carries {
    /// An interface, by name.
    Interface(String),
    /// A router's leg, by its subnet.
    Leg(String),
}

impl Carries {
    /// `interface NAME` or `subnet NAME`: what its zone is kept under.
    pub(super) fn identity(&self) -> String {
        format!("{} {}", self.kind(), self.name())
    }

    /// `interface` or `subnet`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Interface(_) => "interface",
            Self::Leg(_) => "subnet",
        }
    }

    /// The name in the rules.
    pub fn name(&self) -> &str {
        match self {
            Self::Interface(name) | Self::Leg(name) => name,
        }
    }
}

/// A device of the host and what it carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// Interface index.
    pub ifindex: u32,
    /// Device name.
    pub device: String,
    /// What it carries.
    pub carries: Carries,
    /// It has no link-layer header.
    pub bare: bool,
    /// It is a port of a bridge.
    pub bridge_port: bool,
    /// The device's own, which group references match where the interface names none.
    pub addresses: Vec<IpAddr>,
    /// Until when mid-stream TCP is adopted, `CLOCK_MONOTONIC`.
    pub adopt_until_ns: u64,
    /// What of it.
    pub older: Older,
    /// TCP ports that somebody listens on behind the device, sorted; `None` where nobody can tell.
    pub served: Option<Vec<u16>>,
}

impl Binding {
    /// Goes on with the adoption window that the same device had under the rules before, and opens or prolongs it for what
    /// has become older than its entry. `until_ns` is 0 where nothing is adopted.
    pub fn go_on_adopting(&mut self, before: &Self, older: Option<Older>, now_ns: u64, until_ns: u64) {
        if before.adopt_until_ns > now_ns {
            self.adopt_until_ns = before.adopt_until_ns;
            self.older = before.older.clone();
        }
        if until_ns > now_ns
            && let Some(older) = older
        {
            self.adopt_until_ns = self.adopt_until_ns.max(until_ns);
            self.older.add(older);
        }
    }
}

/// For simulation: one device, numbered from 1, for each interface and each leg that has an attachment.
pub fn pretend_bindings(policy: &Policy) -> Vec<Binding> {
    attached(policy)
        .zip(1..)
        .map(|((carries, attachment), ifindex)| Binding {
            ifindex,
            device: match &attachment.device {
                DeviceSelector::Name(name) => name.clone(),
                _ => carries.name().to_owned(),
            },
            carries,
            bare: false,
            bridge_port: false,
            addresses: Vec::new(),
            adopt_until_ns: 0,
            older: Older::default(),
            served: Some(Vec::new()),
        })
        .collect()
}

/// The same with the addresses of these devices; several of one interface are one.
pub(crate) fn pretend_bindings_like(policy: &Policy, devices: &[Binding]) -> Vec<Binding> {
    let mut bindings = pretend_bindings(policy);
    let mut addresses: HashMap<&Carries, Vec<IpAddr>> = HashMap::new();
    for device in devices {
        addresses.entry(&device.carries).or_default().extend(&device.addresses);
    }
    for binding in &mut bindings {
        binding.addresses = addresses.remove(&binding.carries).unwrap_or_default();
    }
    bindings
}

/// Interfaces, then legs, that are to be on this host.
pub(crate) fn attached(policy: &Policy) -> impl Iterator<Item = (Carries, &Attachment)> {
    let interfaces = policy.interfaces.iter().filter_map(|(name, interface)| {
        Some((Carries::Interface(name.clone()), interface.attachment.as_ref()?))
    });
    let legs = policy
        .subnets
        .iter()
        .filter_map(|(name, subnet)| Some((Carries::Leg(name.clone()), subnet.leg.as_ref()?)));
    interfaces.chain(legs)
}
