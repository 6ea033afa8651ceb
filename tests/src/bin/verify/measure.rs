//! All figures, by the names that they are recorded under.

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result};
use fw_tests::kernel::Kernel;
use fw_tests::structure::ceilings::{Ceilings, Figures, Group};
use fw_tests::structure::emulate::Run;
use fw_tests::structure::object::Linked;
use fw_tests::structure::packets;
use fw_tests::structure::shape::{self, Function};
use fw_tests::structure::translated::{Translated, kernel};
use fw_userspace::datapath::PROGRAMS;

/// Of this object, and of this kernel.
pub(crate) fn all(kernel: &mut Kernel) -> Result<Ceilings> {
    let linked = Linked::new(|_| Ok(()))?;
    let mut object = Group::new();
    let mut translated = Group::new();
    for name in PROGRAMS {
        let code = linked.programs.get(name).with_context(|| format!("the object has no program {name}"))?;
        object.insert(name.to_owned(), of_object(&shape::functions(code)?));
        translated.insert(name.to_owned(), of_kernel(kernel, name)?);
    }
    let mut packets = Group::new();
    for ((program, packet), run) in packets::all()? {
        packets.insert(format!("{program}: {packet}"), of_run(&run));
    }
    Ok(Ceilings { kernel: self::kernel()?, object, packets, translated, ..Ceilings::default() })
}

fn of_object(functions: &[Function]) -> Figures {
    let mut figures = Figures::new();
    let mut add = |scope: &str, figure: &str, value: u64| {
        *figures.entry(format!("{scope} {figure}")).or_default() += value;
    };
    for (number, function) in functions.iter().enumerate() {
        let scopes: &[&str] = if number == 0 { &["main", "whole"] } else { &["whole"] };
        for scope in scopes {
            add(scope, "instructions", function.instructions);
            add(scope, "function calls", function.calls.len() as u64);
            add(scope, "tail calls", function.tail_calls);
            add(scope, "helper calls", function.helper_calls());
            for (helper, calls) in &function.helpers {
                add(scope, &format!("helper calls: {helper}"), *calls);
            }
        }
    }
    add("main", "stack bytes", functions.first().map_or(0, |main| main.stack));
    add("whole", "stack bytes", shape::deepest_stack(functions));
    add("whole", "functions", functions.len() as u64);
    figures
}

fn of_run(run: &Run) -> Figures {
    let mut figures = Figures::from([
        ("instructions".to_owned(), run.instructions),
        ("function calls".to_owned(), run.function_calls),
        ("helper calls".to_owned(), run.helpers.values().sum()),
        ("hash map calls".to_owned(), run.hash_map_calls),
    ]);
    figures.extend(run.helpers.iter().map(|(helper, calls)| (format!("helper calls: {helper}"), *calls)));
    figures
}

fn of_kernel(kernel: &mut Kernel, name: &str) -> Result<Figures> {
    let (verified, _, _) = kernel.sizes(name)?;
    let translated = Translated::read(kernel.program(name)?.fd()?.as_fd())?;
    let main = translated.functions.first().copied().unwrap_or_default();
    let whole = translated.whole();
    let figures = [
        ("main instructions", main.instructions),
        ("main kernel calls", main.kernel_calls),
        ("main function calls", main.calls),
        ("verified instructions", verified.into()),
        ("whole instructions", whole.instructions),
        ("whole kernel calls", whole.kernel_calls),
        ("whole function calls", whole.calls),
        ("whole functions", translated.functions.len() as u64),
    ];
    Ok(figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}
