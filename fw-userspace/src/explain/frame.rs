//! Frames as they are asked about: brought to the form of the device, and to a length that can be asked about.

use std::fmt;

use super::caught::flow_of;
use crate::error::{Error, Result};

/// Longer frames do not fit the page that a test run of the kernel copies them to (`bpf_test_init`, net/bpf/test_run.c),
/// with room for what stands in front of them and behind.
const LONGEST: usize = 3072;

/// What a frame begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// An Ethernet header.
    Ethernet,
    /// The IP header.
    Bare,
}

/// Bytes of one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawFrame {
    /// What they begin with.
    pub link: Link,
    /// All of them, or as many as were caught.
    pub bytes: Vec<u8>,
    /// There were more on the wire.
    pub is_cut: bool,
}

const HEADER: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];

impl RawFrame {
    /// A whole frame with its Ethernet header.
    pub fn ethernet(bytes: Vec<u8>) -> Self {
        Self { link: Link::Ethernet, bytes, is_cut: false }
    }

    /// From hexadecimal digits, in which white space and colons may stand.
    pub fn from_hex(text: &str, link: Link) -> Result<Self> {
        let digits: Vec<char> =
            text.chars().filter(|digit| !digit.is_whitespace() && *digit != ':').collect();
        if let Some(wrong) = digits.iter().find(|digit| !digit.is_ascii_hexdigit()) {
            return Err(Error::input(format!(
                "{wrong:?} is no hexadecimal digit; a frame is written like \"ffffffffffff02...\""
            )));
        }
        if !digits.len().is_multiple_of(2) {
            return Err(Error::input(format!("{} digits are no whole bytes, each has two", digits.len())));
        }
        let value = |digit: &char| digit.to_digit(16).unwrap_or_default() as u8;
        let bytes: Vec<u8> = digits
            .chunks(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | value(digit)))
            .collect();
        if bytes.is_empty() {
            return Err(Error::input("the frame is empty; it is written like \"ffffffffffff02...\""));
        }
        Ok(Self { link, bytes, is_cut: false })
    }

    /// The bytes as a device with this link layer has them; of a frame that is too long, or was cut when it was caught,
    /// the beginning, whose IP header then says so. Nothing that decides reads further.
    pub(super) fn fitted(&self, link: Link) -> Vec<u8> {
        let mut bytes = match (self.link, link) {
            (Link::Ethernet, Link::Bare) => self.bytes.get(HEADER..).unwrap_or_default().to_vec(),
            (Link::Bare, Link::Ethernet) => {
                let is_ipv6 = self.bytes.first().is_some_and(|byte| byte >> 4 == 6);
                let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
                bytes.extend(if is_ipv6 { IPV6 } else { IPV4 });
                bytes.extend(&self.bytes);
                bytes
            }
            _ => self.bytes.clone(),
        };
        let is_long = bytes.len() > LONGEST;
        bytes.truncate(LONGEST);
        if is_long || self.is_cut {
            shorten(&mut bytes, link);
        }
        bytes
    }
}

impl fmt::Display for RawFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match flow_of(self) {
            Some(flow) => flow.fmt(f),
            None => write!(f, "frame of {} bytes", self.bytes.len()),
        }
    }
}

/// Makes the length in an IP header that of the bytes, if it is larger.
fn shorten(bytes: &mut [u8], link: Link) {
    let start = match link {
        Link::Bare => 0,
        Link::Ethernet => behind_tags(bytes),
    };
    let Some(header) = bytes.get_mut(start..) else { return };
    let there = header.len();
    let (at, header_length) = match header.first().map(|byte| byte >> 4) {
        Some(4) => (2, 0),
        Some(6) => (4, 40),
        _ => return,
    };
    let Some(field) = header.get_mut(at..at + 2) else { return };
    let said = usize::from(u16::from_be_bytes([field[0], field[1]]));
    let rest = there.saturating_sub(header_length);
    if said > rest {
        field.copy_from_slice(&u16::try_from(rest).unwrap_or(u16::MAX).to_be_bytes());
    }
}

/// Where the header behind Ethernet and VLAN tags begins.
fn behind_tags(bytes: &[u8]) -> usize {
    // 802.1Q, 802.1ad and its older form.
    const TAGS: [[u8; 2]; 3] = [[0x81, 0x00], [0x88, 0xa8], [0x91, 0x00]];
    let mut ethertype = 12;
    while bytes.get(ethertype..ethertype + 2).is_some_and(|found| TAGS.iter().any(|tag| found == tag)) {
        ethertype += 4;
    }
    ethertype + 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits() {
        let frame = |text| RawFrame::from_hex(text, Link::Ethernet);
        assert_eq!(frame("0a:0B\n0c").unwrap().bytes, [10, 11, 12]);
        assert!(frame("0a0").unwrap_err().to_string().contains("3 digits are no whole bytes"));
        assert!(frame("0g").unwrap_err().to_string().contains("'g' is no hexadecimal digit"));
        assert!(frame(" ").unwrap_err().to_string().contains("is empty"));
    }

    #[test]
    fn a_cut_frame_says_its_length() {
        let mut bytes = vec![0; 14];
        bytes[12..].copy_from_slice(&IPV4);
        bytes.extend([0x45, 0, 0x05, 0xdc]);
        bytes.extend([0; 36]);
        let whole = RawFrame { link: Link::Ethernet, bytes, is_cut: false };
        assert_eq!(whole.fitted(Link::Ethernet)[16..18], [0x05, 0xdc], "left as it is");
        let cut = RawFrame { is_cut: true, ..whole };
        assert_eq!(cut.fitted(Link::Ethernet)[16..18], [0, 40]);
        assert_eq!(cut.fitted(Link::Bare)[2..4], [0, 40]);
        assert_eq!(cut.fitted(Link::Bare).len(), 40);
    }

    #[test]
    fn a_long_frame_is_asked_about_by_its_beginning() {
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend(9000u16.to_be_bytes());
        bytes.extend([6; 9034]);
        let frame = RawFrame { link: Link::Bare, bytes, is_cut: false };
        let fitted = frame.fitted(Link::Ethernet);
        assert_eq!(fitted.len(), LONGEST);
        assert_eq!(fitted[12..14], IPV6);
        assert_eq!(fitted[18..20], ((LONGEST - 14 - 40) as u16).to_be_bytes());
    }
}
