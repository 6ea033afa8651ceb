//! Odd frames and odd skbs, by test runs of the bytecode and by real devices: what a deny-all should stop does not get
//! through, what is allowed does, and each refusal has its name. Needs root.
//!
//! What cannot be made: ports more than 32 KiB into a frame. Eight extension headers of 2048 bytes, the most that are
//! walked, put them at 16 KiB.

mod bare;
mod buffers;
mod bytes;
mod exempt;
mod kinds;
mod linear;
mod offload;
mod short;
mod tags;
mod twin;
mod wire;
