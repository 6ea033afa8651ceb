//! Selectors that take one device: which of them gets it, and whether a file alone shows that none would.

use std::collections::{HashSet, VecDeque};

use super::glob::Token;
use super::{DeviceSelector, MAX_NAME_BYTES};

/// How exactly a selector says which device it means. Of several that take a device the greatest gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Specificity {
    /// A glob, by the characters that it asks for: a longer one means fewer devices.
    Glob(usize),
    /// The name, which the next device may have.
    Name,
    /// An alternative name, which somebody gave to this one.
    Altname,
    /// The hardware address.
    Mac,
}

impl DeviceSelector {
    /// See [`Specificity`].
    pub(crate) fn specificity(&self) -> Specificity {
        match self {
            Self::Glob(pattern) => {
                let is_asked_for = |token: &Token<'_>| !matches!(token, Token::Any | Token::AnyNumber);
                Specificity::Glob(Token::all(pattern.as_bytes()).filter(is_asked_for).count())
            }
            Self::Name(_) => Specificity::Name,
            Self::Altname(_) => Specificity::Altname,
            Self::Mac(_) => Specificity::Mac,
        }
    }

    /// A name that both take, if they are globs or names and there is one.
    pub(crate) fn name_in_common(&self, other: &Self) -> Option<String> {
        match (self, other) {
            (Self::Name(name), _) => other.matches_name(name).then(|| name.clone()),
            (_, Self::Name(name)) => self.matches_name(name).then(|| name.clone()),
            (Self::Glob(one), Self::Glob(other)) => in_common(one.as_bytes(), other.as_bytes()),
            _ => None,
        }
    }
}

/// A shortest name that both globs take: breadth first through the pairs of places in them.
fn in_common(one: &[u8], other: &[u8]) -> Option<String> {
    let [one, other]: [Vec<Token<'_>>; 2] = [one, other].map(|pattern| Token::all(pattern).collect());
    let mut seen = HashSet::from([(0, 0)]);
    let mut ahead = VecDeque::from([(0, 0, String::new())]);
    while let Some((at, beside, name)) = ahead.pop_front() {
        let (first, second) = (one.get(at), other.get(beside));
        if first.is_none() && second.is_none() {
            if !name.is_empty() && name != "lo" {
                return Some(name);
            }
            continue;
        }
        let is_star = |token: Option<&Token<'_>>| matches!(token, Some(Token::AnyNumber));
        let mut go = |at, beside, name: String| {
            if name.len() <= MAX_NAME_BYTES && seen.insert((at, beside)) {
                ahead.push_back((at, beside, name));
            }
        };
        if is_star(first) {
            go(at + 1, beside, name.clone());
        }
        if is_star(second) {
            go(at, beside + 1, name.clone());
        }
        let (Some(first), Some(second)) = (first, second) else { continue };
        // Digits and letters make names that people like to see.
        let mut characters = (b'0'..=b'~').chain(b'!'..=b'/');
        if let Some(byte) = characters.find(|byte| first.takes(*byte) && second.takes(*byte)) {
            let stay = |token: &Token<'_>, place| {
                if matches!(token, Token::AnyNumber) { place } else { place + 1 }
            };
            let longer = format!("{name}{}", char::from(byte));
            go(stay(first, at), stay(second, beside), longer);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(pattern: &str) -> DeviceSelector {
        DeviceSelector::Glob(pattern.to_owned())
    }

    #[test]
    fn what_asks_for_more_is_more_specific() {
        let in_order = [
            glob("*"),
            glob("veth*"),
            glob("veth-[a-f]*"),
            glob("veth-web*"),
            DeviceSelector::Name("v".to_owned()),
            DeviceSelector::Altname("v".to_owned()),
            DeviceSelector::Mac([2; 6]),
        ];
        assert!(in_order.windows(2).all(|pair| pair[0].specificity() < pair[1].specificity()));
        assert_eq!(glob("eth*").specificity(), glob("*0eth").specificity().min(glob("e?th").specificity()));
    }

    #[test]
    fn globs_that_take_a_name_both_have_one_in_common() {
        for (one, other, common) in [
            ("veth*", "veth-web*", true),
            ("eth*", "*0", true),
            ("eth*", "wlan*", false),
            ("eth[0-3]", "eth[3-5]", true),
            ("eth[0-2]", "eth[3-5]", false),
            ("eth?", "eth??", false),
            ("a*b", "a*c", false),
            ("*a*", "*b*", true),
            ("l?", "lo", false),
            ("abcdefgh*", "*ijklmnop", false),
        ] {
            let found = glob(one).name_in_common(&glob(other));
            assert_eq!(found.is_some(), common, "{one} {other} {found:?}");
            let names = found.into_iter();
            names.for_each(|name| {
                assert!(glob(one).matches_name(&name) && glob(other).matches_name(&name), "{name}");
            });
        }
    }
}
