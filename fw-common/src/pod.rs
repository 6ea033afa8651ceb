//! Promises to aya that a type is plain data: no padding, no pointers, every bit pattern valid.

use crate::event::{Event, Teller};
use crate::flow_log::{Flow, Tally};
use crate::fragment::{Datagram, FragmentKey};
use crate::layout::Line;
use crate::verdict::Counter;

macro_rules! plain {
    ($($type:ty = $size:literal;)*) => {$(
        // The size is the sum of the fields' sizes: no implicit padding.
        const _: () = assert!(size_of::<$type>() == $size);
        // SAFETY: `repr(C)`, integers and arrays of integers only, no padding (asserted above).
        unsafe impl aya::Pod for $type {}
    )*};
}

plain! {
    Line = 64;
    FragmentKey = 48;
    Datagram = 24;
    Counter = 16;
    Event = 80;
    Teller = 24;
    Flow = 48;
    Tally = 56;
}

macro_rules! read {
    ($($type:ty: $says:literal;)*) => {$(
        impl $type {
            #[doc = $says]
            pub fn read(bytes: &[u8]) -> Option<Self> {
                let bytes = bytes.first_chunk::<{ size_of::<Self>() }>()?;
                // SAFETY: so many bytes are there, at whatever place, and all of them are valid, as promised above.
                let value = unsafe { bytes.as_ptr().cast::<Self>().read_unaligned() };
                Some(value)
            }
        }
    )*};
}

read! {
    Event: "As a program left it in the ring; `None` of fewer bytes.";
    Flow: "As a program left it in a map; `None` of fewer bytes.";
    Tally: "As a program left it in a map; `None` of fewer bytes.";
}
