//! What there is to read besides the verbs: `fwctl help TOPIC` prints it, `fwctl man` makes manual pages of it.
//!
//! What the code knows is made from the code: the rules file from its schema, the reasons from the core's table.

mod boot;
mod reasons;
mod rules;

use std::fmt::Write as _;

/// A text with a name.
pub(crate) struct Topic {
    pub(crate) name: &'static str,
    /// Of the manual that its page belongs to.
    pub(crate) section: &'static str,
    pub(crate) about: &'static str,
    pub(crate) blocks: fn() -> Vec<Block>,
}

/// A piece of a topic, in the order of reading.
pub(crate) enum Block {
    Heading(String),
    Text(String),
    Item {
        term: String,
        text: String,
    },
    /// Printed line by line as it is.
    Example(&'static str),
}

/// In the order of `fwctl help topics`.
pub(crate) const ALL: [Topic; 3] = [
    Topic { name: "rules", section: "5", about: "the rules file, key by key", blocks: rules::blocks },
    Topic {
        name: "reasons",
        section: "7",
        about: "why a packet passed or was dropped",
        blocks: reasons::blocks,
    },
    Topic { name: "boot", section: "7", about: "the service, and the way past it", blocks: boot::blocks },
];

/// The topic that is asked for.
pub(crate) fn named(name: &str) -> Option<&'static Topic> {
    ALL.iter().find(|topic| topic.name == name)
}

/// `fwctl help topics`.
pub(crate) fn list() -> String {
    let mut text = String::from("Topics, each printed by `fwctl help TOPIC`:\n");
    for topic in &ALL {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {:9}{}", topic.name, topic.about);
    }
    text.push_str(
        "\n`fwctl help COMMAND` prints the help of a command. For packagers there are two more commands:\n  \
         completions  what a shell needs to complete words, see `fwctl completions --help`\n  \
         man          manual pages, see `fwctl man --help`\n",
    );
    text
}

impl Topic {
    /// As a terminal shows it.
    pub(crate) fn text(&self) -> String {
        let options = textwrap::Options::new(textwrap::termwidth().clamp(40, 100))
            .word_splitter(textwrap::WordSplitter::NoHyphenation);
        let filled = |text: &str, indent| {
            textwrap::fill(text, options.clone().initial_indent(indent).subsequent_indent(indent))
        };
        let mut all = format!("{}: {}\n", self.name, self.about);
        for block in (self.blocks)() {
            all.push('\n');
            match block {
                Block::Heading(title) => {
                    all.push_str(&filled(&title.to_uppercase(), ""));
                }
                Block::Text(text) => all.push_str(&filled(&text, "")),
                Block::Item { term, text } => {
                    let _ = write!(all, "  {term}\n{}", filled(&text, "      "));
                }
                Block::Example(lines) => {
                    all.push_str(
                        &lines.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n"),
                    );
                }
            }
            all.push('\n');
        }
        all
    }
}
