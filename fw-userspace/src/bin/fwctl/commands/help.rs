//! `fwctl help`: clap's help of a verb, or a topic.

use clap::{Command, CommandFactory as _};
use fw_userspace::error::{Error, Result};
use fw_userspace::nearest::nearest;

use super::Outcome;
use crate::args::{Arguments, Help};
use crate::output::Output;
use crate::topics;

pub(super) fn run(args: &Help, output: &mut Output) -> Result<Outcome> {
    match args.words.as_slice() {
        [word] if word == "topics" => output.text(topics::list()),
        [word] if let Some(topic) = topics::named(word) => output.text(topic.text()),
        words => {
            let mut root = Arguments::command();
            root.build();
            let help = find(&mut root, words)?.render_long_help();
            if output.colour {
                output.format(format_args!("{}", help.ansi()));
            } else {
                output.format(format_args!("{help}"));
            }
        }
    }
    Ok(Outcome::Done)
}

/// The command that the words lead to.
fn find<'a>(root: &'a mut Command, words: &[String]) -> Result<&'a mut Command> {
    let mut command = root;
    for (depth, word) in words.iter().enumerate() {
        let mut known: Vec<String> = command
            .get_subcommands()
            .filter(|verb| !verb.is_hide_set())
            .map(|verb| verb.get_name().to_owned())
            .collect();
        if depth == 0 {
            known.push("topics".to_owned());
            known.extend(topics::ALL.iter().map(|topic| topic.name.to_owned()));
        }
        let Some(found) = command.find_subcommand(word).map(|verb| verb.get_name().to_owned()) else {
            return Err(unknown(&words[..=depth], &known));
        };
        // Found a moment ago; asked again because a command that is returned cannot be looked at before.
        command = command.find_subcommand_mut(found).ok_or_else(|| unknown(&words[..=depth], &known))?;
    }
    Ok(command)
}

fn unknown(words: &[String], known: &[String]) -> Error {
    let word = words.last().map_or("", String::as_str);
    let meant = match nearest(word, known.iter().map(String::as_str)) {
        Some(name) => format!(", did you mean \"{name}\"?"),
        _ if known.is_empty() => ": it has no commands of its own".to_owned(),
        _ => format!(", there are {}", known.join(", ")),
    };
    Error::input(format!("no help for \"{}\"{meant}", words.join(" ")))
}
