//! What things look like, and where they are said.

use std::fmt::Write as _;
use std::io::Write as _;

use zk_client::{Acl, Stat, WatchEvent, Zxid};

/// Says something on standard output. Whoever has closed that does not want to know.
pub(crate) fn say(text: &str) {
    let _closed = writeln!(std::io::stdout().lock(), "{text}");
}

/// Says something on standard error.
pub(crate) fn complain(text: &str) {
    let _closed = writeln!(std::io::stderr().lock(), "{text}");
}

/// `[a, b]`.
pub(crate) fn list(names: &[String]) -> String {
    format!("[{}]", names.join(", "))
}

/// A stat, a field a line.
pub(crate) fn stat(stat: &Stat) -> String {
    format!(
        "cZxid = {}\nctime = {}\nmZxid = {}\nmtime = {}\npZxid = {}\ncversion = {}\n\
         dataVersion = {}\naclVersion = {}\nephemeralOwner = 0x{:x}\ndataLength = {}\n\
         numChildren = {}",
        stat.czxid,
        date(stat.ctime),
        stat.mzxid,
        date(stat.mtime),
        stat.pzxid,
        stat.cversion.get(),
        stat.version.get(),
        stat.aversion.get(),
        stat.ephemeral_owner.get(),
        stat.data_length,
        stat.num_children,
    )
}

/// An ACL, two lines an entry.
pub(crate) fn acl(acl: &Acl) -> String {
    let entries = acl.entries().iter().map(|entry| {
        let text = |part: &Option<_>| {
            part.as_ref()
                .map_or_else(|| "null".to_owned(), ToString::to_string)
        };
        let (scheme, id) = (text(&entry.id.scheme), text(&entry.id.id));
        format!("'{scheme},'{id}\n: {}", entry.perms)
    });
    entries.collect::<Vec<_>>().join("\n")
}

/// A watch event, as a block of its own.
pub(crate) fn event(event: &WatchEvent) -> String {
    let zxid = event.zxid.map_or(-1, Zxid::get);
    notice(
        "SyncConnected",
        &format!("{}", event.kind),
        &event.path,
        zxid,
    )
}

/// A change of the connection, as a block of its own.
pub(crate) fn state(state: &str) -> String {
    notice(state, "None", "null", -1)
}

fn notice(state: &str, kind: &str, path: &str, zxid: i64) -> String {
    format!("\nWATCHER::\n\nWatchedEvent state:{state} type:{kind} path:{path} zxid: {zxid}")
}

/// Milliseconds since 1970 as `Sat Nov 21 00:37:43 UTC 2026`.
fn date(ms: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let seconds = ms.div_euclid(1_000);
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let at = |names: &[&'static str], index: i64| {
        let index = usize::try_from(index).unwrap_or_default();
        names.get(index).copied().unwrap_or_default()
    };
    let weekday = at(&DAYS, days.rem_euclid(7));
    // Years begin in March: then the day that some have more is their last.
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = (month + 2) % 12;
    let year = year + era * 400 + i64::from(month < 2);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    let month = at(&MONTHS, month);
    format!("{weekday} {month} {day:02} {hour:02}:{minute:02}:{second:02} UTC {year}")
}

/// Bytes as a table: hexadecimal to the left, text to the right.
pub(crate) fn hex_table(data: &[u8]) -> String {
    if data.is_empty() {
        return String::new();
    }
    let rule = "+--------+-------------------------------------------------+----------------+";
    let mut table = format!(
        "         +-------------------------------------------------+\n         \
         |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |\n{rule}"
    );
    for (row, bytes) in data.chunks(16).enumerate() {
        let hex: String = bytes.iter().fold(String::new(), |mut hex, byte| {
            let _infallible = write!(hex, " {byte:02x}");
            hex
        });
        let printable = |byte: &u8| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '.',
        };
        let text: String = bytes.iter().map(printable).collect();
        let _infallible = write!(table, "\n|{:08x}|{hex:<48} |{text:<16}|", row * 16);
    }
    table.push('\n');
    table.push_str(rule);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "Thu Jan 01 00:00:00 UTC 1970");
        assert_eq!(date(1_795_221_463_000), "Sat Nov 21 00:37:43 UTC 2026");
        assert_eq!(date(951_827_696_000), "Tue Feb 29 12:34:56 UTC 2000");
        assert_eq!(date(-1), "Wed Dec 31 23:59:59 UTC 1969");
    }

    #[test]
    fn tables_are_those_of_the_reference() {
        let wanted = "
         +-------------------------------------------------+
         |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |
+--------+-------------------------------------------------+----------------+
|00000000| 68 65 6c 6c 6f                                  |hello           |
+--------+-------------------------------------------------+----------------+";
        assert_eq!(format!("\n{}", hex_table(b"hello")), wanted);
        let long = hex_table(&[7; 17]);
        assert!(long.contains("|00000010| 07 "), "{long}");
    }
}
