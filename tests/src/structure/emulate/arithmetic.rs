//! Arithmetic and comparisons of BPF up to cpu v3, on plain numbers (RFC 9669, section 4).

use anyhow::{Result, bail, ensure};

use crate::structure::instruction::{Instruction, REGISTER, class};

const OPERATION: u8 = 0xf0;

/// What an instruction of arithmetic leaves in its destination.
pub(super) fn result(instruction: Instruction, left: u64, right: u64) -> Result<u64> {
    let Instruction { code, offset, immediate, .. } = instruction;
    ensure!(offset == 0, "code {code:#04x} with offset {offset} is none of cpu v3");
    let operation = code & OPERATION;
    if instruction.class() == class::ALU64 {
        return whole(operation, left, right);
    }
    if operation == 0xd0 {
        return byte_order(left, code & REGISTER != 0, immediate);
    }
    let (left, right) = (left as u32, right as u32);
    let value = match operation {
        0x60 => left << (right & 31),
        0x70 => left >> (right & 31),
        0xc0 => (left.cast_signed() >> (right & 31)).cast_unsigned(),
        _ => whole(operation, left.into(), right.into())? as u32,
    };
    Ok(value.into())
}

/// 64 bits wide; and 32 for what is the same there.
fn whole(operation: u8, left: u64, right: u64) -> Result<u64> {
    Ok(match operation {
        0x00 => left.wrapping_add(right),
        0x10 => left.wrapping_sub(right),
        0x20 => left.wrapping_mul(right),
        0x30 => left.checked_div(right).unwrap_or(0),
        0x40 => left | right,
        0x50 => left & right,
        0x60 => left << (right & 63),
        0x70 => left >> (right & 63),
        0x80 => left.wrapping_neg(),
        0x90 => left.checked_rem(right).unwrap_or(left),
        0xa0 => left ^ right,
        0xb0 => right,
        0xc0 => (left.cast_signed() >> (right & 63)).cast_unsigned(),
        _ => bail!("arithmetic operation {operation:#04x} is none of cpu v3"),
    })
}

/// Whether a jump is taken.
pub(super) fn is_taken(instruction: Instruction, left: u64, right: u64) -> Result<bool> {
    let (left, right) = if instruction.class() == class::JMP32 {
        // With their signs: unsigned comparisons come out the same.
        (i64::from(left as i32), i64::from(right as i32))
    } else {
        (left.cast_signed(), right.cast_signed())
    };
    let (plain_left, plain_right) = (left.cast_unsigned(), right.cast_unsigned());
    Ok(match instruction.code & OPERATION {
        0x00 => true,
        0x10 => left == right,
        0x20 => plain_left > plain_right,
        0x30 => plain_left >= plain_right,
        0x40 => left & right != 0,
        0x50 => left != right,
        0x60 => left > right,
        0x70 => left >= right,
        0xa0 => plain_left < plain_right,
        0xb0 => plain_left <= plain_right,
        0xc0 => left < right,
        0xd0 => left <= right,
        operation => bail!("comparison {operation:#04x} is none of cpu v3"),
    })
}

/// To little or big endian, of the lowest bits; the machine that is emulated is little.
fn byte_order(value: u64, big: bool, bits: i32) -> Result<u64> {
    Ok(match (bits, big) {
        (16, false) => (value as u16).into(),
        (32, false) => (value as u32).into(),
        (64, false) => value,
        (16, true) => (value as u16).swap_bytes().into(),
        (32, true) => (value as u32).swap_bytes().into(),
        (64, true) => value.swap_bytes(),
        _ => bail!("there is no byte order of {bits} bits"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By a constant's code; 0x04 is 32 bits wide, 0x07 64.
    fn of(code: u8, left: u64, right: u64) -> u64 {
        let instruction = Instruction { code, destination: 1, source: 2, offset: 0, immediate: 16 };
        result(instruction, left, right).unwrap()
    }

    #[test]
    fn results_of_32_bits_clear_the_upper_half() {
        assert_eq!(of(0x04, u64::MAX, 1), 0);
        assert_eq!(of(0xb4, 7, u64::MAX), 0xffff_ffff);
        assert_eq!(of(0xc4, 0x8000_0000, 4), 0xf800_0000);
        assert_eq!(of(0xc7, 0x8000_0000, 4), 0x0800_0000);
    }

    #[test]
    fn shifts_take_the_lowest_bits_of_their_distance() {
        assert_eq!(of(0x64, 1, 33), 2);
        assert_eq!(of(0x67, 1, 65), 2);
        assert_eq!(of(0x74, 0x1_0000_0004, 33), 2);
    }

    #[test]
    fn division_by_zero_is_zero_and_its_remainder_the_dividend() {
        assert_eq!(of(0x37, 5, 0), 0);
        assert_eq!(of(0x97, 5, 0), 5);
        assert_eq!(of(0x94, 0x1_0000_0005, 0), 5);
    }

    #[test]
    fn byte_order_is_of_the_lowest_bits() {
        assert_eq!(of(0xdc, 0xffff_1234, 0), 0x3412);
        assert_eq!(of(0xd4, 0xffff_1234, 0), 0x1234);
    }

    #[test]
    fn comparisons_of_32_bits_ignore_the_upper_half() {
        let jump = |code| Instruction { code, destination: 1, source: 2, offset: 0, immediate: 0 };
        let narrow = |operation: u8| is_taken(jump(operation | 0x06), 0x1_ffff_ffff, 1).unwrap();
        // Unsigned greater, signed less, equal.
        assert_eq!([0x20, 0xc0, 0x10].map(narrow), [true, true, false]);
        assert!(is_taken(jump(0x16), 0x1_0000_0001, 1).unwrap());
    }
}
