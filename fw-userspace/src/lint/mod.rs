//! What is wrong with rules that are in order: findings about a checked [`Policy`], each with a [`Code`].
//!
//! One file per idea. A lint looks at the model alone, never at the file or the host, and says where by a [`Place`];
//! [`crate::document::check`] knows its line and column. The reader's own findings have codes of the same table.

mod acl;
mod code;
mod groups;
mod icmp;
mod levels;
mod one_sided;
mod open;
mod path_mtu;
mod peers;
mod place;

use crate::model::Policy;

pub use code::{Code, markdown};
pub use levels::Levels;
pub(crate) use place::Place;

/// Where findings go.
pub(crate) struct Lints<'s, 'p> {
    say: &'s mut dyn FnMut(Place<'p>, Code, String),
}

impl<'p> Lints<'_, 'p> {
    fn say(&mut self, place: Place<'p>, code: Code, message: String) {
        (self.say)(place, code, message);
    }
}

/// Everything that can be said about a policy, in no order.
pub(crate) fn run<'p>(policy: &'p Policy, say: &mut dyn FnMut(Place<'p>, Code, String)) {
    let mut lints = Lints { say };
    acl::check(policy, &mut lints);
    groups::check(policy, &mut lints);
    peers::check(policy, &mut lints);
    icmp::check(policy, &mut lints);
    open::check(policy, &mut lints);
    path_mtu::check(policy, &mut lints);
    one_sided::check(policy, &mut lints);
}

/// Every rule as it was written, with the group that has it, its direction and its place there.
fn rules(
    policy: &Policy,
) -> impl Iterator<Item = (&str, fw_common::Direction, usize, &crate::model::GroupRule)> {
    use fw_common::Direction::{Egress, Ingress};
    policy.security_groups.iter().flat_map(|(name, group)| {
        let ingress =
            group.ingress.iter().enumerate().map(move |(index, rule)| (name.as_str(), Ingress, index, rule));
        ingress.chain(
            group.egress.iter().enumerate().map(move |(index, rule)| (name.as_str(), Egress, index, rule)),
        )
    })
}
