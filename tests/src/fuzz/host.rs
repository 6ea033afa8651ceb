//! One device with its rules, fed with frames as a hook sees them: with tags in metadata, segments to come, or no link
//! layer.

use fw_common::conntrack::{Class, Connection};
use fw_common::memory::{MemoryTables, SliceFrame};
use fw_common::{Decision, FlowKey, Hook, Scratch, Sighting, judge};
use fw_userspace::compile::{Compiled, Numbering, compile, pretend_bindings};
use serde_json::Value;

use super::policies;

/// A frame as a hook sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    pub(super) bytes: &'a [u8],
    /// Wire packets it becomes.
    pub(super) segments: u32,
    /// VLAN tags in metadata.
    pub(super) tags: u8,
    pub(super) hook: Hook,
}

/// The device.
pub(super) struct Host {
    tables: MemoryTables,
    pub(super) compiled: Compiled,
    ifindex: u32,
}

impl Host {
    /// With the one interface or leg of these rules.
    pub(super) fn new(rules: &Value, bare: bool) -> Self {
        let policy = policies::policy(rules);
        let mut bindings = pretend_bindings(&policy);
        assert_eq!(bindings.len(), 1, "one device");
        bindings[0].bare = bare;
        let ifindex = bindings[0].ifindex;
        let compiled =
            compile(&policy, &bindings, Numbering::default(), 1).unwrap_or_else(|error| panic!("{error}"));
        let mut tables = MemoryTables::new(policy.settings.conntrack_max as usize);
        tables.publish(&compiled.patch.image());
        Self { tables, compiled, ifindex }
    }

    /// Judges a frame as the first one of this host, and says what is tracked then.
    pub(super) fn judge(
        &self,
        seen: Seen<'_>,
        scratch: &mut Scratch,
    ) -> (Decision, Vec<(FlowKey, Connection, Class)>) {
        self.tables.forget();
        let sighting = Sighting { ifindex: self.ifindex, hook: seen.hook, vlan_tags: seen.tags };
        let frame = SliceFrame { bytes: seen.bytes, segments: seen.segments };
        let decision = judge(&frame, &self.tables, sighting, scratch);
        (decision, self.tables.connections())
    }
}
