//! A case's rules for the devices of the rig.

use serde_json::{Value, json};

use crate::kernel::Received;

/// The size of the connection table until a case asks for another: the smallest, since another one takes the kernel a
/// second or two.
pub(super) const TABLE_SIZE: u64 = 1024;

/// The device that carries an interface or a leg, in every case the same: at most 15 bytes.
pub(super) fn device(name: &str) -> String {
    let hash =
        name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("wire{hash:08x}")
}

/// Puts whatever has a device on one of ours, filtered the way we ask for; the names of all that have one.
pub(super) fn put_on_devices(rules: &mut Value, received: Received, table_size: u64) -> Vec<String> {
    let mode = match received {
        Received::Xdp => "xdp",
        Received::Tc => "tc",
    };
    let mut names = Vec::new();
    for kind in ["interfaces", "subnets"] {
        for (name, object) in rules.get_mut(kind).and_then(Value::as_object_mut).into_iter().flatten() {
            if object.get("device").is_some() {
                object["device"] = json!(device(name));
                object["mode"] = json!(mode);
                names.push(name.clone());
            }
        }
    }
    if rules["settings"]["conntrack_max"].is_null() {
        rules["settings"]["conntrack_max"] = json!(table_size);
    }
    names
}
