//! What a change of rules does to a connection that is open.

use anyhow::Result;
use fw_tests::traffic::{LiveTcp, Outcome, tcp_connect};

use crate::rules::{LONDON, entry, everything, group, instance, router, tcp};
use crate::story::Story;
use crate::world::World;

/// A service of its own, so that the only connection to it is the live one.
const APP: u16 = 5000;

pub(crate) fn play(world: &World, story: &mut Story) -> Result<()> {
    let World { seoul_1, london, router: gateway, .. } = world;
    let path = [london, gateway, seoul_1];
    let sent = format!("{}: a line and its answer, on the open connection", london.name);

    story.step("live: group", "A rule lets London in; a connection is opened and stays open.");
    story.load(seoul_1, &instance(seoul_1, &["10.0.1.10"], &[("app", group(&[tcp("app", APP)]))]))?;
    let mut live =
        LiveTcp::open(&london.namespace, (london.address, 0), &seoul_1.namespace, (seoul_1.address, APP))?;
    story.expect(&path, &sent, Outcome::Reached, "seoul-1: ingress established", || exchange(&mut live))?;
    story.say("The rule is removed: the open connection goes on, a new one is blocked.");
    story.load(seoul_1, &instance(seoul_1, &["10.0.1.10"], &[("app", group(&[]))]))?;
    story.expect(&path, &sent, Outcome::Reached, "seoul-1: ingress established", || exchange(&mut live))?;
    let connect = format!("{}: TCP {}:{APP}, new", london.name, seoul_1.address);
    story.expect(&path, &connect, Outcome::Blocked, "seoul-1: ingress no_group_rule", || {
        tcp_connect(&london.namespace, (london.address, 0), (seoul_1.address, APP))
    })?;

    story.step("live: ACL", "A deny in the ACL cuts the same connection at once.");
    story.load(gateway, &router(&[entry(90, "deny", APP, LONDON), everything(100)], &[everything(100)]))?;
    story.expect(&path, &sent, Outcome::Blocked, "router: acl-seoul ingress 90", || exchange(&mut live))
}

fn exchange(live: &mut LiveTcp) -> Result<Outcome> {
    Ok(if live.exchange() { Outcome::Reached } else { Outcome::Blocked })
}
