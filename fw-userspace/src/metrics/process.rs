//! The metrics that every client library of Prometheus has of its process, by the same names.

use std::fmt;
use std::fs;

use prometheus_client::registry::Unit;

use super::families::Families;

/// What /proc says about us; what it does not say is left out.
#[derive(Debug, Default)]
pub(super) struct Process {
    stat: Option<Stat>,
    open_fds: Option<u64>,
    max_fds: Option<u64>,
}

/// Of /proc/self/stat, in seconds and bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stat {
    cpu_s: f64,
    threads: u64,
    start_s: f64,
    virtual_bytes: u64,
    resident_bytes: u64,
}

impl Process {
    pub(super) fn read() -> Self {
        let read = |path: &str| fs::read_to_string(path).ok();
        let boot_s =
            || read("/proc/stat")?.lines().find_map(|line| line.strip_prefix("btime ")?.parse().ok());
        let units = [libc::_SC_CLK_TCK, libc::_SC_PAGESIZE].map(|name| {
            // SAFETY: takes a number, returns one.
            unsafe { libc::sysconf(name) }
        });
        let stat = || Stat::of(&read("/proc/self/stat")?, boot_s()?, units);
        Self {
            stat: stat(),
            // One of them reads the directory.
            open_fds: fs::read_dir("/proc/self/fd")
                .ok()
                .map(|entries| entries.count().saturating_sub(1) as u64),
            max_fds: read("/proc/self/limits").and_then(|limits| {
                let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
                line.split_whitespace().next()?.parse().ok()
            }),
        }
    }

    pub(super) fn encode(&self, families: &mut Families<'_>) -> fmt::Result {
        let mut gauge = |name: &str, help: &str, unit: Option<&Unit>, value: Option<u64>| match value {
            Some(value) => families.gauge(name, help, unit, [([], value)]),
            None => Ok(()),
        };
        let stat = self.stat;
        gauge("process_open_fds", "Open file descriptors", None, self.open_fds)?;
        gauge("process_max_fds", "File descriptors that may be open", None, self.max_fds)?;
        gauge("process_threads", "Threads of the process", None, stat.map(|stat| stat.threads))?;
        gauge(
            "process_virtual_memory",
            "Virtual memory, in bytes",
            Some(&Unit::Bytes),
            stat.map(|stat| stat.virtual_bytes),
        )?;
        gauge(
            "process_resident_memory",
            "Resident memory, in bytes",
            Some(&Unit::Bytes),
            stat.map(|stat| stat.resident_bytes),
        )?;
        let Some(stat) = stat else { return Ok(()) };
        families.gauge(
            "process_start_time",
            "Start of the process since the epoch, in seconds",
            Some(&Unit::Seconds),
            [([], stat.start_s)],
        )?;
        families.counter_f64(
            "process_cpu",
            "User and system CPU time spent, in seconds",
            &Unit::Seconds,
            stat.cpu_s,
        )
    }
}

impl Stat {
    /// proc_pid_stat(5). The name, which may hold anything, ends with the last parenthesis.
    fn of(text: &str, boot_s: f64, [ticks, page]: [libc::c_long; 2]) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        // The first one here is the third of the manual.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let seconds = |value: u64| value as f64 / ticks as f64;
        Some(Self {
            cpu_s: seconds(field(14)? + field(15)?),
            threads: field(20)?,
            start_s: boot_s + seconds(field(22)?),
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * page as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_is_seconds_and_bytes() {
        let line = "7 (a) b) S 1 7 7 0 -1 4194304 1 2 3 4 250 150 9 9 20 0 3 0 5000 8192 25 1844\n";
        let stat = Stat::of(line, 1000.0, [100, 4096]);
        let expected =
            Stat { cpu_s: 4.0, threads: 3, start_s: 1050.0, virtual_bytes: 8192, resident_bytes: 25 * 4096 };
        assert_eq!(stat, Some(expected));
        assert_eq!(Stat::of("7 (a) S 1", 0.0, [100, 4096]), None);
    }

    #[test]
    fn this_process_is_read() {
        let process = Process::read();
        let stat = process.stat.expect("/proc is mounted");
        assert!(stat.resident_bytes > 100_000 && stat.virtual_bytes > stat.resident_bytes, "{stat:?}");
        assert!(stat.threads >= 1 && stat.start_s > 1.0e9, "{stat:?}");
        assert!(process.open_fds.is_some_and(|open| open >= 3) && process.max_fds > process.open_fds);
    }
}
