//! The decision core of fwctl: everything that decides a packet's fate, once.
//!
//! The same source is compiled to BPF (by `fw-ebpf`, behind XDP and TC hooks) and to the host (simulation,
//! tests, dry runs). It is generic over two traits and no third: [`Frame`], the bytes of one packet, and
//! [`Tables`], the rules, the connections and the clock.
//!
//! Invariants: nothing here allocates, panics, reads a clock by itself or holds a packet pointer; no function
//! body contains a `cfg`; every loop has a bound from [`limits`]; the only unsafe is in `pod`, which the BPF
//! build does not see.
//!
//! Units and byte order: ports are host-order `u16`, addresses are [`Address`] (the numeric value of sixteen
//! bytes in network order), times are nanoseconds of `CLOCK_MONOTONIC` unless the name says otherwise.
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`decide`] | [`decide::judge`]: generation in force → interface → frame → verdict |
//! | `layers` | the two layers: `ingress` and `egress` in AWS's order |
//! | [`wire`], [`packet`] | one frame reduced to what rules can see, or a named refusal |
//! | [`exempt`] | what always passes, with its exact conditions |
//! | [`layout`], [`classify`] | a generation of tables in 64-byte lines, and the searches in it |
//! | [`flow`], [`conntrack`], [`related`], [`fragment`] | connections, ICMP errors about them, fragments |
//! | [`store`] | where connections are kept |
//! | [`verdict`] | every reason a packet passes or is dropped for |
//! | [`event`] | what is told of single packets to whoever listens |
//! | [`flow_log`] | what is added up of flows for whoever keeps a log of them |

#![no_std]
#![cfg_attr(not(feature = "user"), forbid(unsafe_code))]
#![cfg_attr(feature = "user", deny(unsafe_code))]
// What would be a panic on the host is a program that the verifier refuses.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

#[cfg(feature = "std")]
extern crate std;

pub mod address;
pub mod classify;
pub mod conntrack;
pub mod decide;
pub mod event;
pub mod exempt;
pub mod flow;
pub mod flow_log;
pub mod fragment;
pub mod frame;
mod layers;
pub mod layout;
pub mod limits;
#[cfg(feature = "std")]
pub mod memory;
pub mod openings;
pub mod packet;
#[cfg(feature = "user")]
#[allow(unsafe_code, reason = "plain-data promises for the types that cross into the kernel")]
mod pod;
pub mod rehearsed;
pub mod related;
pub mod store;
pub mod tables;
pub mod tokens;
pub mod verdict;
pub mod wire;

pub use address::{Address, Family};
pub use decide::{Hook, Scratch, Sighting, judge, rehearse};
pub use flow::{Direction, FlowKey};
pub use frame::Frame;
pub use tables::Tables;
pub use verdict::{Decision, Layer, REASON_SLOTS_PER_ZONE, Reason, Verdict};
