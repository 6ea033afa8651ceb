//! Attaching, detaching and verifying programs at the hooks of devices.

use std::ffi::CStr;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{
    NlOptions, SchedClassifierLink, TcAttachOptions, TcAttachType, TcHandle, qdisc_add_clsact,
};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, ProgramFd, ProgramInfo, SchedClassifier};
use aya::util::KernelVersion;

use super::devices::{self, Device, Filter};
use super::driver;
use super::links::{self, Pinned};
use super::programs::{TC_RECEIVED, TC_SENT, XDP_RECEIVED, tc_program, xdp_program};
use super::state::{Hook, Side, Via};
use super::store::Store;
use crate::error::{Error, Result};
use crate::model::Mode;

/// First among the filters of a clsact qdisc (below Linux 6.6), on both sides: whoever is behind a filter that says
/// "ok" is not asked any more.
const TC_PRIORITY: u16 = 1;

/// Ours among them: by the pin directory, so that several instances tell their filters apart.
fn tc_handle(store: &Store) -> TcHandle {
    let path = store.bpffs().as_os_str().as_bytes();
    let hash =
        path.iter().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    TcHandle::new(0, 0xf000 | (hash >> 20) as u16)
}

/// Where the received side of a device is to be filtered, and why.
pub(super) fn choose(store: &Store, device: &Device, mode: Mode) -> Result<(bool, String)> {
    let held = |id: u32| format!("its XDP hook is taken by {}", program_name(id));
    match (mode, held_by(store, device)) {
        (Mode::Tc, _) => Ok((false, "mode is tc".to_owned())),
        (Mode::Xdp, Some(id)) => Err(Error::system(format!(
            "cannot filter \"{}\" with mode xdp: {}; remove it or use mode auto, which takes TC",
            device.name,
            held(id)
        ))),
        (Mode::Xdp, None) if device.bare => Err(Error::system(format!(
            "cannot filter \"{}\" with mode xdp: it has no link-layer header; use mode auto or tc",
            device.name
        ))),
        (Mode::Xdp, None) => Ok((true, "mode is xdp".to_owned())),
        (Mode::Auto, Some(id)) => Ok((false, held(id))),
        (Mode::Auto, None) => Ok(match driver::suits_xdp(device) {
            Ok(why) => (true, why),
            Err(why) => (false, why),
        }),
    }
}

/// Whether somebody else's program is in the place of ours.
pub(super) fn is_held(store: &Store, device: &Device, via: Via) -> bool {
    via == Via::Xdp && held_by(store, device).is_some()
}

/// The XDP program of a device, if it is not ours: what an earlier load of ours left there is taken over.
fn held_by(store: &Store, device: &Device) -> Option<u32> {
    let ours = ProgramInfo::from_pin(store.programs().join(XDP_RECEIVED)).ok().map(|program| program.id());
    device.xdp.filter(|id| Some(*id) != ours)
}

/// Puts one side of a device under our program. What is there of ours already, by whatever pin, goes on; nothing is taken
/// away before something else is in its place.
pub(super) fn attach(store: &Store, hook: &Hook, device: &Device, pins: &[Pinned]) -> Result<Via> {
    let place = match hook.via {
        Via::Xdp => links::Hook::Xdp,
        Via::Tcx => links::Hook::Tcx(hook.side),
        Via::Tc { .. } => return attach_filter(store, hook),
    };
    let path = store.link(hook);
    if let Some(link) = link_at(device, place, pins, &path) {
        take_over(store, hook, link, &path)?;
        return Ok(hook.via);
    }
    let attach = |program: std::result::Result<&ProgramFd, ProgramError>| {
        let program = program.map_err(|error| cannot_attach(hook, &chain(&error)))?;
        let link = links::attach(program.as_fd(), hook.ifindex, place);
        let pinned = link.and_then(|link| links::pin(link.as_fd(), &path));
        pinned.map_err(|error| cannot_attach(hook, &error))
    };
    match place {
        links::Hook::Xdp => attach(xdp_program(&store.programs())?.fd())?,
        links::Hook::Tcx(_) => attach(tc_program(&store.programs(), program_of(hook))?.fd())?,
    }
    Ok(hook.via)
}

fn cannot_attach(hook: &Hook, error: &dyn std::fmt::Display) -> Error {
    Error::system(match hook.via {
        Via::Xdp => {
            format!("cannot attach XDP to \"{}\": {error}; use mode auto or tc for this device", hook.device)
        }
        _ => format!("cannot attach TC to \"{}\" ({}): {error}", hook.device, hook.side.name()),
    })
}

/// Our link at this place of a device. What is pinned says the index alone, and that of a device which was moved to another
/// namespace is one of that namespace: so the device is asked too. Where two remain, it is the one pinned here.
fn link_at<'p>(device: &Device, place: links::Hook, pins: &'p [Pinned], path: &Path) -> Option<&'p Pinned> {
    let said = |pin: &&Pinned| pin.info.hook == place && pin.info.ifindex == device.ifindex;
    let said: Vec<&Pinned> = pins.iter().filter(said).collect();
    if said.is_empty() {
        return None;
    }
    let runs: Vec<u32> = match place {
        links::Hook::Xdp => device.xdp.into_iter().collect(),
        links::Hook::Tcx(side) => {
            let (_, programs) = SchedClassifier::query_tcx(&device.name, attach_type(side)).ok()?;
            programs.iter().map(ProgramInfo::id).collect()
        }
    };
    let mut there: Vec<&Pinned> = said.into_iter().filter(|pin| runs.contains(&pin.info.program)).collect();
    there.sort_by_key(|pin| pin.path != path);
    there.into_iter().next()
}

/// Goes on with a link that is there, under the pin and with the program that it is to have.
fn take_over(store: &Store, hook: &Hook, link: &Pinned, path: &Path) -> Result<()> {
    if link.path != path {
        fs::rename(&link.path, path).map_err(|error| {
            Error::system(format!("cannot rename the pin \"{}\": {error}", link.path.display()))
        })?;
    }
    if link.info.program == program_ids(hook, &store.programs())? {
        return Ok(());
    }
    replace(store, hook, &store.programs())
}

fn program_of(hook: &Hook) -> &'static str {
    match (hook.via, hook.side) {
        (Via::Xdp, _) => XDP_RECEIVED,
        (_, Side::Received) => TC_RECEIVED,
        (_, Side::Sent) => TC_SENT,
    }
}

/// Below Linux 6.6: a filter of the clsact qdisc.
fn attach_filter(store: &Store, hook: &Hook) -> Result<Via> {
    let failed = |error: &dyn std::fmt::Display| cannot_attach(hook, error);
    let name = name_of(hook.ifindex).map_err(|error| failed(&error))?;
    let mut program = tc_program(&store.programs(), program_of(hook))?;
    // Whoever made a clsact qdisc keeps it: ours is not told from another's, so none is ever deleted.
    let _ = qdisc_add_clsact(&name);
    // It takes filters for both sides and runs all of them on the received one.
    if devices::has_ingress_qdisc(hook.ifindex)? {
        return Err(failed(
            &"it has an \"ingress\" qdisc, which has no sent side; put \"clsact\" in its place",
        ));
    }
    remove_filter(store, hook.ifindex, hook.side)?;
    let options = NlOptions { priority: TC_PRIORITY, handle: tc_handle(store), classid: None };
    let id = program
        .attach_with_options(&name, attach_type(hook.side), TcAttachOptions::Netlink(options))
        .map_err(|error| failed(&chain(&error)))?;
    let link = program.take_link(id).map_err(|error| failed(&error))?;
    let via = Via::Tc {
        priority: link.priority().map_err(|error| failed(&error))?,
        handle: link.handle().map_err(|error| failed(&error))?.into(),
    };
    // A filter of a qdisc outlives its maker; dropping the link would remove it.
    std::mem::forget(link);
    Ok(via)
}

/// Puts the programs pinned in `programs` in the place of those that a hook runs, with no packet in between.
pub(super) fn replace(store: &Store, hook: &Hook, programs: &Path) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| {
        Error::system(format!("cannot replace the program at \"{}\": {error}", hook.device))
    };
    let pin = store.link(hook);
    let name = program_of(hook);
    match hook.via {
        Via::Xdp => {
            let link: FdLink = PinnedLink::from_pin(&pin).map_err(|error| failed(&error))?.into();
            let link: XdpLink = link.try_into().map_err(|_| failed(&"its pin is no XDP link"))?;
            let mut program = xdp_program(programs)?;
            let id = program.attach_to_link(link).map_err(|error| failed(&chain(&error)))?;
            // Still pinned: closing our descriptor changes nothing.
            drop(program.take_link(id).map_err(|error| failed(&error))?);
        }
        Via::Tcx => {
            let link: FdLink = PinnedLink::from_pin(&pin).map_err(|error| failed(&error))?.into();
            let link: SchedClassifierLink = link.try_into().map_err(|_| failed(&"its pin is no TCX link"))?;
            let mut program = tc_program(programs, name)?;
            let id = program.attach_to_link(link).map_err(|error| failed(&chain(&error)))?;
            drop(program.take_link(id).map_err(|error| failed(&error))?);
        }
        Via::Tc { priority, handle } => {
            // First the program: a link that is dropped on an error takes the filter along.
            let mut program = tc_program(programs, name)?;
            let link = netlink_filter(hook, priority, handle).map_err(|error| failed(&error))?;
            let id = program.attach_to_link(link).map_err(|error| failed(&chain(&error)))?;
            std::mem::forget(program.take_link(id).map_err(|error| failed(&error))?);
        }
    }
    Ok(())
}

/// Ends filtering at one hook. A device that has gone took its hooks along.
pub(super) fn detach(store: &Store, hook: &Hook) {
    if let Via::Tc { priority, handle } = hook.via {
        if let Ok(link) = netlink_filter(hook, priority, handle) {
            drop(link);
        }
        return;
    }
    links::detach(&store.link(hook));
}

/// The filter of a hook, found by the device's index: its name may have changed, or be another device's by now.
fn netlink_filter(hook: &Hook, priority: u16, handle: u32) -> std::io::Result<SchedClassifierLink> {
    filter_of(hook.ifindex, hook.side, priority, handle.into())
}

fn filter_of(
    ifindex: u32,
    side: Side,
    priority: u16,
    handle: TcHandle,
) -> std::io::Result<SchedClassifierLink> {
    SchedClassifierLink::attached(&name_of(ifindex)?, attach_type(side), priority, handle, None)
}

/// What a device is called now.
fn name_of(ifindex: u32) -> std::io::Result<String> {
    let mut name = [0 as libc::c_char; libc::IF_NAMESIZE];
    // SAFETY: the call writes at most IF_NAMESIZE bytes, with a terminating zero.
    if unsafe { libc::if_indextoname(ifindex, name.as_mut_ptr()) }.is_null() {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so there is a terminating zero.
    Ok(unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned())
}

/// Removes a filter of this pin directory that nobody remembers.
pub(super) fn remove_filter(store: &Store, ifindex: u32, side: Side) -> Result<()> {
    if has_tcx() {
        return Ok(());
    }
    let handle = tc_handle(store);
    let ours = (TC_PRIORITY, u32::from(handle));
    // No clsact qdisc, no filters.
    if devices::filters(ifindex, side)
        .is_ok_and(|filters| filters.iter().any(|filter| (filter.priority, filter.handle) == ours))
    {
        let link = filter_of(ifindex, side, TC_PRIORITY, handle).map_err(|error| {
            Error::system(format!("cannot remove a filter left at device {ifindex}: {error}"))
        })?;
        drop(link);
    }
    Ok(())
}

/// What the kernel says of a hook.
#[derive(Debug, Clone, Default)]
pub(super) struct Verified {
    /// What is wrong; `None` if our program is there.
    pub(super) problem: Option<String>,
    /// Programs that see packets before ours.
    pub(super) ahead: Vec<String>,
}

/// Asks the kernel whether a hook still runs the program that is pinned in `programs`.
pub(super) fn verify(hook: &Hook, devices: &[Device], programs: &Path) -> Verified {
    let Some(device) = devices.iter().find(|device| device.ifindex == hook.ifindex) else {
        return Verified {
            problem: Some(format!("the device \"{}\" (index {}) is gone", hook.device, hook.ifindex)),
            ahead: Vec::new(),
        };
    };
    let ours = match program_ids(hook, programs) {
        Ok(ours) => ours,
        Err(error) => return Verified { problem: Some(error.to_string()), ahead: Vec::new() },
    };
    match hook.via {
        Via::Xdp => {
            let problem = match device.xdp {
                Some(id) if id == ours => None,
                Some(id) => Some(format!("the hook runs {} instead", program_name(id))),
                None => Some("the hook is empty".to_owned()),
            };
            Verified { problem, ahead: Vec::new() }
        }
        Via::Tcx => verify_tcx(hook, device, ours),
        Via::Tc { priority, handle } => verify_tc(hook, device, ours, (priority, handle)),
    }
}

fn verify_tc(hook: &Hook, device: &Device, ours: u32, place: (u16, u32)) -> Verified {
    let wrong = |problem: String| Verified { problem: Some(problem), ahead: Vec::new() };
    let filters = match devices::filters(hook.ifindex, hook.side) {
        Ok(filters) => filters,
        Err(error) => return wrong(error.to_string()),
    };
    let is_ours = |filter: &Filter| (filter.priority, filter.handle) == place;
    let Some(position) = filters.iter().position(is_ours) else {
        return wrong("our filter is not at the hook".to_owned());
    };
    match filters.get(position).and_then(|filter| filter.program) {
        Some(id) if id == ours => {}
        Some(id) => return wrong(format!("our filter runs {} instead", program_name(id))),
        None => return wrong("our filter is not a program any more".to_owned()),
    }
    let name = |filter: &Filter| match filter.program {
        Some(id) => program_name(id),
        None => format!("a {} filter of priority {}", filter.kind, filter.priority),
    };
    let mut ahead: Vec<String> = filters.iter().take(position).map(name).collect();
    if hook.side == Side::Received {
        ahead.extend(device.xdp.map(|id| format!("{} (XDP)", program_name(id))));
    }
    Verified { problem: None, ahead }
}

fn verify_tcx(hook: &Hook, device: &Device, ours: u32) -> Verified {
    let programs = match SchedClassifier::query_tcx(&device.name, attach_type(hook.side)) {
        Ok((_, programs)) => programs,
        Err(error) => {
            let problem = format!("the kernel does not list the hook: {}", chain(&error));
            return Verified { problem: Some(problem), ahead: Vec::new() };
        }
    };
    let Some(position) = programs.iter().position(|program| program.id() == ours) else {
        return Verified { problem: Some("our program is not at the hook".to_owned()), ahead: Vec::new() };
    };
    let mut ahead: Vec<String> = programs.iter().take(position).map(describe).collect();
    if hook.side == Side::Received {
        ahead.extend(device.xdp.map(|id| format!("{} (XDP)", program_name(id))));
    }
    Verified { problem: None, ahead }
}

fn program_ids(hook: &Hook, programs: &Path) -> Result<u32> {
    let name = program_of(hook);
    let info = ProgramInfo::from_pin(programs.join(name))
        .map_err(|error| Error::system(format!("the program \"{name}\" is not pinned any more: {error}")))?;
    Ok(info.id())
}

/// A program as people know it.
fn program_name(id: u32) -> String {
    let found = aya::programs::loaded_programs()
        .filter_map(std::result::Result::ok)
        .find(|program| program.id() == id);
    found.as_ref().map_or_else(|| format!("program {id}"), describe)
}

fn describe(program: &ProgramInfo) -> String {
    match program.name_as_str() {
        Some(name) if !name.is_empty() => format!("program {} \"{name}\"", program.id()),
        _ => format!("program {}", program.id()),
    }
}

/// Links of TC programs came with Linux 6.6.
pub(super) fn has_tcx() -> bool {
    KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 6, 0))
}

fn attach_type(side: Side) -> TcAttachType {
    match side {
        Side::Received => TcAttachType::Ingress,
        Side::Sent => TcAttachType::Egress,
    }
}

/// An error with its causes, in one line.
fn chain(error: &ProgramError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text
}
