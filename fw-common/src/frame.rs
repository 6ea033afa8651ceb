//! The bytes of one packet, however they are stored.

/// What the link layer of a frame looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// An Ethernet header at offset 0. `tags` VLAN tags were already taken out of the frame into metadata.
    Ethernet {
        /// 0 or 1.
        tags: u8,
    },
    /// No link-layer header: the IP header stands at offset 0.
    Bare,
}

/// Bounded reads **by value**: no packet pointer enters the core, so none can be outlived or forgotten to be
/// checked. Slices over packet memory are refused by the verifier (seen on Linux 6.18: "offset is outside of
/// the packet").
#[allow(clippy::len_without_is_empty, reason = "no hook hands out an empty frame")]
pub trait Frame {
    /// `N` bytes at `offset`, in whatever buffer of the packet they lie; `None` past the end.
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;

    /// `N` words of 8 bytes from `offset` on, in network order, where they all lie in the first buffer; `None` also
    /// where they merely do not. For an offset that is known when this is compiled: one check for all of them.
    fn words<const N: usize>(&self, offset: u32) -> Option<[u64; N]>;

    /// Bytes of the frame over all its buffers, from the link-layer header on.
    fn len(&self) -> u32;

    /// [`Self::len`] where it is less than `end`; else any number from `end` up to it, whatever is cheap to tell.
    fn len_from(&self, end: u32) -> u32;

    /// Returns `value`. In BPF it goes by way of memory, so that the verifier forgets what it knew of it: where paths
    /// meet that differ in nothing but this value, what follows is then verified once and not once for each path (a
    /// parser would need more than its million instructions otherwise, Linux 6.18).
    fn forget(&self, value: u32) -> u32;

    /// Wire packets that this frame becomes: above 1 only where segmentation is still to come (TC).
    fn segments(&self) -> u32;
}

/// A big-endian `u16` at `offset`.
#[inline(always)]
pub fn load_u16<F: Frame>(frame: &F, offset: u32) -> Option<u16> {
    frame.load::<2>(offset).map(u16::from_be_bytes)
}
