//! The log of `fwctl serve`, on standard error: a line for what happened.

use fw_userspace::datapath::Change;
use fw_userspace::report::LoadReport;
use fw_userspace::serve::Note;

use super::findings::{self, Form};
use super::remark;
use super::units::{count, plain};

/// Where the lines go.
pub(crate) struct Log {
    /// The journal takes a line's priority from its beginning (sd-daemon(3)).
    is_journal: bool,
}

#[derive(Clone, Copy)]
enum Priority {
    Error = 3,
    Warning = 4,
    Info = 6,
}

impl Log {
    pub(crate) fn open() -> Self {
        Self { is_journal: std::env::var_os("JOURNAL_STREAM").is_some() }
    }

    pub(crate) fn say(&self, note: &Note<'_>) {
        match note {
            Note::Serves(address) => self.line(Priority::Info, &format!("metrics are at {}", plain(address))),
            Note::Read(name, source, all) => {
                let form = if self.is_journal { Form::Short } else { Form::Full };
                findings::print(name, source, all, form);
            }
            Note::Loaded(name, report) => {
                self.line(Priority::Info, &format!("loaded {name:?}: {}", summary(report)));
                self.notes(report);
            }
            Note::InForceAlready(name) => {
                self.line(Priority::Info, &format!("the rules of {name:?} are in force already"));
            }
            Note::Refused(name, error) => {
                let error = error.to_string();
                let error = plain(&error);
                let said = format!("{name:?} was not loaded, what was in force still is: {error}");
                self.line(Priority::Error, &said);
            }
            Note::Mended(mended) => {
                for change in &mended.changes {
                    let priority = match change {
                        Change::HookLost { .. } | Change::CutOff => Priority::Warning,
                        _ => Priority::Info,
                    };
                    self.line(priority, &plain(&change.to_string()));
                }
                if let Some(report) = &mended.report {
                    self.line(Priority::Info, &format!("put in order: {}", summary(report)));
                    self.notes(report);
                }
            }
            Note::Failed(error) => self.line(Priority::Warning, &plain(&error.to_string())),
            Note::Peer(line) => self.line(Priority::Warning, &plain(line)),
            Note::Ends => self.line(Priority::Info, "ends; what is loaded stays enforced"),
        }
    }

    fn notes(&self, report: &LoadReport) {
        for note in &report.notes {
            self.line(Priority::Info, &format!("note: {}", plain(note)));
        }
    }

    fn line(&self, priority: Priority, text: &str) {
        let word = match priority {
            Priority::Error => "error: ",
            Priority::Warning => "warning: ",
            Priority::Info => "",
        };
        if self.is_journal {
            remark(format!("<{}>{word}{text}\n", priority as u8));
        } else {
            remark(format!("{word}{text}\n"));
        }
    }
}

fn summary(report: &LoadReport) -> String {
    let pending = match report.pending.len() {
        0 => String::new(),
        pending => format!(", {} to come", count(pending, "device")),
    };
    format!(
        "generation {}, {} at {}{pending}",
        report.generation,
        count(report.rules, "rule"),
        count(report.hooks.len(), "hook")
    )
}
