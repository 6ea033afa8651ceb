//! Which device names a selector takes.

use super::DeviceSelector;

impl DeviceSelector {
    /// Whether this selector takes a device by its name. A hardware address or alternative name takes none, and
    /// `lo` is taken by nothing.
    pub fn matches_name(&self, name: &str) -> bool {
        match self {
            _ if name == "lo" => false,
            Self::Name(own) => own == name,
            Self::Glob(pattern) => matches(pattern.as_bytes(), name.as_bytes()),
            Self::Mac(_) | Self::Altname(_) => false,
        }
    }
}

/// `*`, `?` and `[a-z]`, `[!a-z]`, as a shell has them; a `[` that is never closed stands for itself.
///
/// On a mismatch only the last `*` takes one byte more, so that no pattern is slow.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while from < name.len() {
        if pattern.get(at) == Some(&b'*') {
            last_star = Some((at, from));
            at += 1;
        } else if let Some(length) = matches_one(&pattern[at..], name[from]) {
            at += length;
            from += 1;
        } else if let Some((star, taken)) = last_star {
            last_star = Some((star, taken + 1));
            (at, from) = (star + 1, taken + 1);
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// How much of the pattern stands for this byte; `None` if it does not match.
fn matches_one(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern.first()? {
        b'?' => Some(1),
        b'[' => match class(pattern) {
            Some((members, negated, length)) => (in_class(members, byte) != negated).then_some(length),
            None => (byte == b'[').then_some(1),
        },
        literal => (literal == byte).then_some(1),
    }
}

/// One part of a glob.
#[derive(Debug, Clone, Copy)]
pub(super) enum Token<'p> {
    /// `*`.
    AnyNumber,
    /// `?`.
    Any,
    /// One byte, or one of a class.
    Asked(&'p [u8]),
}

impl<'p> Token<'p> {
    /// A glob, part by part.
    pub(super) fn all(mut pattern: &'p [u8]) -> impl Iterator<Item = Self> {
        std::iter::from_fn(move || {
            let length = match pattern.first()? {
                b'[' => class(pattern).map_or(1, |(.., length)| length),
                _ => 1,
            };
            let (part, rest) = pattern.split_at(length);
            pattern = rest;
            Some(match part {
                b"*" => Self::AnyNumber,
                b"?" => Self::Any,
                _ => Self::Asked(part),
            })
        })
    }

    /// Whether this byte can stand here.
    pub(super) fn takes(self, byte: u8) -> bool {
        match self {
            Self::AnyNumber | Self::Any => true,
            Self::Asked(part) => matches_one(part, byte).is_some(),
        }
    }
}

/// The members of a class, whether it is negated, and how long it is; a `]` that comes first is a member.
fn class(pattern: &[u8]) -> Option<(&[u8], bool, usize)> {
    let negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    let start = if negated { 2 } else { 1 };
    let length = pattern.get(start + 1..)?.iter().position(|byte| *byte == b']')?;
    let end = start + 1 + length;
    Some((&pattern[start..end], negated, end + 1))
}

fn in_class(members: &[u8], byte: u8) -> bool {
    let mut rest = members;
    while let [first, tail @ ..] = rest {
        if let [b'-', last, after @ ..] = tail {
            if (*first..=*last).contains(&byte) {
                return true;
            }
            rest = after;
        } else if *first == byte {
            return true;
        } else {
            rest = tail;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("veth-web-*", "veth-web-1", true),
            ("veth-web-*", "veth-web-", true),
            ("veth-web-*", "veth-db-1", false),
            ("*", "eth0", true),
            ("*a*b", "xaybzb", true),
            ("*a*b", "xaybz", false),
            ("eth?", "eth0", true),
            ("eth?", "eth", false),
            ("eth[0-3]", "eth2", true),
            ("eth[0-3]", "eth4", false),
            ("eth[!0-3]", "eth4", true),
            ("eth[]x]", "eth]", true),
            ("eth[", "eth[", true),
            ("*", "lo", false),
            ("l?", "lo", false),
        ] {
            let glob = DeviceSelector::Glob(pattern.to_owned());
            assert_eq!(glob.matches_name(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_are_not_slow() {
        let glob = DeviceSelector::Glob("*a".repeat(60));
        assert!(!glob.matches_name(&"a".repeat(59)));
        assert!(glob.matches_name(&"a".repeat(60)));
    }
}
