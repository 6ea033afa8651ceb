//! Leading zeros in IPv4 addresses: `inet_aton(3)`, and with it most of a Linux host, reads octal numbers there, others
//! decimal ones. Whoever wrote one means one of the two; nobody can tell which.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// An error, `must be ...`, if the text is an address or a network but for leading zeros.
pub(crate) fn refuse(text: &str) -> Result<(), String> {
    let is_meant = |plain: &String| {
        plain.parse::<IpNet>().is_ok()
            || plain.parse::<IpAddr>().is_ok()
            || plain.parse::<SocketAddr>().is_ok()
    };
    match removed(text).filter(is_meant) {
        Some(plain) => Err(format!(
            "must be without leading zeros, which some read as octal numbers and others as decimal ones, write {plain:?}"
        )),
        None => Ok(()),
    }
}

/// The same text without; `None` if it has none. Where IPv6 has groups they mean nothing.
fn removed(text: &str) -> Option<String> {
    // Of a million networks hardly one.
    if !text.as_bytes().array_windows().any(|[zero, digit]| *zero == b'0' && digit.is_ascii_digit()) {
        return None;
    }
    let (address, length) =
        text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let parts: Vec<String> = address.split(':').map(dotted).collect();
    let mut plain = parts.join(":");
    if let Some(length) = length {
        plain.push('/');
        plain.push_str(number(length));
    }
    (plain != text).then_some(plain)
}

fn dotted(part: &str) -> String {
    if !part.contains('.') {
        return part.to_owned();
    }
    part.split('.').map(number).collect::<Vec<_>>().join(".")
}

fn number(text: &str) -> &str {
    let plain = text.trim_start_matches('0');
    if plain.starts_with(|first: char| first.is_ascii_digit()) || text.is_empty() {
        return plain;
    }
    // Only the last zero means something.
    let zeros = text.len() - plain.len();
    zeros.checked_sub(1).and_then(|last| text.get(last..)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_in_two_ways_is_found_and_nothing_else() {
        for (text, plain) in [
            ("010.0.0.0/8", "10.0.0.0/8"),
            ("10.00.000.01/32", "10.0.0.1/32"),
            ("192.168.010.1", "192.168.10.1"),
            ("10.0.0.0/08", "10.0.0.0/8"),
            ("0.0.0.0/00", "0.0.0.0/0"),
            ("010.0.0.1:0443", "10.0.0.1:0443"),
            ("::ffff:010.0.0.1/128", "::ffff:10.0.0.1/128"),
            ("2001:0db8::/032", "2001:0db8::/32"),
        ] {
            assert_eq!(removed(text).as_deref(), Some(plain), "{text}");
        }
        for text in [
            "10.0.0.0/8",
            "unix:/run/fwctl-900.sock",
            "0.0.0.0/0",
            "100.100.100.100/30",
            "2001:0db8:0000::00/32",
            "::",
            "0",
            "00",
            "",
            "x0",
        ] {
            assert_eq!(removed(text), None, "{text}");
        }
    }
}
