//! What is loaded in the kernel: the only code that knows aya, pins, links and devices.
//!
//! Everything lives under one directory of a BPF file system, so that it survives every process of ours:
//!
//! ```text
//! BPFFS/schema-5/maps/NAME         the maps of fw-ebpf
//! BPFFS/schema-5/programs/NAME     its programs
//! BPFFS/schema-5/links/IFINDEX-SIDE
//! BPFFS/schema-5/flows/window-NS  the flows of a window, while somebody keeps a flow log
//! BPFFS/schema-5/state-GENERATION  what was loaded, as a map of bytes: hooks, devices, zones
//! BPFFS/schema-5/rules-GENERATION  the same: the numbers of the rules
//! BPFFS/schema-5/source-GENERATION the same: the rules file
//! ```
//!
//! Two generations are kept: the one in force and the one before.

mod batch;
mod blob;
mod clock;
mod connections;
mod conntrack;
mod current;
mod devices;
mod driver;
mod entries;
mod events;
mod expedite;
mod filtering;
mod flows;
mod grant;
mod guard;
mod hooks;
mod inspect;
mod install;
mod keep;
mod links;
mod load;
mod lock;
mod mapping;
mod multicast;
mod names;
mod object;
mod place;
mod plan;
mod policy_array;
mod programs;
mod rehearse;
mod replace;
mod resident;
mod scrape;
mod select;
mod state;
mod store;
mod takeover;
mod upkeep;

use std::path::Path;
use std::time::Duration;

use crate::compile::DEFAULT_MAX_MEMORY;
use crate::error::{Error, Result};

use state::State;

pub use batch::Counters;
pub(crate) use clock::{epoch_ns, epoch_s, monotonic_ns};
pub use connections::{ConnectionTable, Founded};
pub(crate) use conntrack::ip;
pub use conntrack::{Conntrack, Filter, Grouping, Network, Progress, WantedProtocol, flush};
pub use events::Listener;
pub(crate) use flows::{Flows, Generation, Rules, Window};
pub(crate) use inspect::{RulesInForce, rules_in_force};
pub use inspect::{fill, source, stats, status};
pub use keep::{Change, Keeper, Mended};
pub(crate) use load::bindings_for;
pub use load::{attach, attach_named, confirm, detach, load, rollback, unload};
pub use object::{OBJECT, with_policy_bytes};
pub use policy_array::PolicyArray;
pub use programs::PROGRAMS;
pub(crate) use programs::object_id;
pub(crate) use rehearse::InForce;
pub use rehearse::rehearse;
pub use resident::{Published, Resident};
pub use scrape::{Scraped, scrape, unhealthy};
pub use store::Store;
pub use upkeep::sweep;

/// What a load is at, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The rules become tables.
    Compile,
    /// Maps and programs come into the kernel, hooks are attached.
    Install,
    /// The tables are written and put in force.
    Publish,
}

/// How to load.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Go back to the rules before unless confirmed within this time.
    pub confirm: Option<Duration>,
    /// A device that does not exist is an error, not pending.
    pub require_devices: bool,
    /// Do everything but change the kernel.
    pub dry_run: bool,
    /// Most bytes that the tables of the rules may take.
    pub max_memory: u64,
    /// A device that cannot be filtered is left out and told of, and all others are filtered; else it is an error.
    pub each_alone: bool,
    /// Told when a phase begins.
    pub progress: Option<fn(Phase)>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            confirm: None,
            require_devices: false,
            dry_run: false,
            max_memory: DEFAULT_MAX_MEMORY,
            each_alone: false,
            progress: None,
        }
    }
}

impl LoadOptions {
    /// For rules that are in force, again: the host has changed, and one device is not to stop what goes for others.
    fn again(state: &State) -> Self {
        Self { max_memory: state.max_memory, each_alone: true, ..Self::default() }
    }

    fn tell(&self, phase: Phase) {
        if let Some(progress) = self.progress {
            progress(phase);
        }
    }
}

/// Root, or an error that says so. What we need is CAP_BPF, CAP_NET_ADMIN, CAP_SYS_ADMIN and, for the pins, uid 0.
pub(crate) fn require_root() -> Result<()> {
    // SAFETY: takes nothing, returns an integer.
    if unsafe { libc::geteuid() } == 0 {
        return Ok(());
    }
    Err(Error::system("fwctl needs root to talk to the kernel's BPF; run it with sudo"))
}

/// The state of `bpffs`, which must be loaded.
fn open_loaded(bpffs: &Path) -> Result<Store> {
    require_root()?;
    Store::open(bpffs)?.ok_or_else(|| {
        Error::system(format!(
            "nothing is loaded under \"{}\"; load a rules file with `fwctl load FILE`",
            bpffs.display()
        ))
    })
}
