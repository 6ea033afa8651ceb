//! `fwctl man`: manual pages, of what clap knows of the verbs and of the topics.

use std::fs;
use std::io;
use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_mangen::roff::{Roff, bold, roman};
use fw_userspace::error::{Error, Result};

use super::Outcome;
use crate::args::{Arguments, Man};
use crate::output::Output;
use crate::topics::{self, Block};

pub(super) fn run(args: &Man, output: &mut Output) -> Result<Outcome> {
    let mut root = Arguments::command();
    root.build();
    let pages = pages(&root).map_err(|error| Error::system(format!("cannot make a manual page: {error}")))?;
    match &args.dir {
        Some(dir) => {
            for page in &pages {
                page.write(dir)?;
            }
            output.line(format!("wrote {} pages below {:?}", pages.len(), dir.display().to_string()));
        }
        None => {
            if let Some(page) = pages.first() {
                output.text(&page.text);
            }
        }
    }
    Ok(Outcome::Done)
}

/// A file of the manual.
struct Page {
    name: String,
    section: &'static str,
    text: Vec<u8>,
}

impl Page {
    fn write(&self, dir: &Path) -> Result<()> {
        let dir = dir.join(format!("man{}", self.section));
        let path = dir.join(format!("{}.{}", self.name, self.section));
        let written = fs::create_dir_all(&dir).and_then(|()| fs::write(&path, &self.text));
        written
            .map_err(|error| Error::system(format!("cannot write {:?}: {error}", path.display().to_string())))
    }
}

/// Of the verbs, the main one first, and of the topics.
fn pages(root: &Command) -> io::Result<Vec<Page>> {
    let mut pages = Vec::new();
    add(root, &mut pages)?;
    for topic in &topics::ALL {
        let name = format!("{}-{}", root.get_name(), topic.name);
        pages.push(Page { text: of_topic(topic, &name), name, section: topic.section });
    }
    Ok(pages)
}

fn add(command: &Command, pages: &mut Vec<Page>) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    pages.push(Page { name, section: "1", text: of_command(command)? });
    for verb in visible(command) {
        add(verb, pages)?;
    }
    Ok(())
}

/// What `--help` lists. The `help` that clap gives to a verb with verbs has nothing to say of its own.
fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    let is_main = command.get_name() == "fwctl";
    let shown = |verb: &&Command| !verb.is_hide_set();
    command.get_subcommands().filter(shown).filter(move |verb| is_main || verb.get_name() != "help")
}

fn of_command(command: &Command) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone()).source(SOURCE).render(&mut text)?;
    let mut see = Roff::new();
    see.control("SH", ["SEE ALSO"]);
    let main = ("fwctl".to_owned(), "1");
    let topics = topics::ALL.iter().map(|topic| (format!("fwctl-{}", topic.name), topic.section));
    for (name, section) in std::iter::once(main).chain(topics) {
        see.text(vec![bold(name), roman(format!("({section})"))]);
    }
    text.extend_from_slice(see.render().as_bytes());
    Ok(text)
}

fn of_topic(topic: &topics::Topic, name: &str) -> Vec<u8> {
    let mut page = Roff::new();
    page.control("TH", [name, topic.section, "", SOURCE, ""]);
    page.control("SH", ["NAME"]);
    page.text(vec![roman(format!("{name} - {}", topic.about))]);
    page.control("SH", ["DESCRIPTION"]);
    for block in (topic.blocks)() {
        match block {
            Block::Heading(title) => page.control("SH", [title.to_uppercase().as_str()]),
            Block::Text(text) => page.control("PP", []).text(vec![roman(text)]),
            Block::Item { term, text } => {
                page.control("TP", []).text(vec![bold(term)]).text(vec![roman(text)])
            }
            Block::Example(lines) => {
                page.control("PP", []).control("nf", []).control("RS", ["4"]);
                for line in lines.lines() {
                    page.text(vec![roman(line)]);
                }
                page.control("RE", []).control("fi", [])
            }
        };
    }
    page.render().into_bytes()
}

/// What the foot of a page names.
const SOURCE: &str = concat!("fwctl ", env!("CARGO_PKG_VERSION"));
