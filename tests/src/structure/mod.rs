//! What a packet's way through the programs costs, in figures that no clock and no neighbour disturbs.
//!
//! [`object`] links the programs as the loader does, [`shape`] reads what their functions hold, [`translated`] what the
//! kernel made of them; [`emulate`] runs them, [`host`] gives them rules, [`packets`] sends packets through; and
//! [`ceilings`] keeps the figures that none may rise above.

pub mod ceilings;
pub mod emulate;
pub mod host;
pub mod instruction;
pub mod object;
pub mod packets;
pub mod shape;
pub mod translated;
