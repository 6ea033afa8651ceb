//! The network devices of the namespace that we run in, by netlink: sysfs would show those of its mounter.

use std::net::IpAddr;

use futures_util::TryStreamExt;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::{
    InfoKind, InfoPortKind, LinkAttribute, LinkInfo, LinkLayerType, LinkMessage, LinkXdp, Prop,
};
use netlink_packet_route::route::{RouteAttribute, RouteMessage};
use netlink_packet_route::tc::{TcAttribute, TcFilterBpfOption, TcOption};
use rtnetlink::{Handle, RouteMessageBuilder};

use super::state::Side;
use crate::error::{Error, Result};
use crate::model::DeviceSelector;

/// One device.
#[derive(Debug, Clone)]
pub(super) struct Device {
    pub(super) ifindex: u32,
    pub(super) name: String,
    pub(super) altnames: Vec<String>,
    pub(super) mac: Vec<u8>,
    /// No link-layer header: tun, wireguard, ppp.
    pub(super) bare: bool,
    /// A port of a bridge.
    pub(super) bridge_port: bool,
    /// `veth`, `tun` and so on; `None` for hardware.
    pub(super) kind: Option<String>,
    /// Where the other end of a pair is, if it is in another namespace.
    pub(super) pair: Option<Pair>,
    /// The XDP program on it.
    pub(super) xdp: Option<u32>,
    pub(super) addresses: Vec<IpAddr>,
    /// A default route leaves by it.
    pub(super) default_route: bool,
}

/// The other end of a pair of devices.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair {
    /// Its index there.
    pub(super) ifindex: u32,
    /// The number of its namespace beside ours.
    pub(super) namespace: i32,
}

impl Device {
    /// Whether rules mean this device.
    pub(super) fn is_meant_by(&self, selector: &DeviceSelector) -> bool {
        match selector {
            DeviceSelector::Mac(mac) => self.name != "lo" && self.mac == mac,
            DeviceSelector::Altname(name) => self.altnames.contains(name),
            DeviceSelector::Name(_) | DeviceSelector::Glob(_) => selector.matches_name(&self.name),
        }
    }
}

/// All devices of this namespace.
pub(super) fn list() -> Result<Vec<Device>> {
    ask("list network devices", async |handle| collect(&handle).await)
}

/// One filter of a clsact qdisc.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) priority: u16,
    pub(super) handle: u32,
    /// "bpf", "u32", "matchall" and so on.
    pub(super) kind: String,
    /// What a filter of kind "bpf" runs.
    pub(super) program: Option<u32>,
}

/// The filters on one side of a device's clsact qdisc, in the order in which they see packets.
pub(super) fn filters(ifindex: u32, side: Side) -> Result<Vec<Filter>> {
    ask("list the filters of a device", async |handle| {
        let request = handle.traffic_filter(ifindex as i32).get();
        let request = match side {
            Side::Received => request.ingress(),
            Side::Sent => request.egress(),
        };
        let mut replies = request.execute();
        let mut filters = Vec::new();
        while let Some(message) = replies.try_next().await? {
            let mut filter = Filter {
                // tcm_info: priority in the high half, protocol in the low one (net/sched/cls_api.c).
                priority: (message.header.info >> 16) as u16,
                handle: message.header.handle.into(),
                kind: String::new(),
                program: None,
            };
            for attribute in message.attributes {
                match attribute {
                    TcAttribute::Kind(kind) => filter.kind = kind,
                    TcAttribute::Options(options) => {
                        filter.program = options.iter().find_map(|option| match option {
                            TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => Some(*id),
                            _ => None,
                        });
                    }
                    _ => {}
                }
            }
            // Each priority is announced once by itself, without a handle.
            if filter.handle != 0 {
                filters.push(filter);
            }
        }
        Ok(filters)
    })
}

/// Whether a device has an "ingress" qdisc, which stands where a clsact qdisc would and has no sent side.
pub(super) fn has_ingress_qdisc(ifindex: u32) -> Result<bool> {
    ask("list the qdiscs of a device", async |handle| {
        let mut replies = handle.qdisc().get().index(ifindex as i32).execute();
        let mut found = false;
        while let Some(message) = replies.try_next().await? {
            let is_ingress =
                |attribute: &TcAttribute| matches!(attribute, TcAttribute::Kind(kind) if kind == "ingress");
            found |= message.header.index == ifindex as i32 && message.attributes.iter().any(is_ingress);
        }
        Ok(found)
    })
}

/// Runs one conversation with the kernel.
pub(super) fn ask<T>(
    what: &str,
    conversation: impl AsyncFnOnce(Handle) -> std::result::Result<T, rtnetlink::Error>,
) -> Result<T> {
    let failed = |error: &dyn std::fmt::Display| Error::system(format!("cannot {what}: {error}"));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| failed(&error))?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(|error| failed(&error))?;
        let serving = tokio::spawn(connection);
        let answer = conversation(handle).await.map_err(|error| failed(&error));
        serving.abort();
        answer
    })
}

async fn collect(handle: &Handle) -> std::result::Result<Vec<Device>, rtnetlink::Error> {
    let mut devices = Vec::new();
    let mut links = handle.link().get().execute();
    while let Some(link) = links.try_next().await? {
        devices.push(device_of(&link));
    }
    let mut addresses = handle.address().get().execute();
    while let Some(address) = addresses.try_next().await? {
        let Some(device) = devices.iter_mut().find(|device| device.ifindex == address.header.index) else {
            continue;
        };
        // On point-to-point links `Address` is the other end, `Local` ours; elsewhere only one may be there.
        let local = address.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
        let plain = address.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        });
        device.addresses.extend(local.or(plain));
    }
    let families = [
        RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
        RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
    ];
    for family in families {
        let mut routes = handle.route().get(family).execute();
        while let Some(route) = routes.try_next().await? {
            for ifindex in default_route_devices(&route) {
                for device in devices.iter_mut().filter(|device| device.ifindex == ifindex) {
                    device.default_route = true;
                }
            }
        }
    }
    Ok(devices)
}

fn default_route_devices(route: &RouteMessage) -> Vec<u32> {
    if route.header.destination_prefix_length != 0 {
        return Vec::new();
    }
    let mut devices = Vec::new();
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(ifindex) => devices.push(*ifindex),
            RouteAttribute::MultiPath(hops) => devices.extend(hops.iter().map(|hop| hop.interface_index)),
            _ => {}
        }
    }
    devices
}

fn device_of(link: &LinkMessage) -> Device {
    let mut device = Device {
        ifindex: link.header.index,
        name: String::new(),
        altnames: Vec::new(),
        mac: Vec::new(),
        bare: !matches!(link.header.link_layer_type, LinkLayerType::Ether | LinkLayerType::Loopback),
        bridge_port: false,
        kind: None,
        pair: None,
        xdp: None,
        addresses: Vec::new(),
        default_route: false,
    };
    let (mut other_end, mut namespace) = (None, None);
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Link(ifindex) => other_end = Some(*ifindex),
            LinkAttribute::LinkNetNsId(number) => namespace = Some(*number),
            LinkAttribute::IfName(name) => device.name.clone_from(name),
            LinkAttribute::Address(mac) => device.mac.clone_from(mac),
            LinkAttribute::PropList(properties) => {
                device.altnames.extend(properties.iter().filter_map(|property| match property {
                    Prop::AltIfName(name) => Some(name.clone()),
                    _ => None,
                }));
            }
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(kind) => device.kind = Some(kind_name(kind)),
                        LinkInfo::PortKind(InfoPortKind::Bridge) => device.bridge_port = true,
                        _ => {}
                    }
                }
            }
            LinkAttribute::Xdp(parts) => {
                device.xdp = parts.iter().find_map(|part| match part {
                    LinkXdp::ProgId(id) if *id != 0 => Some(*id),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    // Of others, like VLANs, it is the device that they stand on.
    if let Some("veth" | "netkit") = device.kind.as_deref()
        && let (Some(ifindex), Some(namespace)) = (other_end, namespace)
    {
        device.pair = Some(Pair { ifindex, namespace });
    }
    device
}

fn kind_name(kind: &InfoKind) -> String {
    kind.to_string()
}
