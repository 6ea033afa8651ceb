//! Days of the calendar, UTC.

/// Year, month and day; <https://howardhinnant.github.io/date_algorithms.html>, `civil_from_days` without dates BC.
pub fn date(days_since_epoch: u64) -> (u64, u64, u64) {
    // Days since 0000-03-01, in eras of 400 years: a leap day is always the last of a year.
    let days = days_since_epoch + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// `20261123T221405Z` for seconds since the epoch: names that sort by time.
pub fn stamp(since_epoch: u64) -> String {
    let (year, month, day) = date(since_epoch / 86_400);
    let second = since_epoch % 86_400;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Whether text begins as [`stamp`] makes it.
pub fn is_stamped(text: &str) -> bool {
    text.len() >= 16
        && (0..).zip(text.bytes()).take(16).all(|(place, byte)| match place {
            8 => byte == b'T',
            15 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_sort_by_time_and_are_known_again() {
        assert_eq!(stamp(1_795_472_045), "20261123T221405Z");
        assert!(is_stamped("20261123T221405Z-2") && is_stamped(&stamp(0)));
        assert!(!is_stamped("20261123T2214") && !is_stamped("archive-of-last-year"));
    }
}
