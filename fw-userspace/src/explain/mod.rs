//! What happens to a packet, and why: never computed here, but asked of the decision core, either as the twins of the
//! attached programs run it in the kernel on what is in force, or on the host on the compiled rules of a file.

mod capture;
mod caught;
mod change;
mod clients;
mod flow;
mod frame;
mod path;
mod source;

pub use capture::{CaptureReport, Group, Way, summarise};
pub use change::Change;
pub use clients::{Client, ClientPorts};
pub use flow::{Endpoint, Flow, IcmpType, parse_flags};
pub use frame::{Link, RawFrame};
pub use path::{FamilyPath, PathReport, Service, Step, walk_in_force, walk_rules};
pub use source::{AclEntry, Explainer, Explanation, GroupRule, RuleNumber};
