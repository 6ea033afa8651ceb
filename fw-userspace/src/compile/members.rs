//! Group members that come and go: only the search by address changes, and of it only what leads to their addresses.
//!
//! Classes and rows stay as they are. That works as long as the addresses that a member has become like some that the
//! rules know already, which is nearly always so in a group that has other members; else everything is compiled anew.

use std::collections::HashMap;
use std::net::IpAddr;

use fw_common::Family;
use fw_common::layout::{Kind, Link, Root, RootLine, table_lines};

use super::classes::{Classes, SetId};
use super::heap::{Full, Heap, Patch};
use super::image::Held;
use super::tree;

/// Members of groups, as a generation knows them.
#[derive(Debug, Clone)]
pub struct Members {
    classes: [Classes; 2],
    groups: HashMap<String, SetId>,
}

/// An address becomes that of a member of a group, or stops being one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The group.
    pub group: String,
    /// The address. When it leaves, no other member has it.
    pub address: IpAddr,
    /// Joins or leaves.
    pub joins: bool,
}

/// Everything has to be compiled anew: the rules would tell addresses apart that they did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileAnew;

impl Members {
    /// Groups that no rule refers to have no set, and their members change nothing.
    pub(super) fn new(classes: [Classes; 2], groups: HashMap<String, SetId>) -> Self {
        Self { classes, groups }
    }

    /// The generation at `live`, with other members and the given number and predecessor. After an error this value
    /// means nothing.
    pub fn change(
        &mut self,
        held: &Held<'_>,
        live: u32,
        root: Root,
        changes: &[Change],
    ) -> Result<Patch, CompileAnew> {
        let before = held.lines.get(live as usize).map(RootLine).ok_or(CompileAnew)?;
        let mut changed: [Vec<u128>; 2] = [Vec::new(), Vec::new()];
        for Change { group, address, joins } in changes {
            let Some(set) = self.groups.get(group) else { continue };
            let (family, key) = match address {
                IpAddr::V4(address) => (0, u128::from(u32::from(*address))),
                IpAddr::V6(address) => (1, u128::from(*address)),
            };
            self.classes[family].change(key, *set, *joins)?;
            changed[family].push(key);
        }
        // The root is written anew, and where a table stands behind it, that.
        let before_lines = Root::from_line(before.0).lines;
        let table = match before.tree(Family::V4).kind() {
            Kind::Table(width) => table_lines(width),
            _ => 1,
        };
        let mut heap = Heap::sharing(held, before_lines.saturating_sub(table + 1));
        let full = |Full| CompileAnew;
        let [ipv4, ipv6] = &self.classes;
        let [old_ipv4, old_ipv6] = [Family::V4, Family::V6].map(|family| before.tree(family));
        let ipv4 = match changed[0].as_slice() {
            [] => old_ipv4,
            keys => tree::change_ipv4(&mut heap, old_ipv4, ipv4.steps(), keys).map_err(full)?,
        };
        let ipv6: Link = match changed[1].as_slice() {
            [] => old_ipv6,
            _ => ipv6.search(&mut heap).map_err(full)?,
        };
        let root = Root {
            generation: root.generation,
            previous: root.previous,
            ipv4: ipv4.0,
            ipv6: ipv6.0,
            deadline_ns: 0,
            ..Root::from_line(before.0)
        };
        heap.finish(root).map_err(full)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use fw_common::Tables;
    use fw_common::classify::Generation;
    use fw_common::layout::{Line, head};
    use fw_common::memory::MemoryTables;

    use super::*;
    use crate::compile::lcg::Lcg;
    use crate::compile::{Numbering, compile, pretend_bindings};
    use crate::model::Policy;

    /// A group with members, which a rule of another interface refers to, and CIDRs around and beside them.
    fn policy(members: &[IpAddr]) -> Policy {
        let members: Vec<String> = members.iter().map(|member| format!("\"{member}\"")).collect();
        let text = format!(
            r#"{{"version": 1, "security_groups": {{
                "web": {{"ingress": [{{"protocol": "tcp", "from_port": 80, "to_port": 80, "security_groups": ["lb"]}},
                    {{"protocol": "udp", "from_port": 53, "to_port": 53, "cidr_blocks": ["10.0.0.0/9", "10.1.2.0/24"]}}]}},
                "lb": {{"ingress": []}} }},
            "interfaces": {{ "web": {{"device": "web0", "security_groups": ["web"]}},
                "lb": {{"addresses": [{}], "security_groups": ["lb"]}} }} }}"#,
            members.join(",")
        );
        let reading = crate::document::read(text.as_bytes());
        reading.policy.unwrap_or_else(|| panic!("{:?}", reading.findings))
    }

    fn class_of(image: &[Line], address: IpAddr) -> u32 {
        let mut tables = MemoryTables::new(1);
        tables.publish(image);
        let tables = &tables;
        let root = RootLine(tables.line(tables.live()).expect("just published"));
        let (family, address) = match address {
            IpAddr::V4(address) => (Family::V4, fw_common::Address::from_ipv4(address.octets())),
            IpAddr::V6(address) => (Family::V6, fw_common::Address::from_ipv6(address.octets())),
        };
        Generation { tables, root }.classify(family, &address).0
    }

    #[test]
    fn members_that_come_and_go_are_as_if_they_had_been_written_down() {
        let mut random = Lcg::new(11);
        // Inside and outside of the CIDRs, so that every kind of member is known.
        let address = |random: &mut Lcg| {
            let network = [0x0a01_0000, 0x0a01_0200, 0x0aff_0000, 0xc0a8_0000][random.below(4) as usize];
            IpAddr::from(Ipv4Addr::from(network | random.below(60)))
        };
        let mut members: Vec<IpAddr> = (0..120).map(|_| address(&mut random)).collect();
        members.sort_unstable();
        members.dedup();
        let first = policy(&members);
        let compiled =
            compile(&first, &pretend_bindings(&first), Numbering::default(), 1).expect("it compiles");
        let (mut image, mut known) = (compiled.patch.image(), compiled.members);
        for generation in 2..60 {
            let address = address(&mut random);
            let joins = !members.contains(&address);
            if joins {
                members.push(address);
            } else {
                members.retain(|member| *member != address);
            }
            let live = image[0].word(head::LIVE);
            let held = Held::by(&image, &[live]).expect("not damaged");
            let root = Root { generation, previous: live, ..Root::default() };
            let change = Change { group: "lb".to_owned(), address, joins };
            let patch = known.change(&held, live, root, &[change]).expect("such members are known");
            image.resize(image.len().max(patch.end as usize), Line::default());
            for (number, line) in &patch.lines {
                image[*number as usize] = *line;
            }
            image[0].set_word(head::LIVE, patch.root);

            let whole = policy(&members);
            let whole =
                compile(&whole, &pretend_bindings(&whole), Numbering::default(), 1).expect("it compiles");
            let (expected, got) = (whole.patch.image(), &image);
            for probe in 0..60 {
                for network in [0x0a01_0000, 0x0a01_0200, 0x0aff_0000, 0xc0a8_0000, 0x0a80_0000] {
                    let probe = IpAddr::from(Ipv4Addr::from(network | probe));
                    // Numbers of classes are each compilation's own; both have them in the order of their sets.
                    assert_eq!(class_of(got, probe), class_of(&expected, probe), "{probe} at {generation}");
                }
            }
        }
    }

    #[test]
    fn a_member_like_no_other_needs_everything_compiled_anew() {
        let inside: IpAddr = "10.1.2.3".parse().expect("valid");
        let first = policy(&[inside]);
        let compiled =
            compile(&first, &pretend_bindings(&first), Numbering::default(), 1).expect("it compiles");
        let (image, mut members) = (compiled.patch.image(), compiled.members);
        let live = image[0].word(head::LIVE);
        let held = Held::by(&image, &[live]).expect("not damaged");
        let outside = "192.168.0.1".parse().expect("valid");
        let change = Change { group: "lb".to_owned(), address: outside, joins: true };
        let changed = members.change(&held, live, Root::default(), &[change]);
        assert_eq!(changed.map(|patch| patch.root), Err(CompileAnew));
    }
}
