//! `fwctl top`: a screen that is drawn until somebody quits.

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::time::{Duration, Instant};

use fw_userspace::error::{Error, Result};
use fw_userspace::top::{Snapshot, Watcher};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::Outcome;
use crate::args::Top;
use crate::interrupt::Interrupt;
use crate::output;
use crate::output::top::{Look, View};

/// How long a key, a signal or an event waits at most.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) fn run(args: &Top, bpffs: &Path) -> Result<Outcome> {
    if !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
        return Err(Error::input(
            "\"top\" draws on a terminal and reads its keys; elsewhere use `fwctl stats --watch` or `fwctl monitor`",
        ));
    }
    let mut watcher = Watcher::open(bpffs)?;
    let interrupt = Interrupt::catch()?;
    let screen = Screen::take()?;
    let mut view = View::new(Look { colour: output::colour_wanted() }, args.interval);
    let ended = follow(screen, &mut watcher, &interrupt, &mut view, Duration::from_secs(args.interval));
    ended.map(|()| Outcome::Done)
}

/// The terminal, given back when it goes; a panic gives it back before it says anything.
struct Screen(ratatui::DefaultTerminal);

impl Screen {
    fn take() -> Result<Self> {
        ratatui::try_init().map(Self).map_err(|error| {
            ratatui::restore();
            Error::system(format!("cannot draw on this terminal: {error}"))
        })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.0.show_cursor();
        ratatui::restore();
    }
}

fn follow(
    mut screen: Screen,
    watcher: &mut Watcher,
    interrupt: &Interrupt,
    view: &mut View,
    every: Duration,
) -> Result<()> {
    let mut snapshot: Snapshot = watcher.look()?;
    let mut looked = Instant::now();
    while !interrupt.came() {
        if let Err(error) = screen.0.draw(|frame| view.draw(&snapshot, frame)) {
            // A terminal that was closed has sent its signal too.
            return if interrupt.came() { Ok(()) } else { Err(unreadable(&error)) };
        }
        let left = every.saturating_sub(looked.elapsed());
        match event::poll(left.min(PAUSE)) {
            Ok(true) => match event::read() {
                Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                    if is_quit(key) {
                        break;
                    }
                    press(view, key.code);
                }
                Ok(_) => {}
                Err(error) => return Err(unreadable(&error)),
            },
            Ok(false) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(&error)),
        }
        watcher.listen();
        if looked.elapsed() >= every {
            // Also while it stands still, so that the rates behind it stay those of one interval.
            let now = watcher.look()?;
            looked = Instant::now();
            if !view.is_paused() {
                snapshot = now;
            }
        }
    }
    Ok(())
}

fn unreadable(error: &io::Error) -> Error {
    Error::system(format!("the terminal is gone: {error}"))
}

fn is_quit(key: KeyEvent) -> bool {
    let with_control = key.modifiers.contains(KeyModifiers::CONTROL);
    matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) || with_control && key.code == KeyCode::Char('c')
}

fn press(view: &mut View, key: KeyCode) {
    match key {
        KeyCode::Char('p' | ' ') => view.pause(),
        KeyCode::Char('?' | 'h') => view.help(),
        KeyCode::Tab => view.select(1),
        KeyCode::BackTab => view.select(-1),
        KeyCode::Down | KeyCode::Char('j') => view.scroll(1),
        KeyCode::Up | KeyCode::Char('k') => view.scroll(-1),
        KeyCode::PageDown => view.scroll(10),
        KeyCode::PageUp => view.scroll(-10),
        KeyCode::Home => view.scroll(isize::MIN),
        _ => {}
    }
}
