//! How bad each kind of finding is in one run: `--deny` and `--allow`.

use super::Code;
use crate::document::Severity;
use crate::error::{Error, Result};
use crate::nearest::nearest;

/// What to make of each code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Levels {
    deny: Choice,
    allow: Choice,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Choice {
    all: bool,
    codes: Vec<Code>,
}

impl Levels {
    /// Of the words that were given; each is a code or `all`.
    pub fn new(deny: &[String], allow: &[String]) -> Result<Self> {
        let levels = Self { deny: Choice::of("--deny", deny)?, allow: Choice::of("--allow", allow)? };
        if levels.deny.all && levels.allow.all {
            return Err(Error::input("\"all\" cannot be both denied and allowed, give one of the two"));
        }
        if let Some(code) = levels.deny.codes.iter().find(|code| levels.allow.codes.contains(code)) {
            return Err(Error::input(format!(
                "{:?} cannot be both denied and allowed, give one of the two",
                code.name()
            )));
        }
        if let Some(code) = levels.allow.codes.iter().find(|code| code.severity() == Severity::Error) {
            return Err(Error::input(format!(
                "{:?} cannot be allowed, a file with such an error is never loaded; correct the file",
                code.name()
            )));
        }
        Ok(levels)
    }

    /// `None` if nothing is to be said.
    pub(crate) fn severity(&self, code: Code) -> Option<Severity> {
        let own = code.severity();
        let (denied, allowed) = (self.deny.codes.contains(&code), self.allow.codes.contains(&code));
        match own {
            Severity::Error => Some(own),
            _ if denied => Some(Severity::Error),
            _ if allowed => None,
            _ if self.deny.all => Some(Severity::Error),
            _ if self.allow.all => None,
            _ => Some(own),
        }
    }
}

impl Choice {
    fn of(option: &str, words: &[String]) -> Result<Self> {
        let mut choice = Self::default();
        for word in words {
            match Code::of(word) {
                Some(code) => choice.codes.push(code),
                None if word == ALL => choice.all = true,
                None => return Err(unknown(option, word)),
            }
        }
        Ok(choice)
    }
}

fn unknown(option: &str, word: &str) -> Error {
    let names = Code::ALL.iter().map(|code| code.name()).chain([ALL]);
    match nearest(word, names) {
        Some(nearest) => {
            Error::input(format!("{option} {word:?} is no code of a finding, did you mean {nearest:?}?"))
        }
        None => Error::input(format!("{option} {word:?} is no code of a finding, docs/lints.md lists them")),
    }
}

const ALL: &str = "all";

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(deny: &[&str], allow: &[&str]) -> Result<Levels> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        Levels::new(&words(deny), &words(allow))
    }

    #[test]
    fn a_code_by_name_outweighs_all() {
        let some = levels(&["group-unused"], &["all"]).unwrap();
        assert_eq!(some.severity(Code::GroupUnused), Some(Severity::Error));
        assert_eq!(some.severity(Code::AclUnused), None);
        assert_eq!(some.severity(Code::NotJson), Some(Severity::Error));
        let some = levels(&["all"], &["group-unused"]).unwrap();
        assert_eq!(some.severity(Code::GroupUnused), None);
        assert_eq!(some.severity(Code::HostBitsCleared), Some(Severity::Error));
        assert_eq!(Levels::default().severity(Code::HostBitsCleared), Some(Severity::Note));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let said = |deny: &[&str], allow: &[&str]| levels(deny, allow).unwrap_err().to_string();
        assert!(said(&["group-unusde"], &[]).contains("did you mean \"group-unused\"?"));
        assert!(said(&[], &["xyzzy"]).contains("docs/lints.md"));
        assert!(said(&["all"], &["all"]).contains("both"));
        assert!(said(&["acl-unused"], &["acl-unused"]).contains("both"));
        assert!(said(&[], &["not-json"]).contains("never loaded"));
    }

    #[test]
    fn codes_are_words_of_their_own() {
        for (index, code) in Code::ALL.iter().enumerate() {
            assert_eq!(Code::of(code.name()), Some(*code));
            assert!(code.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'));
            assert!(!code.remedy().ends_with('.') && !code.says().is_empty());
            assert!(Code::ALL[..index].iter().all(|other| other.name() != code.name()));
        }
    }
}
