//! Numbers, dates and addresses as Java prints them: parsers of these texts expect them so.

use std::net::{IpAddr, SocketAddr};

/// A number with a fraction: at least one decimal, scientific below 0.001 and from ten million.
pub fn java_double(value: f64) -> String {
    let magnitude = value.abs();
    if value == 0.0 || (1e-3..1e7).contains(&magnitude) {
        let text = value.to_string();
        return if text.contains('.') {
            text
        } else {
            format!("{text}.0")
        };
    }
    if !value.is_finite() {
        return match (value.is_nan(), value > 0.0) {
            (true, _) => "NaN",
            (false, true) => "Infinity",
            (false, false) => "-Infinity",
        }
        .to_owned();
    }
    let text = format!("{value:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => text,
    }
}

/// An average as statistics print it: four decimals, halves away from zero.
pub(super) fn java_average(value: f64) -> String {
    java_double((value * 10_000.0).round() / 10_000.0)
}

/// A date in UTC, such as `Sat Nov 21 00:29:54 UTC 2026`, from ms since the epoch.
pub fn java_date(unix_ms: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let seconds = unix_ms.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let weekday = usize::try_from(days.rem_euclid(7))
        .ok()
        .and_then(|day| DAYS.get(day));
    let (year, month, day) = civil_date(days);
    let month = month.checked_sub(1).and_then(|month| MONTHS.get(month));
    format!(
        "{} {} {day:02} {:02}:{:02}:{:02} UTC {year}",
        weekday.copied().unwrap_or_default(),
        month.copied().unwrap_or_default(),
        second / 3600,
        second / 60 % 60,
        second % 60,
    )
}

/// Year, month and day, the latter two from 1, of a day since the epoch.
///
/// Counts from 1 March of year 0, so that the leap day is the last of its year.
pub fn civil_date(days: i64) -> (i64, usize, i64) {
    const DAYS_IN_400_YEARS: i64 = 146_097;
    let days = days + 719_468;
    let (era, day) = (
        days.div_euclid(DAYS_IN_400_YEARS),
        days.rem_euclid(DAYS_IN_400_YEARS),
    );
    let leaps = day / 1460 - day / 36_524 + day / 146_096;
    let year = (day - leaps) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 {
        (month + 3, year)
    } else {
        (month - 9, year + 1)
    };
    (
        era * 400 + year,
        usize::try_from(month).unwrap_or_default(),
        day_of_month,
    )
}

/// A socket address without a name: `/127.0.0.1:2181`, `/[0:0:0:0:0:0:0:1]:2181`.
pub fn java_address(address: SocketAddr) -> String {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => format!("/{ip}:{}", address.port()),
        IpAddr::V6(ip) => {
            let groups: Vec<String> = ip
                .segments()
                .iter()
                .map(|group| format!("{group:x}"))
                .collect();
            format!("/[{}]:{}", groups.join(":"), address.port())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_print_as_java_prints_them() {
        for (value, text) in [
            (0.0, "0.0"),
            (1.5, "1.5"),
            (0.1949, "0.1949"),
            (265.0, "265.0"),
            (0.001, "0.001"),
            (0.0001, "1.0E-4"),
            (0.00015, "1.5E-4"),
            (9_999_999.0, "9999999.0"),
            (12_345_678.0, "1.2345678E7"),
            (-1.0, "-1.0"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(java_double(value), text);
        }
        assert_eq!(java_average(4.0 / 3.0), "1.3333");
        assert_eq!(java_average(0.19494), "0.1949");
    }

    #[test]
    fn dates_are_utc() {
        assert_eq!(java_date(0), "Thu Jan 01 00:00:00 UTC 1970");
        assert_eq!(java_date(1_795_220_994_000), "Sat Nov 21 00:29:54 UTC 2026");
        assert_eq!(java_date(951_827_696_999), "Tue Feb 29 12:34:56 UTC 2000");
        assert_eq!(java_date(-1), "Wed Dec 31 23:59:59 UTC 1969");
        assert_eq!(java_date(4_107_542_400_000), "Mon Mar 01 00:00:00 UTC 2100");
    }

    #[test]
    fn addresses_carry_a_slash() {
        let text = |address: &str| java_address(address.parse().expect("an address"));
        assert_eq!(text("127.0.0.1:42506"), "/127.0.0.1:42506");
        assert_eq!(text("[::1]:42506"), "/[0:0:0:0:0:0:0:1]:42506");
        assert_eq!(text("[::ffff:10.0.0.1]:1"), "/10.0.0.1:1");
    }
}
