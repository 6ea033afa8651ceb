//! The library's errors: whose fault it is, in one sentence, and what helps.

use std::fmt;

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
