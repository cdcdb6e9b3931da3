//! Log lines as JSON, laid out as tracing-subscriber does it but made in one piece: every login writes two of them.

use std::cell::RefCell;
use std::fmt::{self, Debug, Write};

use serde::Serialize;
use serde::de::IgnoredAny;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Json, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::FOREIGN;
use super::clock::write_now;

thread_local! {
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Fields that hold lists, which their events give as JSON: tracing itself has none.
const LISTS: [&str; 4] = ["added", "parameters", "removed", "skipped"];

/// See the module.
pub(super) struct JsonLines<T> {
    /// For what has spans, or comes from elsewhere.
    pub(super) others: Format<Json, T>,
    /// The event's fields are beside the time and the level, not inside `fields`.
    pub(super) flat: bool,
}

impl<S, N, T> FormatEvent<S, N> for JsonLines<T>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    T: FormatTime,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if event.metadata().target() == FOREIGN || ctx.event_scope().is_some() {
            return self.others.format_event(ctx, writer, event);
        }
        LINE.with_borrow_mut(|line| {
            line.clear();
            write_line(line, event, self.flat);
            writer.write_str(line)
        })
    }
}

fn write_line(line: &mut String, event: &Event<'_>, flat: bool) {
    let about = event.metadata();
    line.push_str("{\"timestamp\":\"");
    write_now(line);
    line.push_str("\",\"level\":\"");
    line.push_str(about.level().as_str());
    line.push_str(if flat { "\"" } else { "\",\"fields\":{" });
    let mut fields = Fields { line, is_first: !flat };
    event.record(&mut fields);
    if !flat {
        line.push('}');
    }
    line.push_str(",\"target\":");
    write_text(line, about.target());
    line.push_str("}\n");
}

/// The values of an event, each with its name.
struct Fields<'a> {
    line: &'a mut String,
    is_first: bool,
}

impl Fields<'_> {
    fn name(&mut self, field: &Field) -> &mut String {
        if !std::mem::take(&mut self.is_first) {
            self.line.push(',');
        }
        write_text(self.line, field.name());
        self.line.push(':');
        self.line
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        write_value(self.name(field), &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        let _ = write!(self.name(field), "{value}");
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        let _ = write!(self.name(field), "{value}");
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        let _ = write!(self.name(field), "{value}");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let line = self.name(field);
        match LISTS.contains(&field.name()) && is_list(value) {
            true => line.push_str(value),
            false => write_text(line, value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let line = self.name(field);
        let start = line.len();
        line.push('"');
        // A `String` takes everything; whether the text has to be escaped is known when it is there.
        let _ = write!(line, "{value:?}");
        match line.get(start + 1..) {
            Some(text) if is_plain(text) => line.push('"'),
            text => {
                let text = text.unwrap_or_default().to_owned();
                line.truncate(start);
                write_value(line, &text);
            }
        }
    }
}

fn is_list(text: &str) -> bool {
    serde_json::from_str::<Vec<IgnoredAny>>(text).is_ok()
}

/// Nearly all texts have nothing to escape: that is found out without a look at each byte by itself.
fn is_plain(text: &str) -> bool {
    let special = |byte: u8| u8::from(byte < 0x20) | u8::from(byte == b'"') | u8::from(byte == b'\\');
    text.bytes().fold(0, |found, byte| found | special(byte)) == 0
}

fn write_text(line: &mut String, text: &str) {
    if !is_plain(text) {
        return write_value(line, text);
    }
    line.reserve(text.len() + 2);
    line.push('"');
    line.push_str(text);
    line.push('"');
}

fn write_value<T: Serialize + ?Sized>(line: &mut String, value: &T) {
    // Numbers and texts can all be written.
    line.push_str(&serde_json::to_string(value).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::tests::{Lines, log_something, subscriber};
    use super::*;

    fn logged(ours: bool, flat: bool) -> Vec<Value> {
        let lines = Lines::default();
        let builder = subscriber(&lines).json().flatten_event(flat);
        if ours {
            let subscriber = builder.map_event_format(|others| JsonLines { others, flat }).finish();
            tracing::subscriber::with_default(subscriber, log_something);
        } else {
            tracing::subscriber::with_default(builder.finish(), log_something);
        }
        let mut values: Vec<Value> = lines.all().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        for value in &mut values {
            let time = value.as_object_mut().unwrap().remove("timestamp").unwrap();
            assert_eq!(time.as_str().unwrap().len(), "2026-02-03T04:05:06.000007Z".len(), "{time}");
        }
        values
    }

    #[test]
    fn a_list_is_a_list_and_what_only_looks_like_one_is_text() {
        let lines = Lines::default();
        let builder = subscriber(&lines).json().map_event_format(|others| JsonLines { others, flat: true });
        tracing::subscriber::with_default(builder.finish(), || {
            tracing::info!(added = r#"["a","b\"c"]"#, removed = "[", user = r#"["a"]"#, "lists");
        });
        let line: Value = serde_json::from_str(&lines.all()[0]).unwrap();
        assert_eq!(line["added"], serde_json::json!(["a", "b\"c"]));
        assert_eq!((&line["removed"], &line["user"]), (&"[".into(), &r#"["a"]"#.into()));
    }

    #[test]
    fn lines_say_what_they_say_elsewhere() {
        for flat in [false, true] {
            let ours = logged(true, flat);
            assert_eq!(ours.len(), 6);
            assert_eq!(ours, logged(false, flat));
        }
    }
}
