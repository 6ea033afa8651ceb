//! What is sent: real echo requests and real TCP connections.

use std::net::Ipv4Addr;

use anyhow::Result;
use fw_tests::traffic::{Outcome, ping, tcp_connect};

use crate::story::Story;
use crate::world::{HTTP, Host, World};

/// One echo request between two instances of different VPCs.
pub(crate) fn send_ping(
    story: &mut Story,
    world: &World,
    from: &Host,
    to: &Host,
    expected: Outcome,
    by: &str,
) -> Result<()> {
    let sent = format!("{}: ping {}", from.name, to.address);
    let path = [from, &world.router, to];
    story.expect(&path, &sent, expected, by, || ping(&from.namespace, to.address))
}

/// London's instance connects to the web port of an instance in Seoul.
pub(crate) fn connect(
    story: &mut Story,
    world: &World,
    to: &Host,
    expected: Outcome,
    by: &str,
) -> Result<()> {
    connect_from(story, world, world.london.address, (to, HTTP), expected, by)
}

/// The same from a certain address of London's instance to a certain port.
pub(crate) fn connect_from(
    story: &mut Story,
    world: &World,
    from: Ipv4Addr,
    (to, port): (&Host, u16),
    expected: Outcome,
    by: &str,
) -> Result<()> {
    let london = &world.london;
    let whence = if from == london.address { String::new() } else { format!(" from {from}") };
    let sent = format!("{}: TCP {}:{port}{whence}", london.name, to.address);
    story.expect(&[london, &world.router, to], &sent, expected, by, || {
        tcp_connect(&london.namespace, (from, 0), (to.address, port))
    })
}
