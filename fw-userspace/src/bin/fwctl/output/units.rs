//! Numbers and names as people read them.

use fw_userspace::calendar;
pub(super) use fw_userspace::printable::plain;

/// `300 B`, `46.0 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = "KiB";
    for larger in ["MiB", "GiB", "TiB", "PiB", "EiB"] {
        // What would be printed as 1024.0 belongs to the next unit.
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    format!("{value:.1} {unit}")
}

/// `0.3`, `999.0`, `1.2k`, `46.0M`: at most six characters of a number that has no unit of its own.
pub(super) fn si(number: f64) -> String {
    let mut value = number;
    for unit in ["", "k", "M", "G", "T"] {
        // What would be printed as 1000.0 belongs to the next unit.
        if value < 999.95 {
            let is_whole = unit.is_empty() && value.fract() == 0.0;
            return if is_whole { format!("{value:.0}") } else { format!("{value:.1}{unit}") };
        }
        value /= 1000.0;
    }
    format!("{value:.0}P")
}

/// `45 s`, `3 min`, `5 h 2 min`, `12 d 3 h`.
pub(super) fn seconds(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min"),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// `1.2 ms`, `34 ms`, `2.1 s`.
pub(super) fn milliseconds(milliseconds: f64) -> String {
    if milliseconds < 9.95 {
        format!("{milliseconds:.1} ms")
    } else if milliseconds < 999.5 {
        format!("{milliseconds:.0} ms")
    } else {
        format!("{:.1} s", milliseconds / 1000.0)
    }
}

/// `3 errors`, `1 error`, `no errors`.
pub(super) fn count(number: usize, noun: &str) -> String {
    match number {
        0 => format!("no {noun}s"),
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

/// `0.5 %`
pub(super) fn share(part: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{:.1} %", part as f64 * 100.0 / whole as f64) }
}

/// `2026-11-23 22:14:05 UTC` for seconds since the epoch.
pub(super) fn utc(since_epoch: u64) -> String {
    let (year, month, day) = calendar::date(since_epoch / 86_400);
    let second = since_epoch % 86_400;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// `22:14:05.123` for nanoseconds since the epoch.
pub(super) fn clock(since_epoch_ns: u64) -> String {
    let milliseconds = since_epoch_ns / 1_000_000;
    let second = milliseconds / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}.{:03}", second / 3600, second / 60 % 60, second % 60, milliseconds % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_know_leap_days() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(1_709_251_199), "2024-02-29 23:59:59 UTC");
        assert_eq!(utc(1_795_472_045), "2026-11-23 22:14:05 UTC");
        assert_eq!(utc(4_107_542_400), "2100-03-01 00:00:00 UTC");
    }

    #[test]
    fn bytes_step_up_before_they_read_1024() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1024), "1.0 KiB");
        assert_eq!(bytes(1024 * 1024 - 1), "1.0 MiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
    }

    #[test]
    fn numbers_step_up_before_they_read_1000() {
        assert_eq!([0.0, 0.25, 250.0, 999.96, 12_345.0].map(si), ["0", "0.2", "250", "1.0k", "12.3k"]);
        assert_eq!(si(999_950.0), "1.0M");
        assert_eq!(si(1e16), "10P");
    }

    #[test]
    fn clocks_are_of_the_day() {
        assert_eq!(clock(1_795_472_045_123_456_789), "22:14:05.123");
    }
}
