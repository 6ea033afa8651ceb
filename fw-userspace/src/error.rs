//! The library's errors: whose fault it is, in one sentence, and what helps.

use std::fmt;

use crate::nearest::nearest;

/// Why a command could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Whose fault.
    pub kind: ErrorKind,
    message: String,
}

/// Whose fault an error is; the exit status of `fwctl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The system refused: exit status 1.
    System,
    /// The input is wrong: exit status 2.
    Input,
}

impl Error {
    /// The system refused.
    pub fn system(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::System, message: message.into() }
    }

    /// The same, said of something.
    #[must_use]
    pub fn about(self, what: &str) -> Self {
        Self { message: format!("{what}: {}", self.message), ..self }
    }

    /// A name that is none of those that have a device, with the nearest of them, or with all.
    pub(crate) fn unknown_interface(name: &str, known: &[&str]) -> Self {
        const LISTED: usize = 10;
        let hint = match (nearest(name, known.iter().copied()), known) {
            (Some(nearest), _) => format!("did you mean {nearest:?}?"),
            (None, []) => "none of them has one".to_owned(),
            (None, known) => {
                let listed: Vec<String> =
                    known.iter().take(LISTED).map(|known| format!("{known:?}")).collect();
                let more = known.len().saturating_sub(LISTED);
                let more = if more > 0 { format!(" or {more} others") } else { String::new() };
                format!("must be {}{more}", listed.join(", "))
            }
        };
        Self::input(format!("{name:?} is no interface of the rules that has a device here; {hint}"))
    }

    /// The input is wrong.
    pub fn input(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Input, message: message.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// What the library's functions return.
pub type Result<T> = std::result::Result<T, Error>;
