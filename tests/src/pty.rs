//! A terminal in memory: a pseudo terminal with a program on it, what stands on its screen, and keys.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::num::NonZero;
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::netns::Process;

const PATIENCE: Duration = Duration::from_secs(10);

/// A program on a terminal of its own.
pub struct Pty {
    process: Process,
    keys: File,
    /// Keeps the terminal there when the program has ended.
    terminal: File,
    written: Receiver<Vec<u8>>,
    screen: vt100::Parser,
    /// All that the program wrote.
    pub bytes: Vec<u8>,
}

impl Pty {
    /// Starts a command on a terminal of this size.
    pub fn start(mut command: Command, columns: u16, lines: u16) -> Result<Self> {
        let (keys, terminal) = open(columns, lines)?;
        command.stdin(terminal.try_clone()?).stdout(terminal.try_clone()?).stderr(terminal.try_clone()?);
        // SAFETY: between fork and exec only async-signal-safe calls are allowed; `lead` is two system calls.
        unsafe { command.pre_exec(lead) };
        let process = Process::start(command.env("TERM", "xterm"))?;
        let (sender, written) = mpsc::channel();
        let mut reader = keys.try_clone()?;
        thread::spawn(move || {
            let mut buffer = [0; 65_536];
            loop {
                match reader.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(count) if sender.send(buffer[..count].to_vec()).is_err() => return,
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => return,
                }
            }
        });
        let size = |number| NonZero::new(number).context("a terminal has a size");
        let screen = vt100::Parser::new(size(lines)?, size(columns)?, 0);
        Ok(Self { process, keys, terminal, written, screen, bytes: Vec::new() })
    }

    /// Types.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        self.keys.write_all(keys.as_bytes()).context("cannot type")
    }

    /// Sends a signal to the program.
    pub fn signal(&self, signal: i32) -> Result<()> {
        self.process.signal(signal).context("cannot send a signal")
    }

    /// The screen as soon as it is so.
    pub fn until(&mut self, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let start = Instant::now();
        loop {
            let picture = self.screen.screen().contents();
            if wanted(&picture) {
                return Ok(picture);
            }
            if start.elapsed() > PATIENCE {
                bail!("this is not what was to be seen:\n{picture}");
            }
            self.read(Duration::from_millis(50));
        }
    }

    /// The screen after so long.
    pub fn after(&mut self, time: Duration) -> String {
        let start = Instant::now();
        while let Some(left) = time.checked_sub(start.elapsed()) {
            self.read(left);
        }
        self.screen.screen().contents()
    }

    /// Whether anything on the screen has a colour.
    #[must_use]
    pub fn has_colour(&self) -> bool {
        let screen = self.screen.screen();
        let (lines, columns) = screen.size();
        let places = (0..lines.get()).flat_map(|line| (0..columns.get()).map(move |column| (line, column)));
        let mut cells = places.filter_map(|(line, column)| screen.cell(line, column));
        cells.any(|cell| cell.fgcolor() != vt100::Color::Default || cell.bgcolor() != vt100::Color::Default)
    }

    /// Whether the screen is the program's own one, and whether the cursor is hidden.
    #[must_use]
    pub fn is_taken(&self) -> (bool, bool) {
        let screen = self.screen.screen();
        (screen.alternate_screen(), screen.hide_cursor())
    }

    /// How the terminal treats keys: its input, output, control and local modes.
    pub fn modes(&self) -> Result<[u32; 4]> {
        let mut modes = MaybeUninit::<libc::termios>::uninit();
        // SAFETY: an open terminal, and room for what is written.
        let failed = unsafe { libc::tcgetattr(self.terminal.as_raw_fd(), modes.as_mut_ptr()) };
        if failed != 0 {
            return Err(std::io::Error::last_os_error()).context("cannot ask the terminal");
        }
        // SAFETY: written, as it did not fail.
        let modes = unsafe { modes.assume_init() };
        Ok([modes.c_iflag, modes.c_oflag, modes.c_cflag, modes.c_lflag])
    }

    /// Waits for the program's end; all that it wrote is on the screen then.
    pub fn end(&mut self) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            self.read(Duration::from_millis(20));
            if let Some(status) = self.process.child().try_wait()? {
                while self.read(Duration::from_millis(100)) {}
                return Ok(status);
            }
            if start.elapsed() > PATIENCE {
                bail!("it does not end:\n{}", self.screen.screen().contents());
            }
        }
    }

    fn read(&mut self, patience: Duration) -> bool {
        let Ok(bytes) = self.written.recv_timeout(patience) else { return false };
        self.screen.process(&bytes);
        self.bytes.extend(bytes);
        true
    }
}

/// Makes standard input the terminal of a session of our own.
fn lead() -> std::io::Result<()> {
    // SAFETY: takes nothing.
    let session = unsafe { libc::setsid() };
    // SAFETY: takes a descriptor, and no memory.
    if session < 0 || unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}

fn open(columns: u16, lines: u16) -> Result<(File, File)> {
    let size = libc::winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let (mut keys, mut terminal) = (-1, -1);
    // SAFETY: writes two descriptors, reads the size, and takes no name and no modes.
    let failed = unsafe {
        libc::openpty(
            &raw mut keys,
            &raw mut terminal,
            std::ptr::null_mut(),
            std::ptr::null(),
            &raw const size,
        )
    };
    if failed != 0 {
        return Err(std::io::Error::last_os_error()).context("there is no pseudo terminal");
    }
    // The program is to have its three ends only, or the terminal would outlive it.
    for descriptor in [keys, terminal] {
        // SAFETY: an open descriptor, and a flag.
        unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    // SAFETY: just made, and nobody else's.
    let keys = unsafe { File::from_raw_fd(keys) };
    // SAFETY: the same.
    Ok((keys, unsafe { File::from_raw_fd(terminal) }))
}
