//! How large rules files are written: text that is appended to, a value of serde_json would cost more than the load.

use std::fmt::{Display, Write as _};
use std::net::Ipv4Addr;

/// A list with commas between.
pub(super) fn joined<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let mut text = String::new();
    for item in items {
        let comma = if text.is_empty() { "" } else { ",\n" };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}{item}");
    }
    text
}

/// Each as a JSON string.
pub(super) fn quoted<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    joined(items.into_iter().map(|item| format!("\"{item}\"")))
}

/// One host whose `eth0` carries the group `g` with these inbound rules; `more` are further sections.
pub(super) fn host(ingress: &str, more: &str) -> String {
    format!(
        "{{ \"version\": 1,{more}\n\"security_groups\": {{ \"g\": {{ \"ingress\": [\n{ingress}\n] }} }},\n\
         \"interfaces\": {{ \"eth0\": {{ \"device\": \"eth0\", \"security_groups\": [\"g\"] }} }} }}\n"
    )
}

/// A rule for a range of TCP ports.
pub(super) fn tcp(from: u32, to: u32, cidr: impl Display) -> String {
    format!(r#"{{"protocol":"tcp","from_port":{from},"to_port":{to},"cidr_blocks":["{cidr}"]}}"#)
}

/// All different for different numbers, all over the place: the factor is odd.
pub(super) fn address(number: u32) -> Ipv4Addr {
    number.wrapping_mul(2_654_435_761).into()
}

/// Numbers that look random, the same for the same seed (SplitMix64, <https://doi.org/10.1145/2714064.2660195>).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}
