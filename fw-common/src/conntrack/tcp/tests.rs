//! Every state, and every segment that somebody can send who does not know the numbers.

use super::super::{Class, Connection, State, Step, Windows};
use super::begin_or_end;
use crate::flow::Direction::{self, Egress, Ingress};
use crate::layout::{Interface, InterfaceLine, Line};
use crate::packet::{Packet, protocol, tcp_flags};
extern crate std;

use std::{vec, vec::Vec};

const S: u64 = 1_000_000_000;
const NOW: u64 = 1_000 * S;
const SYN: u8 = tcp_flags::SYN;
const ACK: u8 = tcp_flags::ACK;
const FIN: u8 = tcp_flags::FIN;
const RST: u8 = tcp_flags::RST;

/// Initial numbers of both sides: the stream of one goes over the end of the circle.
const OURS: u32 = 0x7000_1234;
const THEIRS: u32 = 0xffff_fff0;

struct Rig {
    connection: Connection,
    opener: Direction,
    now: u64,
}

fn line() -> Line {
    let interface = Interface { tcp_established: 432_000, ..Interface::default() };
    interface.to_lines()[0]
}

fn segment(flags: u8, sequence: u32, acknowledgement: u32, payload_len: u32) -> Packet {
    Packet {
        protocol: protocol::TCP,
        tcp_flags: flags,
        sequence,
        acknowledgement,
        payload_len,
        window: 0xffff,
        window_shift: if flags & SYN != 0 { 7 } else { Packet::SHIFT_UNREAD },
        ..Packet::EMPTY
    }
}

impl Rig {
    fn new(opener: Direction, data: u32) -> Self {
        let mut connection = Connection::EMPTY;
        connection.restart(NOW, 5, 0);
        connection.open(&segment(SYN, OURS, 0, data), 60, opener, InterfaceLine(&line()));
        Self { connection, opener, now: NOW }
    }

    fn step(&mut self, by_opener: bool, packet: Packet) -> Step {
        let direction = if by_opener { self.opener } else { self.opener.reverse() };
        self.connection.step::<true>(
            &packet,
            60,
            direction,
            self.now,
            InterfaceLine(&line()),
            true,
            begin_or_end,
        )
    }

    fn state(&self) -> State {
        self.connection.status().state()
    }

    fn established(opener: Direction) -> Self {
        let mut rig = Self::new(opener, 0);
        assert_eq!(rig.step(false, segment(SYN | ACK, THEIRS, OURS + 1, 0)), Step::Belongs);
        let done = rig.step(true, segment(ACK, OURS + 1, THEIRS.wrapping_add(1), 0));
        assert_eq!(done, Step::Earns(Class::Assured));
        assert_eq!(rig.state(), State::Established);
        rig
    }

    /// With large windows, and data of both sides under way.
    fn busy(opener: Direction) -> Self {
        let mut rig = Self::established(opener);
        let mut sent = THEIRS.wrapping_add(1);
        for _ in 0..20 {
            rig.step(true, segment(ACK, OURS + 1, sent, 0));
            rig.step(false, segment(ACK, sent, OURS + 1, 60_000));
            sent = sent.wrapping_add(60_000);
        }
        rig
    }

    /// The states that there are, with what leads to them.
    fn all(opener: Direction) -> Vec<(&'static str, Self)> {
        let theirs = THEIRS.wrapping_add(1);
        let after = |mut rig: Self, steps: &[(bool, Packet)]| {
            for (by_opener, packet) in steps {
                rig.step(*by_opener, *packet);
            }
            rig
        };
        let syn_ack = (false, segment(SYN | ACK, THEIRS, OURS + 1, 0));
        let fin = (true, segment(FIN | ACK, OURS + 1, theirs, 0));
        let established = || Self::established(opener);
        let mut all = vec![
            ("syn_sent", Self::new(opener, 0)),
            ("fast open", Self::new(opener, 1400)),
            ("one-sided", after(Self::new(opener, 0), &[(true, segment(ACK, OURS + 1, theirs, 10))])),
            ("syn_received", after(Self::new(opener, 0), &[syn_ack])),
            ("established", established()),
            ("busy", Self::busy(opener)),
            ("half closed", after(established(), &[fin])),
            ("closed", after(established(), &[fin, (false, segment(FIN | ACK, theirs, OURS + 2, 0))])),
            ("gap", after(established(), &[(true, segment(ACK, OURS + 2000, theirs, 100))])),
            ("late FIN", after(established(), &[(true, segment(FIN | ACK, OURS + 2000, theirs, 100))])),
            ("pending SYN", after(established(), &[(true, segment(SYN, OURS.wrapping_sub(1 << 30), 0, 0))])),
            ("unanchored", Self { connection: established().connection.unseen(), ..established() }),
        ];
        let mut adopted = established();
        adopted.connection.adopt(&segment(ACK, 1, 2, 0), Ingress, opener, InterfaceLine(&line()));
        all.push(("adopted", adopted));
        all
    }
}

/// Numbers over the whole circle, and none within twice the largest window of those that are true.
fn guesses() -> impl Iterator<Item = u32> {
    (0..64u32).map(|number| (number << 26).wrapping_add(0x0155_5555))
}

fn flags() -> impl Iterator<Item = u8> {
    let all = [0, ACK, FIN, FIN | ACK, RST, RST | ACK, SYN, SYN | ACK, FIN | RST, FIN | RST | ACK];
    all.into_iter()
}

/// What nobody may change who does not know the numbers.
fn essence(connection: &Connection) -> (State, u32, u32, [u32; 2], Class) {
    let status = connection.status();
    let ends = [Ingress, Egress].map(|direction| connection.marks(direction).0);
    (status.state(), status.timeout_s(), status.last_seen(), ends, connection.first_class())
}

#[test]
fn no_segment_of_a_sender_who_does_not_know_the_numbers_changes_anything() {
    let mut tried = 0u64;
    for opener in [Ingress, Egress] {
        for (name, rig) in Rig::all(opener) {
            let before = essence(&rig.connection);
            for (sequence, acknowledgement) in guesses().flat_map(|seq| guesses().map(move |ack| (seq, ack)))
            {
                for (flags, len) in flags().flat_map(|flags| [0, 1, 1460, 8960].map(|len| (flags, len))) {
                    let mut connection = rig.connection;
                    let packet = segment(flags, sequence, acknowledgement, len);
                    // The other side's: whoever sends as this one is it. Half a minute later, so that it shows.
                    let now = NOW + 9 * S;
                    let step = connection.step::<true>(
                        &packet,
                        60,
                        Ingress,
                        now,
                        InterfaceLine(&line()),
                        true,
                        begin_or_end,
                    );
                    let what = || std::format!("{name}, opened by {opener:?}: {packet:?}");
                    if matches!(step, Step::Reopens | Step::CounterSyn) {
                        assert_eq!(flags, SYN, "{}: for the rules to judge", what());
                        continue;
                    }
                    let (state, timeout, seen, ends, class) = essence(&connection);
                    // A second SYN of the opener may be true: it is kept beside the first, which it prolongs.
                    let is_second = flags == SYN && opener == Ingress;
                    if is_second && matches!(state, State::SynSent | State::OneSided) {
                        assert_eq!((state, timeout), (before.0, before.1), "{}", what());
                        assert_eq!(connection.marks(opener), rig.connection.marks(opener), "{}", what());
                        continue;
                    }
                    assert_eq!((state, timeout, seen, ends, class), before, "{}", what());
                    assert!(!matches!(step, Step::Earns(_) | Step::Expired), "{}", what());
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 4_000_000, "{tried}");
}

#[test]
fn a_handshake_needs_the_very_acknowledgement() {
    for opener in [Ingress, Egress] {
        for wrong in [0, 1, u32::MAX, 1 << 16, 1 << 31] {
            let mut rig = Rig::new(opener, 0);
            if wrong != 0 {
                let syn_ack = segment(SYN | ACK, THEIRS, OURS.wrapping_add(1).wrapping_add(wrong), 0);
                assert_eq!(rig.step(false, syn_ack), Step::Unfit);
                assert_eq!(rig.state(), State::SynSent);
            }
            rig.step(false, segment(SYN | ACK, THEIRS, OURS + 1, 0));
            if wrong != 0 {
                let ack = segment(ACK, OURS + 1, THEIRS.wrapping_add(1).wrapping_add(wrong), 0);
                assert_eq!(rig.step(true, ack), Step::Unfit);
                assert_eq!(rig.state(), State::SynReceived);
                // The server's answer to it (RFC 9293 section 3.10.7.4): it has not ended the handshake either.
                let rst = segment(RST, THEIRS.wrapping_add(1).wrapping_add(wrong), 0, 0);
                assert_eq!(rig.step(false, rst), Step::Unfit);
            }
            let done = rig.step(true, segment(ACK, OURS + 1, THEIRS.wrapping_add(1), 0));
            assert_eq!(done, Step::Earns(Class::Assured));
        }
    }
}

#[test]
fn every_amount_of_data_on_a_syn_may_be_taken_or_not() {
    for len in [0, 1, 1460, 8960, 60_000] {
        for taken in [0, len] {
            let mut rig = Rig::new(Ingress, len);
            rig.step(false, segment(SYN | ACK, THEIRS, OURS + 1 + taken, 0));
            assert_eq!(rig.state(), State::SynReceived, "{taken} of {len}");
            rig.step(true, segment(ACK, OURS + 1 + taken, THEIRS.wrapping_add(1), 0));
            assert_eq!(rig.state(), State::Established, "{taken} of {len}");
        }
        let mut rig = Rig::new(Ingress, len);
        rig.step(false, segment(SYN | ACK, THEIRS, OURS + 2 + len, 0));
        assert_eq!(rig.state(), State::SynSent, "more than {len}");
    }
}

#[test]
fn a_reset_counts_where_it_is_expected_or_where_its_side_has_got_to() {
    let theirs = THEIRS.wrapping_add(1);
    for (sequence, ends) in [(theirs, true), (theirs.wrapping_add(1000), true)]
        .into_iter()
        .chain([1, 500, 999, 1001].map(|off| (theirs.wrapping_add(off), false)))
    {
        let mut rig = Rig::established(Ingress);
        rig.step(false, segment(ACK, theirs, OURS + 1, 1000));
        rig.step(false, segment(RST, sequence, 0, 0));
        assert_eq!(rig.state() == State::Reset, ends, "{}", sequence.wrapping_sub(theirs));
    }
}

#[test]
fn a_fin_behind_a_gap_counts_when_it_is_acknowledged() {
    let theirs = THEIRS.wrapping_add(1);
    let mut rig = Rig::established(Ingress);
    rig.step(true, segment(FIN | ACK, OURS + 1001, theirs, 100));
    assert_eq!(rig.state(), State::Established, "1,000 bytes before it are missing");
    rig.step(true, segment(ACK, OURS + 1, theirs, 1000));
    rig.step(false, segment(ACK, theirs, OURS + 1001, 0));
    assert_eq!(rig.state(), State::Established, "not acknowledged yet");
    rig.step(false, segment(ACK, theirs, OURS + 1102, 0));
    assert_eq!(rig.state(), State::HalfClosed);
}

#[test]
fn a_port_that_is_begun_again_is_followed() {
    for opener in [Ingress, Egress] {
        for other in [OURS + 9, OURS.wrapping_add(1 << 31), OURS.wrapping_sub(77)] {
            let mut rig = Rig::established(opener);
            assert_eq!(rig.step(true, segment(SYN, other, 0, 0)), Step::Belongs);
            assert_eq!(rig.state(), State::Established, "nobody has answered yet");
            rig.step(false, segment(SYN | ACK, 77, other.wrapping_add(2), 0));
            assert_eq!(rig.state(), State::Established, "that was no answer");
            rig.step(false, segment(SYN | ACK, 77, other.wrapping_add(1), 0));
            assert_eq!(rig.state(), State::SynReceived);
            rig.step(true, segment(ACK, other.wrapping_add(1), 78, 0));
            assert_eq!(rig.state(), State::Established);
            rig.step(true, segment(FIN | ACK, other.wrapping_add(1), 78, 0));
            rig.step(false, segment(FIN | ACK, 78, other.wrapping_add(2), 0));
            assert_eq!(rig.state(), State::Closed);
        }
    }
}

#[test]
fn the_own_side_is_believed_after_half_a_minute_and_the_other_never() {
    for (by, believed) in [(Egress, true), (Ingress, false)] {
        for (waited, quiet) in [(29 * S, false), (31 * S, true)] {
            let mut rig = Rig::established(Egress);
            rig.now += waited;
            let far = segment(ACK, 0x1000, 0x2000, 10);
            let step = rig.step(by == Egress, far);
            assert_eq!(step == Step::Belongs, believed && quiet, "{by:?} after {waited}");
            if step == Step::Belongs {
                assert_eq!(rig.step(false, segment(ACK, 0x2000, 0x100a, 0)), Step::Belongs);
            }
        }
    }
}

#[test]
fn windows_count_as_far_as_they_are_advertised() {
    let mut rig = Rig::busy(Ingress);
    let theirs = rig.connection.marks(Egress).0;
    let reach = rig.connection.windows().reach(Ingress);
    assert_eq!(reach, 1 << 23, "65,535 << 7");
    for (ahead, fits) in [(reach, true), (reach + 1, false)] {
        let mut rig = Rig { connection: rig.connection, ..rig };
        let step = rig.step(false, segment(ACK, theirs.wrapping_add(ahead), OURS + 1, 10));
        assert_eq!(step == Step::Belongs, fits, "{ahead}");
    }
    rig.connection = rig.connection.unseen();
    assert_eq!(rig.connection.windows(), Windows::UNSEEN);
}
