//! Every capacity and loop bound of the core, each with its reason.

/// VLAN tags that are looked behind: 802.1ad gives two.
pub const MAX_VLAN_TAGS: u8 = 2;

/// IPv6 extension headers that are walked. RFC 8200 section 4.1 lists seven kinds; a destination options
/// header may stand twice, which makes eight.
pub const MAX_EXTENSION_HEADERS: u8 = 8;

/// IPv4 options are at most 40 bytes (RFC 791: a header of 15 words), so at most 40 one-byte options.
pub const MAX_IPV4_OPTIONS: u8 = 40;

/// TCP options that are looked through for the window scale: usual SYNs have at most nine, fillers included. 40 bytes of
/// fillers in front of it would hide it, and then the window counts as it stands.
pub const MAX_TCP_OPTIONS: u8 = 20;

/// Inner levels of a chunk tree. Three levels of 29 children over leaves of 11 intervals hold 268,279
/// intervals, more than the 65,536 values of a chunk.
pub const MAX_INNER_LEVELS: u8 = 3;

/// Steps of a search through half an IPv6 address: a table of any width, and four chunks of 16 bits behind it.
pub const MAX_HALF_STEPS: u8 = 5;

/// Seconds that later fragments may follow their first: Linux's `net.ipv4.ipfrag_time` default.
pub const FRAGMENT_SECONDS: u32 = 30;

/// Datagrams whose first fragment is remembered at a time; more recycle the oldest.
pub const MAX_FRAGMENTED_DATAGRAMS: u32 = 8192;

/// Ethertypes (by interface) that are remembered as dropped.
pub const MAX_ETHERTYPES: u32 = 1024;

/// Connections that only flows of `reserved` rules may use: 1 % of the table, at least 64.
pub const fn reserved_connections(max: u32) -> u32 {
    let share = max / 100;
    if share < 64 { 64 } else { share }
}
