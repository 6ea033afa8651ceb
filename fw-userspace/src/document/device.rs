//! How the file names a device: a name, a glob, or an object with its hardware address or alternative name.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::json::Raw;
use super::object::document_object;
use super::report::Report;
use super::scalar::{Description, plain_schema};
use super::value::{FromScalar, Label, Read, Scalar};
use crate::lint::Code;
use crate::model::{DeviceSelector, MAX_NAME_BYTES};

/// A device of this host.
#[derive(Debug)]
pub(super) struct Device(pub(super) DeviceSelector);

document_object! {
    /// A device by something other than its name; exactly one of `mac` and `altname`.
    DocumentDevice {
        /// Hardware address, `52:54:00:12:34:56`.
        optional mac: Mac,
        /// Alternative name, as `ip link property` sets it.
        optional altname: Altname,
        /// A remark.
        optional description: Description,
    }
}

impl Read for Device {
    fn read(value: Raw<'_>, label: Label<'_>, report: &mut Report<'_>) -> Option<Self> {
        if !value.get().starts_with('{') {
            return DeviceName::read(value, label, report).map(|name| Self(name.0));
        }
        let object = DocumentDevice::read(value, label, report)?;
        if object.mac.is_wrong() || object.altname.is_wrong() {
            return None;
        }
        match (object.mac.value(), object.altname.value()) {
            (Some(mac), None) => Some(Self(DeviceSelector::Mac(mac.0))),
            (None, Some(altname)) => Some(Self(DeviceSelector::Altname(altname.0.clone()))),
            _ => {
                let at = report.offset_of(value.get());
                report.say(
                    at,
                    Code::ValueConflict,
                    "a device object must have exactly one of \"mac\" and \"altname\"",
                );
                None
            }
        }
    }
}

impl JsonSchema for Device {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Device".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                generator.subschema_for::<DeviceName>(),
                generator.subschema_for::<DocumentDevice>(),
            ],
        })
    }
}

#[derive(Debug)]
struct DeviceName(DeviceSelector);

impl FromScalar for DeviceName {
    fn from_scalar(scalar: &Scalar<'_>, _: &mut Report<'_>) -> Result<Self, String> {
        let Scalar::Text(text) = scalar else {
            return Err("must be a device name, a glob, {\"mac\": ...} or {\"altname\": ...}".to_owned());
        };
        if text.contains(['*', '?', '[']) {
            return match check_link_name(text, MAX_GLOB_BYTES) {
                Ok(()) => Ok(Self(DeviceSelector::Glob(text.clone().into_owned()))),
                Err(must_be) => Err(must_be),
            };
        }
        if text == "lo" {
            return Err("must be another device, the loopback device is never filtered".to_owned());
        }
        check_link_name(text, MAX_NAME_BYTES)?;
        Ok(Self(DeviceSelector::Name(text.clone().into_owned())))
    }
}

plain_schema!(DeviceName, {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_GLOB_BYTES,
    "not": { "const": "lo" },
});

#[derive(Debug, Clone, Copy)]
pub(super) struct Mac([u8; 6]);

impl FromScalar for Mac {
    fn from_scalar(scalar: &Scalar<'_>, _: &mut Report<'_>) -> Result<Self, String> {
        let expected = || "must be a hardware address such as \"52:54:00:12:34:56\"".to_owned();
        let Scalar::Text(text) = scalar else {
            return Err(expected());
        };
        let mac = parse_mac(text).ok_or_else(expected)?;
        if mac == [0; 6] || mac[0] & 1 == 1 {
            return Err("must be the address of one device, not zero or a group's".to_owned());
        }
        Ok(Self(mac))
    }
}

plain_schema!(Mac, { "type": "string", "pattern": "^[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}$" });

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut octets = [0; 6];
    let mut parts = text.split([':', '-']);
    for octet in &mut octets {
        let part = parts.next()?;
        // `from_str_radix` takes a sign.
        if part.len() != 2 || !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        *octet = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(octets)
}

#[derive(Debug)]
pub(super) struct Altname(String);

impl FromScalar for Altname {
    fn from_scalar(scalar: &Scalar<'_>, _: &mut Report<'_>) -> Result<Self, String> {
        let Scalar::Text(text) = scalar else {
            return Err("must be an alternative name in quotes".to_owned());
        };
        check_link_name(text, MAX_ALTNAME_BYTES).map(|()| Self(text.clone().into_owned()))
    }
}

plain_schema!(Altname, { "type": "string", "minLength": 1, "maxLength": MAX_ALTNAME_BYTES });

/// What the kernel takes as a link name.
/// <https://elixir.bootlin.com/linux/v6.12/source/net/core/dev.c#L1071> (`dev_valid_name`)
fn check_link_name(name: &str, max_bytes: usize) -> Result<(), String> {
    let refused = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if name.is_empty() || name.len() > max_bytes || name == "." || name == ".." || name.contains(refused) {
        return Err(format!("must be 1 to {max_bytes} bytes without slash, colon or space"));
    }
    Ok(())
}

/// `ALTIFNAMSIZ` less its final zero.
const MAX_ALTNAME_BYTES: usize = 127;

/// A glob may be longer than what it matches: `[abc]` stands for one letter.
const MAX_GLOB_BYTES: usize = 127;
