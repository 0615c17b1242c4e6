//! Points in time as the protocol writes them: UTC, ISO 8601, whole seconds.

/// Seconds since 1970-01-01T00:00:00Z.
pub type UnixSeconds = i64;

/// The time that nobody knows (TR-106 §3.2.1).
pub const UNKNOWN: &str = "0001-01-01T00:00:00Z";

/// Writes a time, such as `2026-11-23T08:00:00Z`. Times outside the years 1 to 9999 are unknown.
#[must_use]
pub fn format(seconds: UnixSeconds) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    if !(1..=9999).contains(&year) {
        return UNKNOWN.to_owned();
    }
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Reads a time with `Z`, with an offset, or with neither (then UTC); fractions of a second are dropped.
#[must_use]
pub fn parse(text: &str) -> Option<UnixSeconds> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| {
        let digits = bytes.get(from..to)?;
        digits.iter().try_fold(0_i64, |value, digit| {
            digit
                .is_ascii_digit()
                .then(|| value * 10 + i64::from(digit - b'0'))
        })
    };
    let separator = |at: usize, byte: u8| (*bytes.get(at)? == byte).then_some(());
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    separator(4, b'-')?;
    separator(7, b'-')?;
    separator(10, b'T')?;
    separator(13, b':')?;
    separator(16, b':')?;
    if !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    let mut rest = text.get(19..)?;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        rest = fraction.get(digits..).filter(|_| digits > 0)?;
    }
    let offset = match rest {
        "" | "Z" => 0,
        _ => {
            let (sign, clock) = match rest.split_at_checked(1)? {
                ("+", clock) => (1, clock),
                ("-", clock) => (-1, clock),
                _ => return None,
            };
            let (hours, minutes) = clock.split_once(':')?;
            let (hours, minutes): (u8, u8) = (hours.parse().ok()?, minutes.parse().ok()?);
            if hours > 14 || minutes > 59 {
                return None;
            }
            sign * (i64::from(hours) * 3_600 + i64::from(minutes) * 60)
        }
    };
    let days = days_from_civil(year, month, day);
    // 31 April and the like do not come back as they were.
    (civil_from_days(days) == (year, month, day))
        .then_some(days * 86_400 + hour * 3_600 + minute * 60 + second - offset)
}

/// Between two messages of a device as much time has passed by its clock as by ours, but for so much; else one of the clocks was set.
const AGREE_US: i64 = 60_000_000;

/// Whether the first of two messages of a device seems to have been said before the second: by its own clock and by the clock of those who heard them
/// (microseconds since 1970), which agree within a minute about how much earlier. A clock that was set in between by less than that, or one that is
/// both the device's and ours, can deceive: nothing may be lost by it.
#[must_use]
pub fn was_said_before(first: (&str, i64), second: (&str, i64)) -> bool {
    let (Some(first_said), Some(second_said)) = (parse(first.0), parse(second.0)) else {
        return false;
    };
    let said_us = second_said
        .saturating_sub(first_said)
        .saturating_mul(1_000_000);
    let heard_us = second.1.saturating_sub(first.1);
    said_us > 0 && heard_us > 0 && said_us.saturating_sub(heard_us).abs() <= AGREE_US
}

/// Reads the octets of a DateAndTime (RFC 2579): local time without an offset counts as UTC. A year before 2000 says that the clock was
/// never set (MAP-28).
#[must_use]
pub fn from_date_and_time(octets: &[u8]) -> Option<UnixSeconds> {
    let (&[high, low, month, day, hour, minute, second, _], rest) =
        octets.split_first_chunk::<8>()?;
    let year = i64::from(u16::from_be_bytes([high, low]));
    if year < 2000 || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let offset = match rest {
        [sign @ (b'+' | b'-'), hours, minutes] => {
            let seconds = i64::from(*hours) * 3_600 + i64::from(*minutes) * 60;
            if *sign == b'+' { seconds } else { -seconds }
        }
        _ => 0,
    };
    let days = days_from_civil(year, month.into(), day.into());
    (civil_from_days(days) == (year, month.into(), day.into())).then_some(
        days * 86_400 + i64::from(hour) * 3_600 + i64::from(minute) * 60 + i64::from(second)
            - offset,
    )
}

/// Days since 1970-01-01 to year, month, day of the Gregorian calendar. Years start in March here, so that the leap day is the last one.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let year_of_era = year.rem_euclid(400);
    let month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_era =
        year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + (153 * month + 2) / 5 + day - 1;
    year.div_euclid(400) * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_said_before_is_what_both_clocks_say() {
        const HOUR_US: i64 = 3_600_000_000;
        let noon = "2026-11-23T12:00:00Z";
        for (first, second, expected) in [
            (("2026-11-23T11:59:00Z", 0), (noon, 60_000_000), true),
            // The clocks of two who hear differ a little.
            (("2026-11-23T11:59:50Z", 0), (noon, 1), true),
            (("2026-11-23T11:59:59Z", 5), (noon, 5), false),
            ((noon, 0), (noon, 1_000_000), false),
            ((noon, 0), ("2026-11-23T11:59:59Z", 1_000_000), false),
            // It was set between the two.
            (("1970-01-01T00:00:10Z", 0), (noon, 1_000_000), false),
            (("2026-11-23T11:00:00Z", 0), (noon, 1_000_000), false),
            (
                ("1970-01-01T00:00:10Z", 0),
                ("1970-01-01T01:00:10Z", HOUR_US),
                true,
            ),
            ((UNKNOWN, 0), (noon, 1_000_000), false),
            ((UNKNOWN, 0), (UNKNOWN, 1_000_000), false),
            (("", 0), (noon, 1_000_000), false),
        ] {
            assert_eq!(
                was_said_before(first, second),
                expected,
                "{first:?} {second:?}"
            );
        }
    }

    #[test]
    fn times_are_written_and_read() {
        assert_eq!(format(0), "1970-01-01T00:00:00Z");
        assert_eq!(format(1_795_421_045), "2026-11-23T08:04:05Z");
        assert_eq!(parse("2026-11-23T09:04:05.25+01:00"), Some(1_795_421_045));
        assert_eq!(parse("2024-02-29T00:00:00"), Some(1_709_164_800));
        for text in [
            "",
            "2026-11-23",
            "2025-02-29T00:00:00Z",
            "2026-11-23T24:00:00Z",
            "2026-11-23T00:00:00.Z",
            "2026-11-23T00:00:00+15:00",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_clock_that_was_never_set_is_unknown() {
        assert_eq!(
            from_date_and_time(&[0x07, 0xea, 11, 23, 9, 4, 5, 0, b'+', 1, 0]),
            Some(1_795_421_045)
        );
        assert_eq!(
            from_date_and_time(&[0x07, 0xea, 11, 23, 8, 4, 5, 0]),
            Some(1_795_421_045)
        );
        assert_eq!(from_date_and_time(&[0, 0, 1, 1, 0, 0, 0, 0]), None);
        assert_eq!(from_date_and_time(&[0x07, 0xb2, 1, 1, 0, 0, 0, 0]), None);
        assert_eq!(from_date_and_time(&[7]), None);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(seconds in -62_135_596_800_i64..253_402_300_800) {
            prop_assert_eq!(parse(&format(seconds)), Some(seconds));
        }

        #[test]
        fn any_text_is_a_time_or_not(text in ".{0,30}", octets in proptest::collection::vec(any::<u8>(), 0..12)) {
            let _ = parse(&text);
            let _ = from_date_and_time(&octets);
        }
    }
}
