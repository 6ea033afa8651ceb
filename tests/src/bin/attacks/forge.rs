//! Frames of one packet with another sender each, made as fast as a flood needs them.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Result, bail};
use fw_tests::packet::{Body, Network, Packet};

/// Behind an Ethernet header and an IPv4 header without options.
const TRANSPORT: usize = 34;
const IP_SUM: usize = 24;
const IP_SOURCE: usize = 26;

/// A packet over IPv4 whose sender, and what else is named, is written in place, with the checksums that go with it.
#[derive(Clone)]
pub(crate) struct Forge {
    frame: Vec<u8>,
    /// Where the transport's checksum is, and whether the addresses are in it.
    sum: usize,
    has_addresses: bool,
}

impl Forge {
    /// Of TCP, UDP or ICMP.
    pub(crate) fn new(packet: &Packet) -> Result<Self> {
        let Network::Ip(ip) = &packet.network else { bail!("not a packet that can be forged") };
        let (sum, has_addresses) = match ip.body {
            Body::Tcp(_) => (16, true),
            Body::Udp { .. } => (6, true),
            Body::Icmp(_) => (2, false),
            Body::Other { .. } => bail!("a protocol whose checksum is unknown"),
        };
        Ok(Self { frame: packet.build(), sum: TRANSPORT + sum, has_addresses })
    }

    /// From somebody; to an ICMP echo the port is its identifier.
    pub(crate) fn from(&self, sender: SocketAddrV4) -> Self {
        let mut forged = self.clone();
        let port_at = TRANSPORT + if self.has_addresses { 0 } else { 4 };
        forged.address(*sender.ip());
        forged.put(port_at, sender.port(), self.sum);
        forged
    }

    /// With these numbers of TCP.
    pub(crate) fn numbers(mut self, seq: u32, ack: u32) -> Self {
        for (at, number) in [(TRANSPORT + 4, seq), (TRANSPORT + 8, ack)] {
            self.put(at, (number >> 16) as u16, self.sum);
            self.put(at + 2, number as u16, self.sum);
        }
        self
    }

    fn address(&mut self, address: Ipv4Addr) {
        let [a, b, c, d] = address.octets();
        for (at, word) in [(IP_SOURCE, [a, b]), (IP_SOURCE + 2, [c, d])] {
            let word = u16::from_be_bytes(word);
            if self.has_addresses {
                // The word that is replaced must still be there when the second checksum is mended.
                self.mend(at, word, self.sum);
            }
            self.put(at, word, IP_SUM);
        }
    }

    fn put(&mut self, at: usize, word: u16, sum: usize) {
        self.mend(at, word, sum);
        self.frame[at..at + 2].copy_from_slice(&word.to_be_bytes());
    }

    /// Makes a checksum that of a frame with another word there (RFC 1624).
    fn mend(&mut self, at: usize, word: u16, sum: usize) {
        let read = |at: usize| u16::from_be_bytes([self.frame[at], self.frame[at + 1]]);
        let mut new = u32::from(!read(sum)) + u32::from(!read(at)) + u32::from(word);
        new = (new & 0xffff) + (new >> 16);
        new = (new & 0xffff) + (new >> 16);
        self.frame[sum..sum + 2].copy_from_slice(&(!(new as u16)).to_be_bytes());
    }
}

impl AsRef<[u8]> for Forge {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}

#[cfg(test)]
mod tests {
    use fw_tests::packet::{self, flag};

    use super::*;

    #[test]
    fn what_is_forged_is_what_the_builder_writes() {
        let sender = SocketAddrV4::new(Ipv4Addr::new(198, 19, 255, 254), 0xfffe);
        let syn = |from: SocketAddrV4, seq, ack| {
            packet::tcp((*from.ip(), from.port()), "10.77.1.3:443").flags(flag::ACK).seq(seq).ack(ack)
        };
        let somebody = SocketAddrV4::new(Ipv4Addr::new(1, 2, 3, 4), 5);
        let forged = Forge::new(&syn(somebody, 6, 7)).unwrap().from(sender).numbers(0xfedc_ba98, 0x89ab_cdef);
        assert_eq!(forged.as_ref(), syn(sender, 0xfedc_ba98, 0x89ab_cdef).build());

        let ping = |from: SocketAddrV4| packet::icmp(*from.ip(), "10.77.1.3", 8, 0).id(from.port());
        let forged = Forge::new(&ping(somebody)).unwrap().from(sender);
        assert_eq!(forged.as_ref(), ping(sender).build());

        let udp = |from: SocketAddrV4| packet::udp((*from.ip(), from.port()), "10.77.1.3:53");
        let forged = Forge::new(&udp(somebody)).unwrap().from(sender);
        assert_eq!(forged.as_ref(), udp(sender).build());
    }
}
