//! On a clock that has just begun datagrams are as they would be on one that began long ago.

use fw_common::Address;

use super::*;

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
        Datagram { judged_ns: now_ns, generation: 1, acl_rule: 0, group_rule: 0, reason: 9, padding: 0, end: 1 };
    for (waits, stays) in [(&[30][..], true), (&[31], false), (&[25, 5], true), (&[25, 5, 1], false)] {
        let mut age = Age::default();
        let mut datagram = fresh;
        let kept = waits.iter().all(|wait| age.make_datagram_older(&key, &mut datagram, *wait, now_ns));
        assert_eq!(kept, stays, "{waits:?}");
        assert!(!kept || datagram.is_valid(now_ns, 1), "{waits:?}");
    }
}
