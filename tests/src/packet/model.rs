//! What a packet under construction is, field by field. All fields are public: generators vary them directly.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// One frame to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Hardware addresses and tags.
    pub link: Link,
    /// What the frame carries.
    pub network: Network,
    /// Zeros behind the packet, as an Ethernet sender adds them to a short frame.
    pub pad: usize,
    /// Where the frame ends, if it ends too early.
    pub cut: Option<Cut>,
}

/// A place in a frame: so many bytes behind the start of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Counted from here.
    pub from: Start,
    /// Bytes.
    pub bytes: usize,
}

/// The start of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The frame's first byte.
    Frame,
    /// Behind the Ethernet header and its tags.
    Ip,
    /// Behind the IP header, its options and extension headers.
    Transport,
}

/// The Ethernet header. Absent addresses follow from what is carried (multicast, broadcast, two fixed hosts).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Sender.
    pub source: Option<[u8; 6]>,
    /// Receiver.
    pub destination: Option<[u8; 6]>,
    /// Tag type and control information, outermost first.
    pub tags: Vec<(u16, u16)>,
    /// The type field, where it is not the type of what the frame carries.
    pub ethertype: Option<u16>,
}

/// What a frame carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// IPv4 or IPv6.
    Ip(Ip),
    /// Anything else.
    Other {
        /// Its type.
        ethertype: u16,
        /// Its bytes.
        payload: Vec<u8>,
    },
    /// These bytes are the frame, Ethernet header included.
    Whole(Vec<u8>),
}

/// An IP packet; the family is that of `source`, and `destination` has the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// IPv4 identification, unless `fragment` has one.
    pub id: u16,
    /// Set on fragments. IPv6 gets its header where `extensions` has one, else behind them.
    pub fragment: Option<Fragment>,
    /// IPv4 options.
    pub options: Vec<u8>,
    /// IPv6 extension headers in order.
    pub extensions: Vec<Extension>,
    /// The transport.
    pub body: Body,
    /// Lies.
    pub wrong: Wrong,
}

/// Where a fragment belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// Identification; IPv4 takes the low 16 bits.
    pub id: u32,
    /// Offset in bytes, a multiple of eight.
    pub offset_bytes: u16,
    /// More fragments follow.
    pub more: bool,
}

/// An IPv6 extension header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extension {
    /// Hop-by-hop options: padding.
    HopByHop,
    /// Destination options: padding.
    Destination,
    /// Routing header of this type; a type 0 has no addresses and no segments left.
    Routing {
        /// Routing type.
        kind: u8,
        /// Segments left.
        segments_left: u8,
    },
    /// The place of the fragment header; without [`Ip::fragment`] an atomic one (RFC 6946).
    Fragment,
    /// Authentication header (RFC 4302) with a 12-byte check value.
    Authentication,
    /// These bytes under this number; the first of them becomes the next-header field.
    Other {
        /// Its number.
        protocol: u8,
        /// Its bytes.
        bytes: Vec<u8>,
    },
}

/// The transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// TCP.
    Tcp(Tcp),
    /// UDP.
    Udp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// Data.
        payload: Vec<u8>,
    },
    /// ICMP over IPv4, ICMPv6 over IPv6.
    Icmp(Icmp),
    /// Any other protocol.
    Other {
        /// Its number.
        protocol: u8,
        /// Its bytes.
        payload: Vec<u8>,
    },
}

/// A TCP segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// See [`super::flag`].
    pub flags: u8,
    /// The window, as the header says it.
    pub window: u16,
    /// The shift of a window scale option (RFC 7323), which stands before `options`.
    pub window_scale: Option<u8>,
    /// Options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// Data.
    pub payload: Vec<u8>,
}

impl Default for Tcp {
    /// Without flags, options and data; with the window that Linux begins with.
    fn default() -> Self {
        Self {
            source: 0,
            destination: 0,
            seq: 0,
            ack: 0,
            flags: 0,
            window: 64_240,
            window_scale: None,
            options: Vec::new(),
            payload: Vec::new(),
        }
    }
}

/// An ICMP or ICMPv6 message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// First half of the word behind the checksum: the identifier of an echo.
    pub id: u16,
    /// Second half: the sequence number of an echo.
    pub seq: u16,
    /// What follows the eight bytes.
    pub payload: Vec<u8>,
}

/// Header fields that contradict the packet. Checksums are computed over the lies: one lie is one fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wrong {
    /// The version nibble.
    pub version: Option<u8>,
    /// IPv4 header length in 32-bit words.
    pub header_words: Option<u8>,
    /// IPv4 total length or IPv6 payload length.
    pub length: Option<u16>,
    /// IPv4 protocol, or the next header of the IPv6 header itself.
    pub protocol: Option<u8>,
    /// IPv4 header checksum.
    pub ip_checksum: Option<u16>,
    /// TCP header length in 32-bit words.
    pub tcp_words: Option<u8>,
    /// UDP length.
    pub udp_length: Option<u16>,
    /// Checksum of TCP, UDP, ICMP or ICMPv6.
    pub transport_checksum: Option<u16>,
}

impl Packet {
    /// A frame with addresses that follow from what it carries.
    #[must_use]
    pub fn new(network: Network) -> Self {
        Self { link: Link::default(), network, pad: 0, cut: None }
    }

    /// An IP packet. Panics if the families differ.
    #[must_use]
    pub fn ip(source: IpAddr, destination: IpAddr, body: Body) -> Self {
        assert_eq!(source.is_ipv4(), destination.is_ipv4(), "\"{source} > {destination}\" mixes families");
        Self::new(Network::Ip(Ip {
            source,
            destination,
            ttl: 64,
            id: 0x1000,
            fragment: None,
            options: Vec::new(),
            extensions: Vec::new(),
            body,
            wrong: Wrong::default(),
        }))
    }

    pub(super) fn ip_mut(&mut self, setter: &str) -> &mut Ip {
        match &mut self.network {
            Network::Ip(ip) => ip,
            _ => network_error(setter),
        }
    }

    pub(super) fn tcp_mut(&mut self, setter: &str) -> &mut Tcp {
        match &mut self.ip_mut(setter).body {
            Body::Tcp(tcp) => tcp,
            _ => network_error(setter),
        }
    }
}

impl Body {
    /// The data behind the transport header.
    pub fn payload_mut(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Tcp(tcp) => &mut tcp.payload,
            Self::Icmp(icmp) => &mut icmp.payload,
            Self::Udp { payload, .. } | Self::Other { payload, .. } => payload,
        }
    }
}

pub(super) fn network_error(setter: &str) -> ! {
    panic!("`{setter}` does not belong to a packet of this kind")
}

/// An address, typed or as text. Text that is none panics: it stands in a test.
pub trait Host {
    /// The address.
    fn host(self) -> IpAddr;
}

impl Host for IpAddr {
    fn host(self) -> IpAddr {
        self
    }
}

impl Host for Ipv4Addr {
    fn host(self) -> IpAddr {
        self.into()
    }
}

impl Host for Ipv6Addr {
    fn host(self) -> IpAddr {
        self.into()
    }
}

impl Host for &str {
    fn host(self) -> IpAddr {
        self.parse().unwrap_or_else(|_| panic!("\"{self}\" is no IP address"))
    }
}

/// An address with a port, typed or as text. Text that is none panics: it stands in a test.
pub trait Peer {
    /// The address and port.
    fn peer(self) -> SocketAddr;
}

impl Peer for SocketAddr {
    fn peer(self) -> SocketAddr {
        self
    }
}

impl Peer for &str {
    fn peer(self) -> SocketAddr {
        self.parse().unwrap_or_else(|_| panic!("\"{self}\" is no address with a port"))
    }
}

impl<T: Host> Peer for (T, u16) {
    fn peer(self) -> SocketAddr {
        SocketAddr::new(self.0.host(), self.1)
    }
}
