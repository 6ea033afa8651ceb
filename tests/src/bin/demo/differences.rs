//! The five differences between a security group and a network ACL, each by packets.

use anyhow::Result;
use fw_tests::traffic::Outcome::{Blocked, Reached};
use serde_json::{Value, json};

use crate::probes::{connect, connect_from};
use crate::rules::{LONDON, entry, everything, group, instance, ports, router, tcp};
use crate::story::Story;
use crate::world::{HTTP, Host, LONDON_OTHER, SSH, World};

pub(crate) fn play(world: &World, story: &mut Story) -> Result<()> {
    scope(world, story)?;
    policy(world, story)?;
    replies(world, story)?;
    evaluation(world, story)?;
    application(world, story)
}

/// An instance in Seoul with one group.
fn with_group(host: &Host, name: &str, ingress: &[Value]) -> Value {
    instance(host, &[&host.address.to_string()], &[(name, group(ingress))])
}

/// Which everybody who may connect passes.
fn open_acl() -> Value {
    router(&[everything(100)], &[everything(100)])
}

fn scope(world: &World, story: &mut Story) -> Result<()> {
    let World { seoul_1, seoul_2, .. } = world;
    story.step(
        "1 scope: group",
        "A group filters the instances that carry it: a web rule on seoul-1 opens nothing on seoul-2 beside it.",
    );
    story.load(seoul_1, &with_group(seoul_1, "web", &[tcp("http", HTTP)]))?;
    story.load(seoul_2, &with_group(seoul_2, "default", &[]))?;
    connect(story, world, seoul_1, Reached, "seoul-1: web ingress http")?;
    connect(story, world, seoul_2, Blocked, "seoul-2: ingress no_group_rule")?;

    story.step(
        "1 scope: ACL",
        "An ACL filters the whole subnet: both instances now carry the web group, and one entry closes both.",
    );
    story.load(seoul_2, &with_group(seoul_2, "web", &[tcp("http", HTTP)]))?;
    connect(story, world, seoul_2, Reached, "seoul-2: web ingress http")?;
    let closed = router(&[entry(90, "deny", HTTP, LONDON), everything(100)], &[everything(100)]);
    story.load(&world.router, &closed)?;
    for host in [seoul_1, seoul_2] {
        connect(story, world, host, Blocked, "router: acl-seoul ingress 90")?;
    }
    story.load(&world.router, &open_acl())
}

fn policy(world: &World, story: &mut Story) -> Result<()> {
    let World { seoul_1, .. } = world;
    let both = [world.london.address, LONDON_OTHER];
    story.step(
        "2 policy: group",
        "A group can only allow. London may connect, so both of London's addresses may; a deny for one of them \
         cannot even be loaded, and what was loaded stays.",
    );
    for from in both {
        connect_from(story, world, from, (seoul_1, HTTP), Reached, "seoul-1: web ingress http")?;
    }
    let deny = json!({ "action": "deny", "protocol": "tcp", "from_port": HTTP, "to_port": HTTP,
                       "cidr_blocks": ["20.0.1.10/32"] });
    story.refused(seoul_1, &with_group(seoul_1, "web", &[deny, tcp("http", HTTP)]), "action")?;
    connect(story, world, seoul_1, Reached, "seoul-1: web ingress http")?;

    story.step("2 policy: ACL", "An ACL allows and denies: one address is shut out, the other is not.");
    let but_one = router(&[entry(90, "deny", HTTP, "20.0.1.10/32"), everything(100)], &[everything(100)]);
    story.load(&world.router, &but_one)?;
    let [one, other] = both;
    connect_from(story, world, one, (seoul_1, HTTP), Blocked, "router: acl-seoul ingress 90")?;
    connect_from(story, world, other, (seoul_1, HTTP), Reached, "router: acl-seoul ingress 100")?;
    story.load(&world.router, &open_acl())
}

fn replies(world: &World, story: &mut Story) -> Result<()> {
    let World { seoul_1, .. } = world;
    story.step(
        "3 replies: group",
        "A group remembers connections: with no outbound rule at all, the answers to London still go out.",
    );
    let silent = json!({ "ingress": [tcp("http", HTTP)], "egress": [] });
    story.load(seoul_1, &instance(seoul_1, &["10.0.1.10"], &[("web", silent)]))?;
    connect(story, world, seoul_1, Reached, "seoul-1: egress established")?;

    story.step(
        "3 replies: ACL",
        "An ACL remembers nothing: an answer needs an outbound entry of its own, for the client's ports.",
    );
    let inbound = [entry(100, "allow", HTTP, LONDON)];
    story.load(&world.router, &router(&inbound, &[]))?;
    connect(story, world, seoul_1, Blocked, "router: acl-seoul egress *")?;
    let answers = [ports(100, "allow", (1024, 65535), LONDON)];
    story.load(&world.router, &router(&inbound, &answers))?;
    connect(story, world, seoul_1, Reached, "router: acl-seoul egress 100")?;
    story.load(&world.router, &open_acl())
}

fn evaluation(world: &World, story: &mut Story) -> Result<()> {
    let World { seoul_1, .. } = world;
    story.step(
        "4 evaluation: group",
        "All rules of all groups count together: whatever the order of the groups, both ports are open.",
    );
    let (web, ssh) = (group(&[tcp("http", HTTP)]), group(&[tcp("ssh", SSH)]));
    for groups in [[("web", web.clone()), ("admin", ssh.clone())], [("admin", ssh), ("web", web)]] {
        story.load(seoul_1, &instance(seoul_1, &["10.0.1.10"], &groups))?;
        for (port, by) in [(HTTP, "seoul-1: web ingress http"), (SSH, "seoul-1: admin ingress ssh")] {
            connect_from(story, world, world.london.address, (seoul_1, port), Reached, by)?;
        }
    }

    story.step(
        "4 evaluation: ACL",
        "Entries go by number and the first that matches decides: 90 deny before 100 allow, then the reverse. \
         The file lists 100 first both times: the place in the file means nothing.",
    );
    for (first, second, expected) in [("deny", "allow", Blocked), ("allow", "deny", Reached)] {
        let entries = [entry(100, second, HTTP, LONDON), entry(90, first, HTTP, LONDON)];
        story.load(&world.router, &router(&entries, &[everything(100)]))?;
        connect(story, world, seoul_1, expected, "router: acl-seoul ingress 90")?;
    }
    story.load(&world.router, &open_acl())
}

fn application(world: &World, story: &mut Story) -> Result<()> {
    story.step(
        "5 application: ACL",
        "The ACL denies the web port. Then a new instance, seoul-3, starts in the subnet; nobody's rules name \
         it, and it is covered.",
    );
    let closed = router(&[entry(90, "deny", HTTP, LONDON), everything(100)], &[everything(100)]);
    story.load(&world.router, &closed)?;
    let new = world.new_instance()?;
    connect(story, world, &new, Blocked, "router: acl-seoul ingress 90")?;

    story.step(
        "5 application: group",
        "The ACL opens again. No group protects the new instance until one is attached to it.",
    );
    story.load(&world.router, &open_acl())?;
    connect(story, world, &new, Reached, "router: acl-seoul ingress 100")?;
    story.load(&new, &with_group(&new, "default", &[]))?;
    connect(story, world, &new, Blocked, "seoul-3: ingress no_group_rule")
}
