//! Where in a file something of the model was written.

use ipnet::IpNet;

use fw_common::Direction;

/// A thing of the rules; the reader of the file knows its line and column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place<'p> {
    /// The name of a network ACL.
    Acl(&'p str),
    /// An entry of one; numbers are unique in a direction.
    Entry(&'p str, Direction, u16),
    /// The name of a security group.
    Group(&'p str),
    /// A rule of one, by its place in the list; the group itself where the list is AWS's default.
    Rule(&'p str, Direction, usize),
    /// A CIDR of a rule, host bits cleared.
    RuleNet(&'p str, Direction, usize, IpNet),
    /// A group that a rule names, itself included.
    RuleGroup(&'p str, Direction, usize, &'p str),
    /// A prefix list that a rule names.
    RuleList(&'p str, Direction, usize, &'p str),
    /// The name of a prefix list.
    PrefixList(&'p str),
    /// The name of an interface.
    Interface(&'p str),
}
