//! A command whose lines are read as they come, and that ends when it takes too long.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

/// Runs it to its end, or for so long; says which. Every line is read and goes to the log,
/// behind the seconds that it took.
pub(super) fn run(
    command: &mut Command,
    limit: Duration,
    log: &mut File,
    mut read: impl FnMut(&str),
) -> Result<String> {
    let begun = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start it")?;
    let output = BufReader::new(child.stdout.take().context("it has no output")?);
    let (sender, lines) = mpsc::channel();
    // Ends with the output, or with the receiver.
    thread::spawn(move || {
        for line in output.split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned()).is_err() {
                return;
            }
        }
    });
    let ended = loop {
        match lines.recv_timeout(limit.saturating_sub(begun.elapsed())) {
            Ok(line) => {
                writeln!(log, "{:6.1} {line}", begun.elapsed().as_secs_f32())?;
                read(&line);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                child.kill()?;
                break format!("killed after {} s", limit.as_secs());
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break "ended".to_owned(),
        }
    };
    child.wait()?;
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(script: &str, limit_ms: u64) -> (String, Vec<String>) {
        let mut lines = Vec::new();
        let mut log = File::create("/dev/null").unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let limit = Duration::from_millis(limit_ms);
        let ended = run(&mut command, limit, &mut log, |line| lines.push(line.to_owned()));
        (ended.unwrap(), lines)
    }

    #[test]
    fn it_ends_by_itself_or_by_force() {
        assert_eq!(ended("echo one; echo two", 20_000), ("ended".into(), vec!["one".into(), "two".into()]));
        assert_eq!(ended("echo one; exec sleep 60", 500), ("killed after 0 s".into(), vec!["one".into()]));
    }
}
