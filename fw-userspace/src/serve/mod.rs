//! What runs for as long as the host does.

pub mod http;
