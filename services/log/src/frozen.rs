//! The line by which a checkpoint says that its log takes no more entries.

use sealwright_tlog::Checkpoint;

const MARK: &str = "Log frozen — ";
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// The extension line of a log that was frozen at this time (Unix seconds).
pub(crate) fn line(unix: u64) -> String {
    format!("{MARK}{}", unix_date(unix))
}

/// Whether a checkpoint says that its log is frozen.
pub(crate) fn is_frozen(checkpoint: &Checkpoint) -> bool {
    checkpoint
        .extensions
        .iter()
        .any(|line| line.starts_with(MARK))
}

/// A time in UTC as `date` prints it in the C locale: `Mon Jan _2 15:04:05 UTC 2006`, the day padded with a space.
fn unix_date(unix: u64) -> String {
    let (days, seconds) = (unix / 86_400, unix % 86_400);
    let weekday = WEEKDAYS[(days % 7) as usize];
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let month = MONTHS[month];
    format!("{weekday} {month} {day:>2} {hour:02}:{minute:02}:{second:02} UTC {year}")
}

/// Year, month from 0, and day from 1, of a day counted from 1970-01-01.
fn civil(days: u64) -> (u64, usize, u64) {
    let mut year = 1970 + days / 366;
    while days_before(year + 1) <= days {
        year += 1;
    }
    let mut left = days - days_before(year);
    let february = if leap(year) { 29 } else { 28 };
    for (month, length) in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        .into_iter()
        .enumerate()
    {
        if left < length {
            return (year, month, left + 1);
        }
        left -= length;
    }
    (year + 1, 0, 1)
}

fn leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// Days from 1970-01-01 to the first day of `year`.
fn days_before(year: u64) -> u64 {
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    (year - 1970) * 365 + leaps(year - 1) - leaps(1969)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_the_date_as_the_date_command_prints_it() {
        // Each from `LC_ALL=C date -u -d @N`.
        for (unix, expected) in [
            (0, "Thu Jan  1 00:00:00 UTC 1970"),
            (951_827_696, "Tue Feb 29 12:34:56 UTC 2000"),
            (1_136_214_245, "Mon Jan  2 15:04:05 UTC 2006"),
            (1_798_761_599, "Thu Dec 31 23:59:59 UTC 2026"),
            (4_107_542_400, "Mon Mar  1 00:00:00 UTC 2100"),
        ] {
            assert_eq!(line(unix), format!("Log frozen — {expected}"));
        }
    }

    #[test]
    fn only_that_line_says_that_a_log_is_frozen() {
        let mut checkpoint = Checkpoint::new("log.example", 0, sealwright_tlog::hash::empty_root());
        assert!(!is_frozen(&checkpoint));
        checkpoint.extensions.push("Something else".into());
        assert!(!is_frozen(&checkpoint));
        checkpoint.extensions.push(line(7));
        assert!(is_frozen(&checkpoint));
    }
}
