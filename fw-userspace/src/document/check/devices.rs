//! Devices: where interfaces and subnet legs are attached, each device once.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::super::device::Device;
use super::super::report::Report;
use super::super::scalar::Word;
use super::super::types::Document;
use super::super::value::Field;
use crate::lint::Code;
use crate::model::{Attachment, DeviceSelector, Faces, Mode};

/// Where an interface or a leg is attached.
pub(super) fn attachment(
    device: &Field<Device>,
    faces: &Field<Word<Faces>>,
    mode: &Field<Word<Mode>>,
    default_faces: Faces,
    report: &mut Report<'_>,
) -> Option<Attachment> {
    if device.is_absent() {
        let places = [("faces", faces.get().map(|word| word.at)), ("mode", mode.get().map(|word| word.at))];
        for (key, at) in places {
            if let Some(at) = at {
                report.say(at, Code::KeyWithoutDevice, format!("{key:?} says nothing without a \"device\""));
            }
        }
    }
    Some(Attachment {
        device: device.value()?.0.clone(),
        faces: faces.value().map_or(default_faces, |word| word.0),
        mode: mode.value().map_or(Mode::Auto, |word| word.0),
    })
}

/// Refuses a device that two objects name, and globs that take a device of which neither says more.
pub(super) fn check(document: &Document, report: &mut Report<'_>) {
    let legs = document.subnets.readable().map(|(name, subnet)| ("subnet", name, &subnet.value.device));
    let interfaces =
        document.interfaces.readable().map(|(name, interface)| ("interface", name, &interface.value.device));
    let mut named: Vec<Named<'_>> = legs
        .chain(interfaces)
        .filter_map(|(kind, owner, device)| {
            let device = device.get()?;
            Some(Named { at: device.at, kind, owner, selector: &device.value.0 })
        })
        .collect();
    // The later one in the file is the one to change.
    named.sort_by_key(|named| named.at);
    let mut first: HashMap<String, &Named<'_>> = HashMap::new();
    for device in &named {
        let shown = shown(device.selector);
        match first.get(&shown) {
            Some(Named { kind, owner, .. }) => {
                report.say(
                    device.at,
                    Code::ValueConflict,
                    format!("device {shown} is taken by {kind} {owner:?}, name it once"),
                );
            }
            None => {
                first.insert(shown, device);
            }
        }
    }
    let (globs, names): (Vec<&Named<'_>>, Vec<&Named<'_>>) = first
        .into_values()
        .filter(|named| matches!(named.selector, DeviceSelector::Glob(_) | DeviceSelector::Name(_)))
        .partition(|named| matches!(named.selector, DeviceSelector::Glob(_)));
    for glob in &globs {
        let later = globs.iter().filter(|other| other.at > glob.at);
        for other in names.iter().chain(later) {
            overlap(glob, other, report);
        }
    }
}

/// Says who gets a device that two selectors take, or that the file does not tell.
fn overlap(one: &Named<'_>, other: &Named<'_>, report: &mut Report<'_>) {
    let Some(name) = one.selector.name_in_common(other.selector) else { return };
    let (winner, loser) = match one.selector.specificity().cmp(&other.selector.specificity()) {
        Ordering::Greater => (one, other),
        Ordering::Less => (other, one),
        Ordering::Equal => {
            let Named { kind, owner, selector, .. } = one;
            let message = format!(
                "device {} takes {name:?} too, which {kind} {owner:?} takes as {}, and neither glob is longer; write out \
                 more of one of them, or the name",
                shown(other.selector),
                shown(selector),
            );
            report.say(other.at, Code::ValueConflict, message);
            return;
        }
    };
    let Named { kind, owner, selector, .. } = winner;
    let message = format!(
        "device {} takes {name:?} too, which {kind} {owner:?} gets: {} is more specific",
        shown(loser.selector),
        shown(selector),
    );
    report.say(loser.at, Code::DeviceException, message);
}

struct Named<'d> {
    at: usize,
    kind: &'static str,
    owner: &'d str,
    selector: &'d DeviceSelector,
}

fn shown(selector: &DeviceSelector) -> String {
    match selector {
        DeviceSelector::Name(name) | DeviceSelector::Glob(name) => format!("{name:?}"),
        DeviceSelector::Mac(octets) => {
            let octets: Vec<String> = octets.iter().map(|octet| format!("{octet:02x}")).collect();
            format!("with mac {}", octets.join(":"))
        }
        DeviceSelector::Altname(name) => format!("with altname {name:?}"),
    }
}
