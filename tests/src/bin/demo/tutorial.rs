//! Ping between two VPCs: blocked, then allowed on both sides.

use anyhow::Result;
use fw_tests::traffic::Outcome::{Blocked, Reached};

use crate::probes::{connect, send_ping};
use crate::rules;
use crate::story::{NOBODY, Story};
use crate::world::World;

pub(crate) fn play(world: &World, story: &mut Story) -> Result<()> {
    let World { seoul_1, london, router, .. } = world;

    story.step("peering and routes", "Before any rules: the two VPCs reach each other.");
    send_ping(story, world, seoul_1, london, Reached, NOBODY)?;

    story.step(
        "default groups",
        "Each instance gets a group that allows nothing in and everything out; the subnet gets an ACL that \
         allows everything, as AWS does it.",
    );
    story.load(router, &rules::router(&[rules::everything(100)], &[rules::everything(100)]))?;
    story.load(seoul_1, &rules::instance(seoul_1, &["10.0.1.10"], &[("seoul", rules::group(&[]))]))?;
    story.load(london, &rules::london(london, &[]))?;
    send_ping(story, world, seoul_1, london, Blocked, "london-1: ingress no_group_rule")?;
    send_ping(story, world, london, seoul_1, Blocked, "seoul-1: ingress no_group_rule")?;
    connect(story, world, seoul_1, Blocked, "seoul-1: ingress no_group_rule")?;

    story.step("ICMP rule", "An ICMP rule is added to the groups on both sides.");
    let ping_rule = rules::group(&[rules::ping(rules::LONDON)]);
    story.load(seoul_1, &rules::instance(seoul_1, &["10.0.1.10"], &[("seoul", ping_rule)]))?;
    story.load(london, &rules::london(london, &[rules::ping(rules::SEOUL)]))?;
    send_ping(story, world, seoul_1, london, Reached, "london-1: london ingress ping")?;
    send_ping(story, world, london, seoul_1, Reached, "seoul-1: seoul ingress ping")?;
    connect(story, world, seoul_1, Blocked, "seoul-1: ingress no_group_rule")
}
