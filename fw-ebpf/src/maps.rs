//! The maps and their face towards the decision core; the only unsafe around map memory.
//!
//! Sizes here are the smallest; the loader sets the real ones before it creates the maps.

use core::mem::offset_of;

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_NOEXIST};
use aya_ebpf::btf_maps::{ArrayOfMaps, HashMap};
use aya_ebpf::helpers::bpf_ktime_get_coarse_ns;
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::{Array, LruHashMap, PerCpuArray, RingBuf};
use fw_common::conntrack::{Class, Connection, WORDS};
use fw_common::event::Teller;
use fw_common::flow_log::{Flow, Tally};
use fw_common::fragment::{Datagram, FragmentKey};
use fw_common::layout::{Line, head};
use fw_common::limits::{MAX_ETHERTYPES, MAX_FRAGMENTED_DATAGRAMS};
use fw_common::packet::Packet;
use fw_common::store::{self, BUCKET_WORDS, HASH_WORDS, Layout, Live, Place, Store, TAG_WORDS};
use fw_common::tables::TableFull;
use fw_common::verdict::Counter;
use fw_common::{Direction, FlowKey, Scratch, Tables};

use crate::apart;
use crate::frame::{opaque, reread};
use crate::shared::{Connections, Shared};

/// All generations, in lines, as one value: a line is then reached by an addition and not by a look-up, whose index
/// goes through the stack. The loader makes the value as large as it has to be. Only user space writes.
#[map]
static POLICY: Array<Line> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The buckets of [`fw_common::store`]; those of IPv4 come first.
#[map]
static CONNECTIONS: Array<[Shared; BUCKET_WORDS]> =
    Array::with_max_entries(Layout::of(1024).total(), BPF_F_MMAPABLE);

/// The tags of the buckets, by the same numbers.
#[map]
static TAGS: Array<[Shared; TAG_WORDS]> = Array::with_max_entries(Layout::of(1024).total(), BPF_F_MMAPABLE);

/// How many connections are kept (the kernel does not say), where the next search for expired ones begins, and words of the
/// loader's.
#[map]
static COUNT: Array<[Shared; 3 + HASH_WORDS]> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
static DATAGRAMS: LruHashMap<FragmentKey, Datagram> =
    LruHashMap::with_max_entries(MAX_FRAGMENTED_DATAGRAMS, 0);

/// Frames dropped for their ethertype, by zone << 16 | ethertype.
#[map]
static ETHERTYPES: LruHashMap<u32, u64> = LruHashMap::with_max_entries(MAX_ETHERTYPES, 0);

/// By [`fw_common::verdict::counter_index`].
#[map]
pub(crate) static COUNTERS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(256, 0);

/// By the rule's slot.
#[map]
pub(crate) static RULES: PerCpuArray<Counter> = PerCpuArray::with_max_entries(256, 0);

/// [`fw_common::event::Event`]s.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(256 << 10, 0);

/// What each CPU tells of, and what it does not.
#[map]
pub(crate) static TELLERS: PerCpuArray<Teller> = PerCpuArray::with_max_entries(1, 0);

/// Where the flows of the current window are added up; empty while nobody keeps a log. The size here is that of no map:
/// the reader makes each as large as it likes.
#[btf_map]
pub(crate) static FLOWS: ArrayOfMaps<Flows, 1> = ArrayOfMaps::new();

/// Those of one window.
pub(crate) type Flows = HashMap<Flow, Tally, 1>;

/// Room for the packet at hand.
#[map]
static SCRATCH: PerCpuArray<Room> = PerCpuArray::with_max_entries(1, 0);

/// The same for rehearsals, which Linux before 6.10 interrupts for packets: a test run did not switch softirqs off.
#[map]
static REHEARSAL: PerCpuArray<Room> = PerCpuArray::with_max_entries(1, 0);

/// What a program needs besides its stack.
pub(crate) struct Room {
    /// For the judgement.
    pub(crate) scratch: Scratch,
    /// For `Frame::forget`.
    pub(crate) memory: u32,
}

/// This CPU's room.
#[inline(always)]
pub(crate) fn room<'a>() -> Option<&'a mut Room> {
    // SAFETY: a per-CPU element, used by one program at a time: XDP and TC run with softirqs off, and neither calls
    // the other. All its bits were written by these programs or are the zeroes of a fresh map, which are valid for
    // every enum in it.
    SCRATCH.get_ptr_mut(0).map(|room| unsafe { &mut *room })
}

/// This CPU's room for a rehearsal.
#[inline(always)]
pub(crate) fn rehearsal_room<'a>() -> Option<&'a mut Room> {
    // SAFETY: as above, but that two rehearsals may have one room at a time where they interrupt each other: then one of
    // them gives a wrong answer to a question, and reads nothing but these bits.
    REHEARSAL.get_ptr_mut(0).map(|room| unsafe { &mut *room })
}

/// How many buckets there are of either family, and how many connections may be in them; set by the loader.
#[unsafe(no_mangle)]
static LAYOUT: Layout = Layout::of(1024);

/// What chooses the buckets; set by the loader.
#[unsafe(no_mangle)]
static HASH: [u64; HASH_WORDS] = store::known_words(0);

/// Where the last line of POLICY begins, in bytes; set by the loader.
#[unsafe(no_mangle)]
static POLICY_LAST: u64 = 0;

const LINE_SHIFT: u32 = size_of::<Line>().trailing_zeros();

/// The maps as [`Tables`].
#[derive(Clone, Copy)]
pub(crate) struct Maps {
    policy: *const Line,
}

impl Maps {
    /// `None` never: the array has its one element.
    #[inline(always)]
    pub(crate) fn new() -> Option<Self> {
        POLICY.get_ptr(0).map(|policy| Self { policy })
    }

    /// A word of the first line.
    #[inline(always)]
    pub(crate) fn head(self, word: u32) -> u32 {
        // SAFETY: the first line is there; volatile, since user space writes it while programs run.
        unsafe { core::ptr::read_volatile(self.policy.cast::<u32>().add((word & 15) as usize)) }
    }
}

impl<'a> Tables<'a> for Maps {
    type Record = &'a [Shared; WORDS];

    #[inline(always)]
    fn live(self) -> u32 {
        self.head(head::LIVE)
    }

    #[inline(always)]
    fn line(self, number: u32) -> Option<&'a Line> {
        // SAFETY: reads a word that the loader set before the program was loaded.
        let last = unsafe { core::ptr::read_volatile(&raw const POLICY_LAST) };
        // Compared as the whole register that is then added, and added after that: the verifier bounds no other.
        let offset = opaque((number as usize) << LINE_SHIFT);
        if offset > last as usize {
            return None;
        }
        // SAFETY: a whole line of the array, which lives as long as the program. Lines that a hook can reach are not
        // written.
        Some(unsafe { &*self.policy.byte_add(opaque(offset)) })
    }

    #[inline(always)]
    fn opaque(self, value: u64) -> u64 {
        opaque(value as usize) as u64
    }

    #[inline(always)]
    fn reread<M>(self, memory: &mut M) {
        reread(memory);
    }

    #[inline(always)]
    fn now_ns(self) -> u64 {
        now_ns()
    }

    #[inline(always)]
    fn connection(self, key: &FlowKey) -> Option<Live<'a, Shared>> {
        Store(Connections).entry(key)
    }

    #[inline(always)]
    fn begin_or_end(
        self,
        connection: &mut Live<'a, Shared>,
        packet: &Packet,
        direction: Direction,
        is_quiet: bool,
    ) -> u32 {
        let words = core::ptr::from_ref(connection.0).cast();
        apart::begin_or_end(words, packet, direction.code().into(), is_quiet.into())
    }

    #[inline(always)]
    fn begin_or_end_copy(
        self,
        connection: &mut Connection,
        packet: &Packet,
        direction: Direction,
        is_quiet: bool,
    ) -> u32 {
        apart::begin_or_end(connection, packet, direction.code().into(), is_quiet.into())
    }

    #[inline(always)]
    fn forget(self, key: &FlowKey) {
        apart::remove(key);
    }

    #[inline(always)]
    fn insert(self, key: &FlowKey, connection: &Connection, class: Class) -> Result<(), TableFull> {
        let place = apart::place(key, connection, class.code());
        if Place::from_word(place).is_nowhere() {
            return Err(TableFull);
        }
        apart::settle(key, place);
        Ok(())
    }

    #[inline(always)]
    fn promote(self, key: &FlowKey, class: Class) -> Result<(), TableFull> {
        if apart::promote(key, class.code()) == 0 { Err(TableFull) } else { Ok(()) }
    }

    #[inline(always)]
    fn has_room(self, key: &FlowKey, flags: u8, class: Class) -> bool {
        apart::takes(key, flags.into(), class.code()) != 0
    }

    #[inline(always)]
    fn datagram(self, key: &FragmentKey) -> Option<Datagram> {
        // SAFETY: copied at once; a recycled element is caught by its generation and age, at worst it lends the
        // verdict of a datagram judged in the same instant.
        unsafe { DATAGRAMS.get(key) }.copied()
    }

    #[inline(always)]
    fn remember_datagram(self, key: &FragmentKey, datagram: &Datagram) {
        let _ = DATAGRAMS.insert(key, datagram, 0);
    }

    #[inline(always)]
    fn note_ethertype(self, zone: u32, ethertype: u16) {
        let key = (zone << 16) | u32::from(ethertype);
        match ETHERTYPES.get_ptr_mut(&key) {
            // SAFETY: as in `connection`; a lost increment is a frame less in a list for people.
            Some(count) => unsafe { *count += 1 },
            None => {
                let _ = ETHERTYPES.insert(&key, &1, BPF_NOEXIST as u64);
            }
        }
    }
}

#[inline(always)]
pub(crate) fn now_ns() -> u64 {
    // SAFETY: takes nothing, returns an integer.
    unsafe { bpf_ktime_get_coarse_ns() }
}

#[inline(always)]
pub(crate) fn bucket<'a>(number: u32) -> Option<&'a [Shared; BUCKET_WORDS]> {
    // SAFETY: an element lives as long as the map; its words are shared, and Bucket says so.
    CONNECTIONS.get_ptr(number).map(|bucket| unsafe { &*bucket })
}

#[inline(always)]
pub(crate) fn tags<'a>(bucket: u32) -> Option<&'a [Shared; TAG_WORDS]> {
    // SAFETY: as above.
    TAGS.get_ptr(bucket).map(|tags| unsafe { &*tags })
}

#[inline(always)]
pub(crate) fn counts<'a>() -> Option<&'a [Shared; 2]> {
    // SAFETY: as above.
    COUNT.get_ptr(0).and_then(|counts| unsafe { &*counts }.first_chunk())
}

#[inline(always)]
pub(crate) fn layout() -> Layout {
    Layout {
        ipv4: layout_word::<{ offset_of!(Layout, ipv4) }>(),
        ipv6: layout_word::<{ offset_of!(Layout, ipv6) }>(),
        connections: layout_word::<{ offset_of!(Layout, connections) }>(),
    }
}

/// In assembly: what nobody asks for is then not loaded, as it is if volatile, and what is asked for is not known.
#[inline(always)]
fn layout_word<const OFFSET: usize>() -> u32 {
    let word: u64;
    // SAFETY: reads a word that the loader set before the program was loaded, and that nobody changes.
    unsafe {
        core::arch::asm!("{word} = *(u32 *)({at} + {offset})", word = out(reg) word, at = in(reg) &raw const LAYOUT,
            offset = const OFFSET, options(pure, nomem, nostack, preserves_flags));
    }
    word as u32
}

#[inline(always)]
pub(crate) fn hash_word(index: u32) -> u64 {
    let Some(word) = HASH.get(index as usize) else { return 0 };
    // SAFETY: as above.
    unsafe { core::ptr::read_volatile(word) }
}
