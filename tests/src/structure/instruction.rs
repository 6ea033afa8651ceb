//! One instruction of BPF, as the object and the kernel both write it.
//!
//! Opcodes and pseudo registers are those of `include/uapi/linux/bpf_common.h` and `bpf.h`, Linux 6.18.

use aya_obj::generated::bpf_insn;

/// The frame pointer: the end of a function's stack, which it may not change.
pub const FRAME: u8 = 10;

/// `BPF_LD | BPF_IMM | BPF_DW`: 64 bits, the upper half in the next slot.
pub const LOAD_WIDE: u8 = 0x18;
/// `BPF_JMP | BPF_CALL`.
pub const CALL: u8 = 0x85;
/// `BPF_JMP | BPF_EXIT`.
pub const EXIT: u8 = 0x95;
/// `BPF_ALU64 | BPF_MOV | BPF_X`.
pub const MOVE: u8 = 0xbf;
/// `BPF_ALU64 | BPF_ADD | BPF_K`.
pub const ADD: u8 = 0x07;

/// `BPF_X`, of arithmetic and jumps: the operand is a register.
pub const REGISTER: u8 = 0x08;

/// The source register of a [`CALL`] to a function of the program.
pub const TO_FUNCTION: u8 = 1;
/// The source register of a [`LOAD_WIDE`] of a map.
pub const MAP: u8 = 1;
/// The source register of a [`LOAD_WIDE`] of the address of a map's value.
pub const MAP_VALUE: u8 = 2;
/// The source register of a [`LOAD_WIDE`] of a function, for a helper that calls back.
pub const FUNCTION: u8 = 4;

/// `BPF_FUNC_tail_call`.
const TAIL_CALL: i32 = 12;

/// The helpers that somebody may want to read about, by number (`___BPF_FUNC_MAPPER`).
const HELPERS: [(i32, &str); 21] = [
    (1, "map_lookup_elem"),
    (2, "map_update_elem"),
    (3, "map_delete_elem"),
    (5, "ktime_get_ns"),
    (7, "get_prandom_u32"),
    (8, "get_smp_processor_id"),
    (TAIL_CALL, "tail_call"),
    (26, "skb_load_bytes"),
    (39, "skb_pull_data"),
    (93, "spin_lock"),
    (94, "spin_unlock"),
    (118, "jiffies64"),
    (130, "ringbuf_output"),
    (131, "ringbuf_reserve"),
    (132, "ringbuf_submit"),
    (133, "ringbuf_discard"),
    (160, "ktime_get_coarse_ns"),
    (181, "loop"),
    (188, "xdp_get_buff_len"),
    (189, "xdp_load_bytes"),
    (195, "map_lookup_percpu_elem"),
];

/// `struct bpf_insn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Class, operation and kind of operand.
    pub code: u8,
    /// The register that is written, or that a store goes by.
    pub destination: u8,
    /// The register that is read, or a kind of constant or call.
    pub source: u8,
    /// Of a jump, in slots from the next instruction; of a load or store, in bytes.
    pub offset: i16,
    /// The constant.
    pub immediate: i32,
}

impl From<bpf_insn> for Instruction {
    fn from(raw: bpf_insn) -> Self {
        Self {
            code: raw.code,
            destination: raw.dst_reg(),
            source: raw.src_reg(),
            offset: raw.off,
            immediate: raw.imm,
        }
    }
}

impl Instruction {
    /// Whether it is the first of two slots.
    #[must_use]
    pub fn is_wide(self) -> bool {
        self.code == LOAD_WIDE
    }

    /// The number of the helper that it calls; a tail call is no helper call.
    #[must_use]
    pub fn helper(self) -> Option<i32> {
        (self.code == CALL && self.source == 0 && self.immediate != TAIL_CALL).then_some(self.immediate)
    }

    /// Whether it goes on in another program, for good. As the object has it: the kernel has a code of its own.
    #[must_use]
    pub fn is_tail_call(self) -> bool {
        self.code == CALL && self.source == 0 && self.immediate == TAIL_CALL
    }

    /// The slots from the next instruction to the function of the program that it calls or takes the address of. As the
    /// object has it.
    #[must_use]
    pub fn function(self) -> Option<i32> {
        let called = self.code == CALL && self.source == TO_FUNCTION;
        let named = self.code == LOAD_WIDE && self.source == FUNCTION;
        (called || named).then_some(self.immediate)
    }

    /// The slots from the next instruction to where it may jump.
    #[must_use]
    pub fn jump(self) -> Option<i32> {
        match (self.class(), self.code & 0xf0) {
            (class::JMP | class::JMP32, 0x80 | 0x90) => None,
            // `gotol`, cpu v4.
            (class::JMP32, 0x00) => Some(self.immediate),
            (class::JMP | class::JMP32, _) => Some(self.offset.into()),
            _ => None,
        }
    }

    /// The lowest three bits of the code.
    #[must_use]
    pub fn class(self) -> u8 {
        self.code & 0x07
    }
}

/// What [`Instruction::class`] can be.
pub mod class {
    /// Loads of constants.
    pub const LD: u8 = 0;
    /// Loads from memory.
    pub const LDX: u8 = 1;
    /// Stores of constants.
    pub const ST: u8 = 2;
    /// Stores of registers, and atomic operations.
    pub const STX: u8 = 3;
    /// Arithmetic of 32 bits.
    pub const ALU: u8 = 4;
    /// Jumps that compare 64 bits, calls, exits.
    pub const JMP: u8 = 5;
    /// Jumps that compare 32 bits.
    pub const JMP32: u8 = 6;
    /// Arithmetic of 64 bits.
    pub const ALU64: u8 = 7;
}

/// A helper's name without `bpf_`, or its number.
#[must_use]
pub fn helper_name(number: i32) -> String {
    let known = HELPERS.iter().find(|(known, _)| *known == number);
    known.map_or_else(|| format!("helper {number}"), |(_, name)| (*name).to_owned())
}
