//! Log lines as text, laid out as tracing-subscriber does it but made in one piece: every login writes two of them. What is
//! unusual in any way is left to the library: colours, spans, errors with their causes, control characters.

use std::cell::RefCell;
use std::error::Error;
use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::FOREIGN;
use super::clock::write_now;

thread_local! {
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// See the module.
pub(super) struct TextLines<T> {
    pub(super) others: Format<Full, T>,
}

impl<S, N, T> FormatEvent<S, N> for TextLines<T>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    T: FormatTime,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let is_ours = event.metadata().target() != FOREIGN && !writer.has_ansi_escapes();
        if !is_ours || ctx.event_scope().is_some() {
            return self.others.format_event(ctx, writer, event);
        }
        LINE.with_borrow_mut(|line| {
            line.clear();
            match write_line(line, event) {
                Ok(()) => writer.write_str(line),
                Err(Unusual) => self.others.format_event(ctx, writer, event),
            }
        })
    }
}

struct Unusual;

fn write_line(line: &mut String, event: &Event<'_>) -> Result<(), Unusual> {
    let about = event.metadata();
    write_now(line);
    let level = about.level().as_str();
    // Levels are five letters wide.
    line.push_str(if level.len() < "ERROR".len() { "  " } else { " " });
    line.push_str(level);
    line.push(' ');
    line.push_str(about.target());
    line.push(':');
    let mut fields = Fields { line, is_unusual: false };
    event.record(&mut fields);
    if fields.is_unusual {
        return Err(Unusual);
    }
    line.push('\n');
    Ok(())
}

/// The values of an event, each with its name; the message has none.
struct Fields<'a> {
    line: &'a mut String,
    is_unusual: bool,
}

impl Fields<'_> {
    fn name(&mut self, field: &Field) -> &mut String {
        let name = field.name();
        self.is_unusual |= name.starts_with("r#") || name.starts_with("log.");
        self.line.push(' ');
        if name != "message" {
            self.line.push_str(name);
            self.line.push('=');
        }
        self.line
    }
}

impl Visit for Fields<'_> {
    fn record_i64(&mut self, field: &Field, value: i64) {
        let _ = write!(self.name(field), "{value}");
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        let _ = write!(self.name(field), "{value}");
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.name(field).push_str(if value { "true" } else { "false" });
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            return self.record_debug(field, &format_args!("{value}"));
        }
        let line = self.name(field);
        if !is_plain(value) {
            let _ = write!(line, "{value:?}");
            return;
        }
        line.reserve(value.len() + 2);
        line.push('"');
        line.push_str(value);
        line.push('"');
    }

    fn record_error(&mut self, _: &Field, _: &(dyn Error + 'static)) {
        self.is_unusual = true;
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let line = self.name(field);
        let start = line.len();
        // A `String` takes everything.
        let _ = write!(line, "{value:?}");
        if field.name() == "message" {
            self.is_unusual |= !self.line.get(start..).is_some_and(is_printable);
        }
    }
}

/// Whether a text needs nothing escaped between quotes.
fn is_plain(text: &str) -> bool {
    let special = |byte: u8| u8::from(byte == b'"') | u8::from(byte == b'\\');
    is_printable(text) && text.bytes().fold(0, |found, byte| found | special(byte)) == 0
}

fn is_printable(text: &str) -> bool {
    let special = |byte: u8| u8::from(byte < 0x20) | u8::from(byte > 0x7e);
    text.bytes().fold(0, |found, byte| found | special(byte)) == 0
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Lines, log_something, subscriber};
    use super::*;

    /// Without their times.
    fn logged(ours: bool) -> Vec<String> {
        let lines = Lines::default();
        let builder = subscriber(&lines).with_ansi(false);
        if ours {
            let subscriber = builder.map_event_format(|others| TextLines { others }).finish();
            tracing::subscriber::with_default(subscriber, log_something);
        } else {
            tracing::subscriber::with_default(builder.finish(), log_something);
        }
        lines.all().iter().map(|line| line.split_once("Z ").unwrap().1.to_owned()).collect()
    }

    #[test]
    fn lines_say_what_they_say_elsewhere() {
        let ours = logged(true);
        assert_eq!(ours.len(), 6);
        assert_eq!(ours, logged(false));
    }
}
