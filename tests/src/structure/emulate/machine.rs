//! The instructions of BPF up to cpu v3 (RFC 9669), on registers that hold plain numbers.
//!
//! Safe access is the verifier's business and was checked elsewhere; here a wrong one is an error all the same.

use anyhow::{Context as _, Result, bail};

use super::helpers::Kernel;
use super::maps::Maps;
use super::{Run, arithmetic};
use crate::structure::instruction::{
    CALL, EXIT, FRAME, Instruction, LOAD_WIDE, MAP, MAP_VALUE, REGISTER, class,
};

/// `MAX_BPF_STACK`, of each function.
const STACK: usize = 512;
/// No packet comes near it.
const MOST_INSTRUCTIONS: u64 = 1_000_000;
/// What is in registers that a call leaves undefined.
const UNDEFINED: u64 = 0xbad0_bad0_bad0_bad0;

/// `BPF_MEM` and `BPF_ATOMIC`: how a load or store accesses memory.
const MODE: u8 = 0xe0;
const MEM: u8 = 0x60;
const ATOMIC: u8 = 0xc0;

struct Machine<'c, 'k, 'm> {
    code: &'c [Instruction],
    kernel: &'k mut Kernel<'m>,
    registers: [u64; 11],
    /// Where the callers go on, and their registers 6 to 10.
    callers: Vec<(usize, [u64; 5])>,
    /// Where the stack of the running function begins.
    stack: u64,
    run: Run,
}

/// Runs a program from its first instruction until its main function returns.
pub(super) fn run(code: &[Instruction], context: u64, kernel: &mut Kernel<'_>) -> Result<Run> {
    let mut registers = [UNDEFINED; 11];
    registers[1] = context;
    let mut machine = Machine { code, kernel, registers, callers: Vec::new(), stack: 0, run: Run::default() };
    machine.enter();
    let mut at = 0;
    loop {
        match machine.step(at).with_context(|| format!("instruction {at}"))? {
            Some(next) => at = next,
            None => return Ok(machine.run),
        }
        if machine.run.instructions > MOST_INSTRUCTIONS {
            bail!("it runs for more than {MOST_INSTRUCTIONS} instructions");
        }
    }
}

impl Machine<'_, '_, '_> {
    /// Where to go on.
    fn step(&mut self, at: usize) -> Result<Option<usize>> {
        let instruction = *self.code.get(at).context("there is none")?;
        let Instruction { code, destination, source, offset, immediate } = instruction;
        self.run.instructions += 1;
        let next = at + 1;
        match (code, instruction.class()) {
            (LOAD_WIDE, _) => {
                let upper = self.code.get(next).context("its second half is missing")?.immediate;
                self.registers[usize::from(destination)] = self.wide(source, immediate, upper)?;
                return Ok(Some(next + 1));
            }
            (CALL, _) if source == 0 => self.call_helper(immediate)?,
            (CALL, _) => {
                let [.., six, seven, eight, nine, frame] = self.registers;
                self.callers.push((next, [six, seven, eight, nine, frame]));
                self.run.function_calls += 1;
                self.enter();
                return jumped(next, immediate).map(Some);
            }
            (EXIT, _) => return Ok(self.leave()),
            (_, class::JMP | class::JMP32) => {
                let (left, right) = self.operands(instruction);
                if arithmetic::is_taken(instruction, left, right)? {
                    return jumped(next, offset.into()).map(Some);
                }
            }
            (_, class::ALU | class::ALU64) => {
                let (left, right) = self.operands(instruction);
                self.registers[usize::from(destination)] = arithmetic::result(instruction, left, right)?;
            }
            (_, class::LDX) if code & MODE == MEM => {
                let from = self.address(source, offset);
                self.registers[usize::from(destination)] = self.kernel.memory.read(from, width(code))?;
            }
            (_, class::ST) if code & MODE == MEM => {
                let to = self.address(destination, offset);
                self.kernel.memory.write(to, width(code), i64::from(immediate).cast_unsigned())?;
            }
            (_, class::STX) if code & MODE == MEM => {
                let to = self.address(destination, offset);
                self.kernel.memory.write(to, width(code), self.registers[usize::from(source)])?;
            }
            (_, class::STX) if code & MODE == ATOMIC => self.atomic(instruction)?,
            _ => bail!("code {code:#04x} is none of cpu v3"),
        }
        Ok(Some(next))
    }

    /// Gives the running function its stack.
    fn enter(&mut self) {
        self.stack = self.kernel.memory.add(vec![0; STACK]);
        self.registers[usize::from(FRAME)] = self.stack + STACK as u64;
    }

    /// Back to the caller, or to nobody.
    fn leave(&mut self) -> Option<usize> {
        self.kernel.memory.remove(self.stack);
        let Some((next, kept)) = self.callers.pop() else {
            self.run.code = self.registers[0] as u32;
            return None;
        };
        self.registers[1..6].fill(UNDEFINED);
        self.registers[6..].copy_from_slice(&kept);
        self.stack = self.registers[usize::from(FRAME)] - STACK as u64;
        Some(next)
    }

    fn call_helper(&mut self, number: i32) -> Result<()> {
        let [_, one, two, three, four, five, ..] = self.registers;
        self.registers[0] = self.kernel.call(number, [one, two, three, four, five])?;
        self.registers[1..6].fill(UNDEFINED);
        Ok(())
    }

    fn wide(&self, source: u8, lower: i32, upper: i32) -> Result<u64> {
        let upper = u64::from(upper.cast_unsigned());
        Ok(match source {
            0 => upper << 32 | u64::from(lower.cast_unsigned()),
            MAP => Maps::handle(lower),
            MAP_VALUE => self.kernel.maps.first_value(Maps::handle(lower))? + upper,
            other => bail!("a constant of kind {other} is unknown"),
        })
    }

    fn address(&self, register: u8, offset: i16) -> u64 {
        self.registers[usize::from(register)].wrapping_add_signed(offset.into())
    }

    /// Both operands.
    fn operands(&self, instruction: Instruction) -> (u64, u64) {
        let left = self.registers[usize::from(instruction.destination)];
        let right = if instruction.code & REGISTER == 0 {
            i64::from(instruction.immediate).cast_unsigned()
        } else {
            self.registers[usize::from(instruction.source)]
        };
        (left, right)
    }

    fn atomic(&mut self, instruction: Instruction) -> Result<()> {
        const FETCH: i32 = 1;
        let Instruction { code, destination, source, offset, immediate } = instruction;
        let at = self.address(destination, offset);
        let before = self.kernel.memory.read(at, width(code))?;
        let operand = self.registers[usize::from(source)];
        let after = match immediate & !FETCH {
            0x00 => before.wrapping_add(operand),
            0x40 => before | operand,
            0x50 => before & operand,
            0xa0 => before ^ operand,
            0xe0 => operand,
            0xf0 => {
                // A comparison of 4 bytes looks at no more of the register.
                let differs = (before ^ self.registers[0]) << (64 - 8 * width(code)) != 0;
                self.registers[0] = before;
                if differs { before } else { operand }
            }
            other => bail!("atomic operation {other:#x} is none of cpu v3"),
        };
        self.kernel.memory.write(at, width(code), after)?;
        if immediate & FETCH != 0 && immediate & 0xf0 != 0xf0 {
            self.registers[usize::from(source)] = before;
        }
        Ok(())
    }
}

/// Bytes that a load or store accesses.
fn width(code: u8) -> u64 {
    match code & 0x18 {
        0x00 => 4,
        0x08 => 2,
        0x10 => 1,
        _ => 8,
    }
}

fn jumped(next: usize, distance: i32) -> Result<usize> {
    let target = isize::try_from(distance).ok().and_then(|distance| next.checked_add_signed(distance));
    target.context("it leads out of the program")
}
