//! Scalars that are not of the network: bounded integers, words, names, text, flags.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::report::Report;
use super::value::{FromScalar, MAX_NAME_CHARS, Scalar, check_name};
use crate::model::{Action, ExemptServices, Faces, MidStream, Mode, OtherEthertypes};

/// An integer, both ends included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ranged<const MIN: i64, const MAX: i64>(i64);

impl<const MIN: i64, const MAX: i64> Ranged<MIN, MAX> {
    /// The number as the type the model keeps it in, which holds `MIN..=MAX`.
    pub(super) fn to<T: TryFrom<i64> + Default>(self) -> T {
        T::try_from(self.0).unwrap_or_default()
    }
}

impl<const MIN: i64, const MAX: i64> FromScalar for Ranged<MIN, MAX> {
    fn from_scalar(scalar: &Scalar<'_>, _: &mut Report<'_>) -> Result<Self, String> {
        match scalar {
            Scalar::Integer(number) if (MIN..=MAX).contains(number) => Ok(Self(*number)),
            _ if MIN == MAX => Err(format!("must be {MIN}")),
            Scalar::Text(text) if text.parse::<i64>().is_ok_and(|number| (MIN..=MAX).contains(&number)) => {
                Err(format!("must be {MIN} to {MAX}, write {text} without quotes"))
            }
            _ => Err(format!("must be {MIN} to {MAX}")),
        }
    }
}

impl<const MIN: i64, const MAX: i64> JsonSchema for Ranged<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Integer{MIN}To{MAX}").into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        if MIN == MAX {
            return json_schema!({ "const": MIN });
        }
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

/// A closed set of words, as the file writes them.
pub(super) trait Words: Copy + 'static {
    const NAME: &'static str;
    const WORDS: &'static [(&'static str, Self)];
}

/// One word of a closed set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word<T>(pub(super) T);

impl<T: Words> FromScalar for Word<T> {
    fn from_scalar(scalar: &Scalar<'_>, report: &mut Report<'_>) -> Result<Self, String> {
        let words = || T::WORDS.iter().map(|(word, _)| *word);
        let Scalar::Text(text) = scalar else {
            return Err(format!("must be {}", one_of(words())));
        };
        match T::WORDS.iter().find(|(word, _)| word == text) {
            Some((_, value)) => Ok(Self(*value)),
            None => Err(format!("must be {}{}", one_of(words()), report.did_you_mean(text, words()))),
        }
    }
}

impl<T: Words> JsonSchema for Word<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        T::NAME.into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words: Vec<&str> = T::WORDS.iter().map(|(word, _)| *word).collect();
        json_schema!({ "type": "string", "enum": words })
    }
}

/// `"a", "b" or "c"`.
pub(super) fn one_of<'w>(words: impl Iterator<Item = &'w str>) -> String {
    let mut quoted: Vec<String> = words.map(|word| format!("{word:?}")).collect();
    match quoted.pop() {
        Some(last) if quoted.is_empty() => last,
        Some(last) => format!("{} or {last}", quoted.join(", ")),
        None => String::new(),
    }
}

macro_rules! words {
    ($type:ty { $( $word:literal = $value:expr ),* $(,)? }) => {
        impl Words for $type {
            const NAME: &'static str = stringify!($type);
            const WORDS: &'static [(&'static str, Self)] = &[$( ($word, $value) ),*];
        }
    };
}

words!(Action { "allow" = Action::Allow, "deny" = Action::Deny });
words!(Faces { "network" = Faces::Network, "instance" = Faces::Instance });
words!(Mode { "auto" = Mode::Auto, "xdp" = Mode::Xdp, "tc" = Mode::Tc });
words!(MidStream { "drop" = MidStream::Drop, "pickup" = MidStream::Pickup });
words!(ExemptServices {
    "none" = ExemptServices::None,
    "link_local" = ExemptServices::LinkLocal,
    "aws" = ExemptServices::Aws,
});
words!(OtherEthertypes { "drop" = OtherEthertypes::Drop, "pass" = OtherEthertypes::Pass });

/// The state of a peering connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PeeringStatus {
    Active,
    /// On its way up or down; the VPCs cannot overlap.
    Inactive,
    /// Over, or never came to be: it says nothing about the VPCs any more.
    Ended,
}

// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_VpcPeeringConnectionStateReason.html
words!(PeeringStatus {
    "active" = PeeringStatus::Active,
    "pending-acceptance" = PeeringStatus::Inactive,
    "provisioning" = PeeringStatus::Inactive,
    "initiating-request" = PeeringStatus::Inactive,
    "deleting" = PeeringStatus::Ended,
    "deleted" = PeeringStatus::Ended,
    "rejected" = PeeringStatus::Ended,
    "failed" = PeeringStatus::Ended,
    "expired" = PeeringStatus::Ended,
});

macro_rules! plain_schema {
    ($type:ident, $schema:tt) => {
        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}

pub(super) use plain_schema;

/// A name of something in this file, or an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name(pub(super) String);

impl FromScalar for Name {
    fn from_scalar(scalar: &Scalar<'_>, _: &mut Report<'_>) -> Result<Self, String> {
        let Scalar::Text(text) = scalar else {
            return Err("must be a name in quotes".to_owned());
        };
        check_name(text).map(|()| Self(text.clone().into_owned()))
    }
}

plain_schema!(Name, { "type": "string", "minLength": 1, "maxLength": MAX_NAME_CHARS });

/// A remark.
#[derive(Debug, Clone)]
pub(super) struct Description(pub(super) String);

impl FromScalar for Description {
    fn from_scalar(scalar: &Scalar<'_>, _: &mut Report<'_>) -> Result<Self, String> {
        match scalar {
            Scalar::Text(text) if text.chars().count() <= MAX_NAME_CHARS => {
                Ok(Self(text.clone().into_owned()))
            }
            Scalar::Text(text) => {
                Err(format!("must be at most {MAX_NAME_CHARS} characters, it has {}", text.chars().count()))
            }
            _ => Err("must be text in quotes".to_owned()),
        }
    }
}

plain_schema!(Description, { "type": "string", "maxLength": MAX_NAME_CHARS });

/// A switch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flag(pub(super) bool);

impl FromScalar for Flag {
    fn from_scalar(scalar: &Scalar<'_>, _: &mut Report<'_>) -> Result<Self, String> {
        match scalar {
            Scalar::Bool(flag) => Ok(Self(*flag)),
            _ => Err("must be true or false".to_owned()),
        }
    }
}

plain_schema!(Flag, { "type": "boolean" });
