//! The object that is embedded in this binary, and how large its policy array is to be.

use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

/// `fw-ebpf`, built by this crate's build script.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/fw-ebpf.o"));

/// Where a map's definition has the size of its values (`struct bpf_map_def`: type, key size, value size).
const VALUE_SIZE: usize = 8;

/// The object with values of this many bytes in the map POLICY: aya lets one choose how many values a map has, not how
/// large they are.
pub fn with_policy_bytes(bytes: u32) -> Vec<u8> {
    let mut image = OBJECT.to_vec();
    if let Some(place) = policy_definition() {
        image[place + VALUE_SIZE..place + VALUE_SIZE + 4].copy_from_slice(&bytes.to_ne_bytes());
    }
    image
}

/// Where in the object POLICY is defined.
fn policy_definition() -> Option<usize> {
    let file = object::File::parse(OBJECT).ok()?;
    let symbol = file.symbols().find(|symbol| symbol.name() == Ok("POLICY"))?;
    let section = file.section_by_index(symbol.section_index()?).ok()?;
    let (start, _) = section.file_range()?;
    usize::try_from(start + symbol.address()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_written_where_the_map_is_defined() {
        let place = policy_definition().expect("the object defines POLICY");
        // An array with keys of 4 bytes.
        assert_eq!(OBJECT[place..place + 8], [2, 0, 0, 0, 4, 0, 0, 0]);
        let image = with_policy_bytes(0x0102_0304);
        assert_eq!(image[place + 8..place + 12], 0x0102_0304u32.to_ne_bytes());
    }
}
