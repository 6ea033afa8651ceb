//! Every kind of finding: its code, how bad it is, what it means and what to do. `docs/lints.md` is printed from here.

use std::fmt::Write as _;

use serde::{Serialize, Serializer};

use crate::document::Severity;

macro_rules! codes {
    ($( #[doc = $says:literal] $name:ident = $code:literal, $severity:ident, $remedy:literal; )*) => {
        /// What kind of finding it is. Codes are stable: new ones may come, none is renamed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $( #[doc = $says] $name, )*
        }

        impl Code {
            /// All, errors first.
            pub const ALL: &[Self] = &[$( Self::$name ),*];

            /// As `--deny` and `--allow` take it.
            pub fn name(self) -> &'static str {
                match self { $( Self::$name => $code, )* }
            }

            /// Unless `--deny` says otherwise.
            pub fn severity(self) -> Severity {
                match self { $( Self::$name => Severity::$severity, )* }
            }

            /// What helps.
            pub fn remedy(self) -> &'static str {
                match self { $( Self::$name => $remedy, )* }
            }

            /// What it means, in a sentence.
            pub fn says(self) -> &'static str {
                match self { $( Self::$name => $says.trim_ascii_start(), )* }
            }
        }
    };
}

codes! {
    /// The text is not JSON, not UTF-8, empty or too large.
    NotJson = "not-json", Error, "correct the text at this place; nothing behind it was looked at";
    /// An object has a key that the format does not know.
    KeyUnknown = "key-unknown", Error, "correct the key or remove it; remarks go under \"description\"";
    /// A key or a name stands twice in one object.
    KeyDuplicate = "key-duplicate", Error, "remove or rename one of the two";
    /// A key is missing that the object needs.
    KeyMissing = "key-missing", Error, "add the key";
    /// A value is of the wrong type or out of its range.
    ValueInvalid = "value-invalid", Error, "write a value that is accepted here";
    /// A value is good by itself, but not beside the others of the file.
    ValueConflict = "value-conflict", Error, "change this value or the one that it contradicts";
    /// A name stands for nothing in this file.
    NameUnknown = "name-unknown", Error, "correct the name, or add what it names";
    /// The file itself cannot be read.
    FileUnreadable = "file-unreadable", Error, "name a rules file that this user may read";
    /// An entry can never decide: entries of lower number, alone or together, match all that it matches.
    AclEntryShadowed = "acl-entry-shadowed", Warning,
        "remove the entry, or give it a lower number than those that decide in its place";
    /// An entry matches exactly what an entry of lower number matches.
    AclEntryDuplicate = "acl-entry-duplicate", Warning, "remove one of the two";
    /// An entry names addresses of the subnet itself, whose traffic with itself no network ACL judges.
    AclEntryInsideSubnet = "acl-entry-inside-subnet", Warning,
        "filter inside a subnet by security groups; remove the entry";
    /// A network ACL lets requests pass in one direction, but not all replies in the other.
    AclReplyBlocked = "acl-reply-blocked", Warning,
        "a network ACL is stateless: allow the replies by an entry of the other direction (tcp and udp to ports 1024 to 65535, echo replies of ICMP)";
    /// No subnet has this network ACL.
    AclUnused = "acl-unused", Warning, "name it by a subnet's \"network_acl\", or remove it";
    /// No interface has this group, and no rule names it.
    GroupUnused = "group-unused", Warning, "name it by an interface's \"security_groups\", or remove it";
    /// A rule names a group that no interface has: this peer matches nothing.
    GroupReferenceEmpty = "group-reference-empty", Warning,
        "add the interfaces of the group, remote ones with their addresses, or remove the reference";
    /// A rule names a group that does not exist, or that is of a VPC or region out of reach.
    GroupReferenceStale = "group-reference-stale", Warning, "correct or remove the reference";
    /// A rule says the same as one above it, host bits cleared.
    GroupRuleDuplicate = "group-rule-duplicate", Warning, "remove one of the two";
    /// A rule names a peer for the same traffic as a rule above it, host bits cleared; AWS refuses that.
    GroupPeerDuplicate = "group-peer-duplicate", Warning, "remove the peer from one of the two rules";
    /// None of the peers of a rule can match anything.
    RuleWithoutEffect = "rule-without-effect", Warning,
        "give the rule a peer that can match, or remove it";
    /// A prefix list has no entries: a rule that names it matches nothing.
    PrefixListEmpty = "prefix-list-empty", Warning, "add entries, or remove the list and what names it";
    /// No rule names this prefix list.
    PrefixListUnused = "prefix-list-unused", Warning, "name it by a rule's \"prefix_lists\", or remove it";
    /// A protocol of one address family stands with a CIDR of the other.
    FamilyMismatch = "family-mismatch", Warning, "use icmp with IPv4 CIDRs and icmpv6 with IPv6 CIDRs";
    /// ICMP type and code are given where they are not looked at.
    IcmpFieldsIgnored = "icmp-fields-ignored", Warning, "use protocol icmp for IPv4";
    /// No host sends this ICMP code with this type.
    IcmpNeverSent = "icmp-never-sent", Warning, "use \"icmp_code\": -1 for any code of the type";
    /// A port of administration is open to every address.
    OpenAdministration = "open-administration", Warning,
        "allow the networks of the administrators only, best by a prefix list";
    /// A port of a database, a cache or a message broker is open to every address.
    OpenDatabase = "open-database", Warning, "allow the groups of the clients only, by \"security_groups\"";
    /// Every protocol and port is open to every address.
    OpenEverything = "open-everything", Warning, "allow the protocols and ports that are served";
    /// Flows of an open service are not tracked, and no rule lets in the ICMP error that says how large packets may be.
    PathMtuBlocked = "path-mtu-blocked", Note,
        "allow icmp type 3 code 4 from 0.0.0.0/0, and icmpv6 type 2 from ::/0";
    /// Two devices are in one subnet: answers may leave by the other one, and each sees one direction of a connection.
    ConnectionsOneSided = "connections-one-sided", Note,
        "route answers by the device that the requests came by (ip rule, a table for each source address), open the rules to everywhere in both directions (not tracked then), or set \"mid_stream\": \"pickup\"";
    /// An interface that has neither a group nor a network ACL is not filtered.
    InterfaceUnfiltered = "interface-unfiltered", Warning, "name a group or a subnet, or remove the device";
    /// A quota of AWS is exceeded; this host has no such limit.
    QuotaExceeded = "quota-exceeded", Warning,
        "split the rules over more groups or use wider CIDRs if they are to fit an AWS account";
    /// A list has the same element twice.
    ValueRepeated = "value-repeated", Warning, "remove one of the two";
    /// A key says nothing without another one.
    KeyWithoutDevice = "key-without-device", Warning, "add a \"device\", or remove the key";
    /// A device that a glob takes belongs to another interface, which says more of its name.
    DeviceException = "device-exception", Note,
        "nothing, if that is meant; the name wins over globs, and the longer glob over the shorter";
    /// Host bits of a CIDR are set; they are cleared.
    HostBitsCleared = "host-bits-cleared", Note, "write the network's own address";
}

impl Code {
    /// The code of this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.name() == name)
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The text of `docs/lints.md`.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Findings\n\n\
         What `fwctl check` finds in a rules file, by code. An error cannot be allowed; `--deny CODE` makes a warning or a\n\
         note an error of this run, `--allow CODE` says nothing of it, and both take `all`; a code by name outweighs `all`.\n\
         This page is generated from the table in `fw-userspace/src/lint/code.rs`.\n",
    );
    for (title, severity) in
        [("Errors", Severity::Error), ("Warnings", Severity::Warning), ("Notes", Severity::Note)]
    {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n## {title}\n\n| code | means | help |\n| --- | --- | --- |\n");
        for code in Code::ALL.iter().filter(|code| code.severity() == severity) {
            let _ = writeln!(text, "| `{}` | {} | {} |", code.name(), code.says(), code.remedy());
        }
    }
    text
}
