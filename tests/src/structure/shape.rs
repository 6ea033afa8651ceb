//! What the functions of a linked program hold: instructions, calls, stack.
//!
//! Of the object, not of what the kernel makes of it: the same on every kernel.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};

use super::instruction::{ADD, FRAME, Instruction, MOVE, class, helper_name};

/// What the kernel rounds a function's stack up to before it adds them along the calls (`check_max_stack_depth`,
/// `kernel/bpf/verifier.c`; newer ones round up to 16 where the program is compiled).
const STACK_STEP: u64 = 32;

/// `BPF_REG_SIZE`: what it follows the stack in.
const STACK_SLOT: u64 = 8;

/// One function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Function {
    /// In slots of 8 bytes.
    pub instructions: u64,
    /// Places that call a helper, by its name.
    pub helpers: BTreeMap<String, u64>,
    /// Places that call a function of the program, and what they call, by its place among the functions.
    pub calls: Vec<usize>,
    /// Places that go on in another program.
    pub tail_calls: u64,
    /// Bytes below the frame pointer that it reads, writes or takes the address of: the kernel's "stack depth".
    pub stack: u64,
}

impl Function {
    /// Places that call any helper.
    #[must_use]
    pub fn helper_calls(&self) -> u64 {
        self.helpers.values().sum()
    }
}

/// The functions of a program, the main one first.
pub fn functions(code: &[Instruction]) -> Result<Vec<Function>> {
    let mut targets = Vec::new();
    for (at, instruction) in slots(code) {
        if let Some(distance) = instruction.function() {
            targets.push((at, target(at, distance)?));
        }
    }
    let starts: Vec<usize> =
        BTreeSet::from_iter(targets.iter().map(|(_, start)| *start).chain([0])).into_iter().collect();
    let ends = starts.iter().copied().skip(1).chain([code.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(&start, end)| {
            let body = code.get(start..end).context("a call goes past the end of the program")?;
            let called = targets.iter().filter(|(at, _)| (start..end).contains(at));
            let calls = called.filter_map(|(_, target)| starts.binary_search(target).ok()).collect();
            function(body, calls)
        })
        .collect()
}

/// The most stack along any calls from the main function, as the kernel adds it up.
#[must_use]
pub fn deepest_stack(functions: &[Function]) -> u64 {
    // The verifier refuses recursion, so every chain ends.
    fn below(functions: &[Function], at: usize) -> u64 {
        let function = &functions[at];
        let own = function.stack.max(1).next_multiple_of(STACK_STEP);
        let callees = BTreeSet::from_iter(&function.calls).into_iter();
        own + callees.map(|callee| below(functions, *callee)).max().unwrap_or(0)
    }
    below(functions, 0)
}

fn function(body: &[Instruction], calls: Vec<usize>) -> Result<Function> {
    let mut function = Function { instructions: body.len() as u64, calls, ..Function::default() };
    for (_, instruction) in slots(body) {
        if let Some(number) = instruction.helper() {
            *function.helpers.entry(helper_name(number)).or_default() += 1;
        }
        function.tail_calls += u64::from(instruction.is_tail_call());
    }
    function.stack = stack(body)?;
    Ok(function)
}

/// Follows copies of the frame pointer with a constant added, from each place that is jumped to on: LLVM writes both
/// side by side.
fn stack(body: &[Instruction]) -> Result<u64> {
    let mut joins = BTreeSet::new();
    for (at, instruction) in slots(body) {
        if let Some(distance) = instruction.jump() {
            joins.insert(target(at, distance)?);
        }
    }
    let mut known: [Option<i32>; 11] = [None; 11];
    let mut lowest = 0;
    for (at, instruction) in slots(body) {
        if joins.contains(&at) {
            known = [None; 11];
        }
        known[usize::from(FRAME)] = Some(0);
        let Instruction { code, destination, source, offset, immediate } = instruction;
        let of = |register: u8| known.get(usize::from(register)).copied().flatten();
        let accessed = match instruction.class() {
            class::LDX => of(source),
            class::ST | class::STX => of(destination),
            _ => None,
        };
        lowest = lowest.min(accessed.map_or(0, |base| base + i32::from(offset)));
        let written = match (code, instruction.class()) {
            (MOVE, _) if offset == 0 => of(source),
            (ADD, _) => of(destination).map(|base| base + immediate),
            (_, class::LD | class::LDX | class::ALU | class::ALU64) => None,
            _ => continue,
        };
        // A pointer that is only handed on counts as well: what it points to is used.
        lowest = lowest.min(written.unwrap_or(0));
        if let Some(register) = known.get_mut(usize::from(destination)) {
            *register = written;
        }
    }
    ensure!(lowest >= -512, "a function uses {} bytes of stack; the kernel allows 512", -lowest);
    Ok(u64::from(lowest.unsigned_abs()).next_multiple_of(STACK_SLOT))
}

/// Instructions with the slots they begin at.
fn slots(code: &[Instruction]) -> impl Iterator<Item = (usize, Instruction)> {
    let mut skip = false;
    code.iter().copied().enumerate().filter(move |(_, instruction)| {
        let second = std::mem::take(&mut skip);
        skip = !second && instruction.is_wide();
        !second
    })
}

/// Where a distance from the next instruction leads.
fn target(at: usize, distance: i32) -> Result<usize> {
    let target = isize::try_from(distance).ok().and_then(|distance| (at + 1).checked_add_signed(distance));
    target.with_context(|| format!("instruction {at} leads out of the program"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structure::instruction::{CALL, EXIT, LOAD_WIDE, TO_FUNCTION};

    fn op(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
        Instruction { code, destination, source, offset, immediate }
    }

    #[test]
    fn a_program_is_split_where_its_calls_lead() {
        let code = [
            op(CALL, 0, TO_FUNCTION, 0, 2),
            op(CALL, 0, 0, 0, 1),
            op(EXIT, 0, 0, 0, 0),
            // The second half is no instruction, whatever it looks like.
            op(LOAD_WIDE, 1, 0, 0, 0),
            op(CALL, 0, 0, 0, 12),
            op(CALL, 0, 0, 0, 12),
            op(EXIT, 0, 0, 0, 0),
        ];
        let functions = functions(&code).unwrap();
        let helpers = BTreeMap::from([("map_lookup_elem".to_owned(), 1)]);
        let main = Function { instructions: 3, helpers, calls: vec![1], ..Function::default() };
        let callee = Function { instructions: 4, tail_calls: 1, ..Function::default() };
        assert_eq!(functions, [main, callee]);
        assert_eq!(deepest_stack(&functions), 64);
    }

    #[test]
    fn stack_is_used_by_the_frame_pointer_and_by_its_copies() {
        // *(u64 *)(r10 - 8) = r1
        assert_eq!(stack(&[op(0x7b, FRAME, 1, -8, 0)]).unwrap(), 8);
        let copy = [op(MOVE, 2, FRAME, 0, 0), op(ADD, 2, 0, 0, -40)];
        assert_eq!(stack(&copy).unwrap(), 40);
        // *(u64 *)(r2 - 8) = 0
        assert_eq!(stack(&[&copy[..], &[op(0x7a, 2, 0, -8, 0)]].concat()).unwrap(), 48);
        // r2 = 0 makes it another register.
        assert_eq!(stack(&[&copy[..], &[op(0xb7, 2, 0, 0, 0), op(0x7a, 2, 0, -8, 0)]].concat()).unwrap(), 40);
    }
}
