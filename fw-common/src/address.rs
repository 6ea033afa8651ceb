//! Addresses: one type for both families, IPv4 in its mapped form.

/// The version of the IP header that an address came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The numeric value of sixteen bytes in network order; an IPv4 address `a` is `::ffff:a` (RFC 4291
/// section 2.5.5.2). The two never meet: mapped addresses are refused on the wire.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Address {
    /// Bytes 0 to 7.
    pub high: u64,
    /// Bytes 8 to 15.
    pub low: u64,
}

const MAPPED: u64 = 0x0000_ffff_0000_0000;

impl Address {
    /// From four bytes in network order.
    #[inline(always)]
    pub const fn from_ipv4(bytes: [u8; 4]) -> Self {
        Self { high: 0, low: MAPPED | u32::from_be_bytes(bytes) as u64 }
    }

    /// From sixteen bytes in network order.
    #[inline(always)]
    pub const fn from_ipv6(bytes: [u8; 16]) -> Self {
        let value = u128::from_be_bytes(bytes);
        Self { high: (value >> 64) as u64, low: value as u64 }
    }

    /// The sixteen bytes in network order.
    pub const fn to_bytes(self) -> [u8; 16] {
        (((self.high as u128) << 64) | self.low as u128).to_be_bytes()
    }

    /// Whether this lies in `::ffff:0:0/96`.
    #[inline(always)]
    pub const fn is_mapped(self) -> bool {
        self.high == 0 && self.low >> 32 == MAPPED >> 32
    }

    /// The IPv4 address of a mapped one.
    #[inline(always)]
    pub const fn ipv4(self) -> u32 {
        self.low as u32
    }

    /// The family that [`Address::from_ipv4`] and [`Address::from_ipv6`] made it of.
    pub const fn family(self) -> Family {
        if self.is_mapped() { Family::V4 } else { Family::V6 }
    }

    /// `0.0.0.0` or `::`.
    #[inline(always)]
    pub const fn is_unspecified(self) -> bool {
        self.high == 0 && (self.low == 0 || self.low == MAPPED)
    }

    /// `fe80::/10` (RFC 4291 section 2.5.6).
    #[inline(always)]
    pub const fn is_ipv6_link_local(self) -> bool {
        self.high >> 54 == 0xfe80 >> 6
    }

    /// Multicast, or the limited broadcast 255.255.255.255. Directed broadcasts cannot be told from unicast
    /// without the interface's netmask.
    #[inline(always)]
    pub const fn is_multicast_or_broadcast(self) -> bool {
        if self.is_mapped() {
            self.ipv4() >> 28 == 0xe || self.ipv4() == u32::MAX
        } else {
            self.high >> 56 == 0xff
        }
    }

    /// The `index`-th 16-bit chunk of the sixteen bytes, from the left; 0 past the end.
    #[inline(always)]
    pub const fn chunk(self, index: u8) -> u16 {
        let half = if index < 4 { self.high } else { self.low };
        let shift = (3u8.wrapping_sub(index) & 3).wrapping_mul(16);
        (half >> shift) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_read_from_left_to_right() {
        let bytes = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
        let address = Address::from_ipv6(bytes);
        for index in 0..8u8 {
            let expected = u16::from_be_bytes([2 * index, 2 * index + 1]);
            assert_eq!(address.chunk(index), expected, "chunk {index}");
        }
        assert_eq!(address.to_bytes(), bytes);
    }

    #[test]
    fn ipv4_addresses_are_mapped() {
        let address = Address::from_ipv4([10, 20, 1, 10]);
        assert_eq!(address.family(), Family::V4);
        assert_eq!((address.chunk(6), address.chunk(7)), (0x0a14, 0x010a));
        assert!(Address::from_ipv4([0; 4]).is_unspecified());
        assert!(!Address::from_ipv4([0, 0, 0, 1]).is_unspecified());
        assert!(Address::from_ipv6([0; 16]).is_unspecified());
    }

    #[test]
    fn kinds_of_addresses() {
        let mut bytes = [0; 16];
        bytes[0] = 0xfe;
        bytes[1] = 0xbf;
        assert!(Address::from_ipv6(bytes).is_ipv6_link_local());
        bytes[1] = 0xc0;
        assert!(!Address::from_ipv6(bytes).is_ipv6_link_local());
        assert!(Address::from_ipv4([224, 0, 0, 1]).is_multicast_or_broadcast());
        assert!(Address::from_ipv4([255, 255, 255, 255]).is_multicast_or_broadcast());
        assert!(!Address::from_ipv4([240, 0, 0, 1]).is_multicast_or_broadcast());
    }
}
