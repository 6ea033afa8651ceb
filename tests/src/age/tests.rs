//! On a clock that has just begun everything is as it would be on one that began long ago.

use fw_common::Address;
use fw_common::conntrack::State;

use super::*;

fn key() -> FlowKey {
    let address = Address::from_ipv4([10, 0, 0, 1]);
    FlowKey {
        zone: 1,
        protocol: 6,
        local: address,
        remote: address,
        local_port: 1,
        remote_port: 2,
        reserved: 0,
    }
}

/// Both entries see the same packet at the same time.
fn touch(pair: &mut [&mut Connection; 2], clocks: [u64; 2], state: State, timeout_s: u32) {
    for (connection, now_ns) in pair.iter_mut().zip(clocks) {
        if connection.state != state as u8 {
            connection.state = state as u8;
            connection.timeout_s = timeout_s;
        }
        connection.last_seen_ns = now_ns;
    }
}

#[test]
fn a_young_machine_forgets_when_an_old_one_does() {
    const LONG: u64 = 10_000_000 * NS_PER_S;
    for timeout_s in [0, 1, 30, 350, 432_000] {
        for first in [0, 1, 29, 30, 31, 349, 350, 351, 86_400, 431_999, 432_001] {
            for second in [0, 1, 2, 30, 100_000] {
                let mut age = Age::default();
                let start = 90 * NS_PER_S + 123_456_789;
                let mut young = Connection { created_ns: start, last_seen_ns: start, ..Connection::EMPTY };
                young.timeout_s = timeout_s;
                let mut old = Connection { created_ns: start + LONG, last_seen_ns: start + LONG, ..young };
                for (seconds, passed_ns) in [(first, 5_000_000), (second, 999)] {
                    age.make_older(&key(), &mut young, seconds);
                    old.last_seen_ns -= seconds * NS_PER_S;
                    let now_ns = start + passed_ns;
                    let what =
                        format!("timeout {timeout_s}, waits {first} and {second}, now after {seconds}");
                    assert_eq!(young.is_expired(now_ns), old.is_expired(now_ns + LONG), "{what}");
                    assert_eq!(age.timeout_s(&key(), &young), timeout_s, "{what}");
                }
            }
        }
    }
}

#[test]
fn a_packet_gives_the_timeout_back_unless_it_sets_another() {
    let start = 90 * NS_PER_S;
    let fresh = Connection { created_ns: start, last_seen_ns: start, timeout_s: 350, ..Connection::EMPTY };
    for (state, expected) in [(State::SynSent, 350), (State::Reset, 10)] {
        let mut age = Age::default();
        let (mut young, mut other) = (fresh, fresh);
        // 340 s more than the clock has; what remains is what a reset would set.
        age.make_older(&key(), &mut young, 430);
        assert_eq!((young.timeout_s, young.last_seen_ns), (10, 0));
        let now_ns = start + 7;
        touch(&mut [&mut young, &mut other], [now_ns, now_ns], state, 10);
        assert_eq!(age.give_back(&key(), &mut young), expected == 350);
        assert_eq!(young, other);
        assert_eq!(young.timeout_s, expected);
        assert_eq!(age.timeout_s(&key(), &young), expected);
        assert!(!age.give_back(&key(), &mut young), "once only");
    }
}

#[test]
fn a_packet_without_effect_gives_nothing_back() {
    let start = 90 * NS_PER_S;
    let mut age = Age::default();
    let mut young =
        Connection { created_ns: start, last_seen_ns: start, timeout_s: 350, ..Connection::EMPTY };
    age.make_older(&key(), &mut young, 300);
    young.packets += 1;
    assert!(!age.give_back(&key(), &mut young));
    assert_eq!((young.timeout_s, age.timeout_s(&key(), &young)), (140, 350));
    // Nor does a new connection of the same addresses inherit it.
    young.restart(start + 5, 0, 0);
    young.timeout_s = 30;
    assert_eq!(age.timeout_s(&key(), &young), 30);
    assert!(!age.give_back(&key(), &mut young));
    assert_eq!(young.timeout_s, 30);
}

#[test]
fn datagrams_grow_old_together_with_their_clock() {
    let now_ns = 20 * NS_PER_S;
    let address = Address::from_ipv4([10, 0, 0, 1]);
    let key = FragmentKey {
        zone: 1,
        id: 7,
        source: address,
        destination: address,
        protocol: 17,
        direction: 0,
        padding: [0; 6],
    };
    let fresh =
        Datagram { judged_ns: now_ns, generation: 1, acl_rule: 0, group_rule: 0, reason: 9, padding: [0; 3] };
    for (waits, stays) in [(&[30][..], true), (&[31], false), (&[25, 5], true), (&[25, 5, 1], false)] {
        let mut age = Age::default();
        let mut datagram = fresh;
        let kept = waits.iter().all(|wait| age.make_datagram_older(&key, &mut datagram, *wait, now_ns));
        assert_eq!(kept, stays, "{waits:?}");
        assert!(!kept || datagram.is_valid(now_ns, 1), "{waits:?}");
    }
}
