//! How many flows one CPU may begin: more than that is a flood, and then costs no more than it must.
//!
//! The count is of each CPU's own, so a flood in one receive queue takes nothing from flows that arrive in another.

use crate::tokens::Tokens;

/// What a CPU has begun lately: at most a million flows a second, a few times what one CPU can also serve, and a burst of
/// a quarter of a second.
pub(crate) type Openings = Tokens<{ 1 << 14 }, 16>;

/// Flows that may be begun at once.
pub const MOST_AT_ONCE: u32 = Openings::MOST_AT_ONCE;
