//! Dates as HTTP writes them (RFC 9110 section 5.6.7).

/// Seconds of a day.
const DAY: u64 = 86_400;
/// Days from 0000-03-01, where the years of this module begin, to 1970-01-01.
const EPOCH: u64 = 719_468;
/// Days of 400 years, after which the calendar repeats itself.
const CYCLE: u64 = 146_097;
/// The last second of the year 9999: no later one can be written with four digits.
const LATEST: u64 = 253_402_300_799;

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Seconds since 1970 as an IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT`. What lies beyond the year
/// 9999 is written as its last second.
pub fn date(seconds: u64) -> String {
    let seconds = seconds.min(LATEST);
    let (days, time) = (seconds / DAY, seconds % DAY);
    let (year, month, day) = calendar(days);
    format!(
        "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        DAYS[(days % 7) as usize],
        MONTHS[month as usize - 1],
        time / 3600,
        time / 60 % 60,
        time % 60
    )
}

/// Seconds since 1970 of a date in any of the three formats that a recipient has to know; `None` for
/// anything else, and for dates before 1970. A year of two digits is one of 1970 to 2069.
pub fn parse_date(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let (_, rest) = text.split_once(' ')?;
    let parts: Vec<&str> = rest.split_ascii_whitespace().collect();
    let (day, month, year, time) = match parts[..] {
        // Sun, 06 Nov 1994 08:49:37 GMT
        [day, month, year, time, "GMT"] => (day, month, number(year, 4, 4)?, time),
        // Sunday, 06-Nov-94 08:49:37 GMT
        [date, time, "GMT"] => {
            let mut fields = date.split('-');
            let (day, month, year) = (fields.next()?, fields.next()?, fields.next()?);
            let year = number(year, 2, 2)?;
            let century = if year < 70 { 2000 } else { 1900 };
            match fields.next() {
                None => (day, month, century + year, time),
                Some(_) => return None,
            }
        }
        // Sun Nov  6 08:49:37 1994
        [month, day, time, year] => (day, month, number(year, 4, 4)?, time),
        _ => return None,
    };
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let days = days(year, month, number(day, 1, 2)?)?;
    Some(days * DAY + time_of_day(time)?)
}

fn time_of_day(text: &str) -> Option<u64> {
    let mut fields = text.split(':').map(|field| number(field, 2, 2));
    let (hour, minute, second) = (fields.next()??, fields.next()??, fields.next()??);
    // 60 is a leap second.
    let is_time = hour < 24 && minute < 60 && second <= 60 && fields.next().is_none();
    is_time.then_some(hour * 3600 + minute * 60 + second)
}

/// Decimal digits and nothing else.
fn number(text: &str, fewest: usize, most: usize) -> Option<u64> {
    let is_number =
        (fewest..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// Year, month from 1 and day from 1 of a number of days since 1970. Counted in years that begin in
/// March, so that the leap day is a year's last.
fn calendar(days: u64) -> (u64, u64, u64) {
    let days = days + EPOCH;
    let (cycle, day) = (days / CYCLE, days % CYCLE);
    let year = (day - day / 1460 + day / 36_524 - day / (CYCLE - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // From March on the lengths of months repeat every five: 153 days.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (400 * cycle + year + carry, month, day)
}

/// Days since 1970; `None` for a day that the calendar does not have.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 {
        return None;
    }
    let (march_year, march_month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let of_year = (153 * march_month + 2) / 5 + day.checked_sub(1)?;
    let year_of_cycle = march_year % 400;
    let of_cycle = 365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100 + of_year;
    let days = (march_year / 400 * CYCLE + of_cycle).checked_sub(EPOCH)?;
    (calendar(days) == (year, month, day)).then_some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_formats_of_one_moment() {
        // The example of RFC 9110.
        assert_eq!(date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse_date(text.as_bytes()), Some(784_111_777), "{text}");
        }
    }

    #[test]
    fn every_day_there_and_back() {
        for day in 0..200_000 {
            let seconds = day * DAY + day % DAY;
            assert_eq!(parse_date(date(seconds).as_bytes()), Some(seconds));
        }
        assert_eq!(date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(date(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(date(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn what_is_no_date() {
        for text in [
            "",
            "Sun",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94-1 08:49:37 GMT",
        ] {
            assert_eq!(parse_date(text.as_bytes()), None, "{text}");
        }
    }
}
