//! Log lines: as operators' tools know them from the reference, or as JSON.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;
use zk_proto::ServerId;

/// `2026-11-21 00:28:47,392 [myid:1] - INFO  [main:net::client_conn@169] - serving address=…`
#[derive(Debug)]
pub(super) struct TextFormat {
    /// Id of this member.
    pub(super) my_id: Option<ServerId>,
}

impl<S, N> FormatEvent<S, N> for TextFormat
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let thread = std::thread::current();
        let (time, my_id) = (Timestamp::now(), MyId(self.my_id));
        write!(
            writer,
            "{time} [myid:{my_id}] - {:<5} [{}:{}@{}] - ",
            metadata.level().as_str(),
            thread.name().unwrap_or("main"),
            short(metadata.target()),
            metadata.line().unwrap_or(0),
        )?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// One JSON object a line.
#[derive(Debug)]
pub(super) struct JsonFormat {
    /// Id of this member.
    pub(super) my_id: Option<ServerId>,
}

impl<S, N> FormatEvent<S, N> for JsonFormat
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let mut object = Map::new();
        object.insert("time".into(), Timestamp::now().to_string().into());
        object.insert("myid".into(), MyId(self.my_id).to_string().into());
        object.insert("level".into(), metadata.level().as_str().into());
        object.insert("target".into(), metadata.target().into());
        event.record(&mut Fields(&mut object));
        writeln!(writer, "{}", Value::Object(object))
    }
}

/// The module, without the crate all of them are in.
fn short(target: &str) -> &str {
    target.strip_prefix("zk_server::").unwrap_or(target)
}

/// The id of a member, or nothing.
struct MyId(Option<ServerId>);

impl fmt::Display for MyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(id) => write!(f, "{id}"),
            None => Ok(()),
        }
    }
}

/// Collects the fields of an event.
struct Fields<'a>(&'a mut Map<String, Value>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0
            .insert(field.name().into(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), value.into());
    }
}

/// A point in time as `ISO8601` of the reference's log: UTC, with a comma before the milliseconds.
struct Timestamp {
    unix_ms: i64,
}

impl Timestamp {
    fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let unix_ms = since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(0));
        Self { unix_ms }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, ms) = (self.unix_ms.div_euclid(1000), self.unix_ms.rem_euclid(1000));
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = zk_server::four_letter::civil_date(days);
        write!(
            f,
            "{year}-{month:02}-{day:02} {:02}:{:02}:{:02},{ms:03}",
            second / 3600,
            second / 60 % 60,
            second % 60
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_in_the_log_of_the_reference() {
        let time = |unix_ms| Timestamp { unix_ms }.to_string();
        assert_eq!(time(0), "1970-01-01 00:00:00,000");
        assert_eq!(time(1_795_220_994_392), "2026-11-21 00:29:54,392");
    }
}
