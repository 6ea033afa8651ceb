//! What the kernel made of a program: the verifier rewrites accesses to the context, inlines some helpers and removes
//! what it found dead. Differs from kernel to kernel.

use std::env::consts::ARCH;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd as _, BorrowedFd};

use anyhow::{Context as _, Result, bail, ensure};
use aya_obj::generated::{bpf_func_info, bpf_insn, bpf_prog_info};

use super::instruction::{CALL, Instruction, TO_FUNCTION};
use crate::bpf;

const BPF_OBJ_GET_INFO_BY_FD: u32 = 15;

/// A program's functions, the main one first.
pub struct Translated {
    /// By where they begin.
    pub functions: Vec<Function>,
}

/// One function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Function {
    /// In slots of 8 bytes.
    pub instructions: u64,
    /// Places that still call into the kernel.
    pub kernel_calls: u64,
    /// Places that call a function of the program.
    pub calls: u64,
}

/// `union bpf_attr` of `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct InfoAttributes {
    descriptor: u32,
    size: u32,
    info: u64,
}

impl Translated {
    /// Of a loaded program.
    pub fn read(program: BorrowedFd<'_>) -> Result<Self> {
        let sizes = info(program, &mut [], &mut []).context("cannot ask the kernel about a program")?;
        // SAFETY: a plain record of integers.
        let nothing: bpf_insn = unsafe { std::mem::zeroed() };
        let mut code = vec![nothing; sizes.xlated_prog_len as usize / size_of::<bpf_insn>()];
        let mut functions = vec![bpf_func_info { insn_off: 0, type_id: 0 }; sizes.nr_func_info as usize];
        let filled = info(program, &mut code, &mut functions).context("cannot read a program's code")?;
        if filled.xlated_prog_insns == 0 {
            bail!(
                "the kernel shows no translated code; set the sysctl \"net.core.bpf_jit_harden\" to 0 or 1"
            );
        }
        ensure!(
            !functions.is_empty(),
            "the kernel knows no functions of the program: it was loaded without BTF"
        );
        let code: Vec<Instruction> = code.into_iter().map(Instruction::from).collect();
        let starts = functions.iter().map(|function| function.insn_off as usize);
        let ends = starts.clone().skip(1).chain([code.len()]);
        let bodies = starts.zip(ends).map(|(start, end)| code.get(start..end).map(function));
        let functions: Option<_> = bodies.collect();
        Ok(Self { functions: functions.context("the kernel's functions are out of order")? })
    }

    /// All functions together.
    #[must_use]
    pub fn whole(&self) -> Function {
        self.functions.iter().fold(Function::default(), |sum, function| Function {
            instructions: sum.instructions + function.instructions,
            kernel_calls: sum.kernel_calls + function.kernel_calls,
            calls: sum.calls + function.calls,
        })
    }
}

/// What figures from here belong to: major and minor number, and the architecture that calls are inlined for.
pub fn kernel() -> Result<String> {
    let release =
        fs::read_to_string("/proc/sys/kernel/osrelease").context("cannot tell the kernel's release")?;
    let release: Vec<&str> = release.split('.').take(2).collect();
    Ok(format!("Linux {} {}", release.join("."), ARCH))
}

fn function(body: &[Instruction]) -> Function {
    let calls = || body.iter().filter(|instruction| instruction.code == CALL);
    let own = calls().filter(|call| call.source == TO_FUNCTION).count() as u64;
    Function { instructions: body.len() as u64, kernel_calls: calls().count() as u64 - own, calls: own }
}

/// What the kernel knows of a program; fills the slices as far as they reach.
fn info(
    program: BorrowedFd<'_>,
    code: &mut [bpf_insn],
    functions: &mut [bpf_func_info],
) -> io::Result<bpf_prog_info> {
    // SAFETY: a plain record of integers, and zeros ask for no array.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    info.xlated_prog_len = u32::try_from(size_of_val(code)).map_err(|_| ErrorKind::InvalidInput)?;
    info.xlated_prog_insns = code.as_mut_ptr() as u64;
    info.nr_func_info = u32::try_from(functions.len()).map_err(|_| ErrorKind::InvalidInput)?;
    info.func_info_rec_size = size_of::<bpf_func_info>() as u32;
    info.func_info = functions.as_mut_ptr() as u64;
    let mut attributes = InfoAttributes {
        descriptor: program.as_raw_fd().cast_unsigned(),
        size: size_of::<bpf_prog_info>() as u32,
        info: &raw mut info as u64,
    };
    // SAFETY: the attribute is that of the command. It names the record with its size, and the record the two slices
    // with theirs: the kernel writes integers there and no further, and all outlive the call.
    unsafe { bpf::command(BPF_OBJ_GET_INFO_BY_FD, &raw mut attributes) }?;
    Ok(info)
}
