//! `fwctl help`, and what packagers call: `fwctl completions`, `fwctl man`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

/// Print the help of a command, or a topic
///
/// `fwctl help topics` lists the topics. With the package they are manual pages too, such as fwctl-rules(5).
#[derive(Debug, Args)]
#[command(
    after_help = "EXAMPLE:\n  fwctl help topics\n  fwctl help rules | less\n  fwctl help conntrack list"
)]
pub(crate) struct Help {
    /// A command, a command and its verb, or a topic
    #[arg(value_name = "COMMAND|TOPIC")]
    pub(crate) words: Vec<String>,
}

/// Print completions for a shell
///
/// For packagers; the Debian package has those of bash, zsh and fish.
#[derive(Debug, Args)]
#[command(hide = true)]
#[command(after_help = "EXAMPLE:\n  fwctl completions bash > /etc/bash_completion.d/fwctl")]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: Shell,
}

/// Print the manual page of fwctl, or write those of all commands and topics
///
/// For packagers. Pages are made from what `--help` and `fwctl help` print.
#[derive(Debug, Args)]
#[command(hide = true)]
#[command(after_help = "EXAMPLE:\n  fwctl man | man -l -\n  fwctl man --dir /usr/local/share/man")]
pub(crate) struct Man {
    /// Write all pages into this directory, into man1, man5 and man7 of it
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}
