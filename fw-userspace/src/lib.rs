//! AWS security group and network ACL semantics on Linux hosts: the library behind `fwctl`.
//!
//! A rules file is read into a checked [`model::Policy`] by [`document::read`]; everything behind that works on the
//! model and never looks at the file again. Dependencies point one way only: `document -> model`, and from there
//! to what compiles, simulates and loads it.

pub mod calendar;
pub mod compile;
pub mod datapath;
pub mod diff;
pub mod document;
pub mod error;
pub mod explain;
pub mod flow_log;
mod fnv;
pub mod input;
mod leading_zeros;
pub mod lint;
pub mod metrics;
pub mod model;
pub mod nearest;
pub mod printable;
pub mod rates;
pub mod reasons;
pub mod report;
mod same_file;
pub mod serve;
pub mod simulate;
pub mod top;
