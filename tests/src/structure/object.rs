//! The object of `fwctl`, linked as aya links it before it hands a program to the kernel, but without the kernel: maps
//! have numbers of ours instead of descriptors.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context as _, Result};
use aya_obj::Object;
use aya_obj::maps::Map;
use fw_userspace::datapath::OBJECT;

use super::instruction::Instruction;

/// All programs, and the maps that they name by their places here.
pub struct Linked {
    /// By name; the code of each is its main function, then those that are called from it.
    pub programs: BTreeMap<String, Vec<Instruction>>,
    /// Name and definition.
    pub maps: Vec<(String, Map)>,
}

impl Linked {
    /// Links the embedded object. `prepare` does what the loader does before: sizes of maps, values of constants.
    pub fn new(prepare: impl FnOnce(&mut Object) -> Result<()>) -> Result<Self> {
        let mut object = Object::parse(OBJECT).context("the embedded object cannot be read")?;
        prepare(&mut object)?;
        let mut maps: Vec<(String, Map)> = object.maps.drain().collect();
        maps.sort_by(|(one, _), (other, _)| one.cmp(other));
        let text: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
        let numbered = maps.iter().zip(0..).map(|((name, map), number)| (name.as_str(), number, map));
        object.relocate_maps(numbered, &text).context("the object's maps cannot be linked")?;
        object.relocate_calls(&text).context("the object's functions cannot be linked")?;
        let code = |program: &aya_obj::Program| {
            let function = object.functions.get(&program.function_key())?;
            Some(function.instructions.iter().map(|raw| Instruction::from(*raw)).collect())
        };
        let programs = object.programs.iter().map(|(name, program)| {
            let code = code(program).with_context(|| format!("the object has no code of {name}"))?;
            Ok((name.clone(), code))
        });
        Ok(Self { programs: programs.collect::<Result<_>>()?, maps })
    }
}
