//! A log with a defect: whoever writes a certain line next panics over it. By this any actor can be made to panic inside
//! its own code, whatever that is, without a word of it knowing.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Metadata, Subscriber};

/// The log of this thread, for as long as it is held.
pub struct Log {
    armed: Arc<Mutex<Option<Line>>>,
    _default: DefaultGuard,
}

/// A line, or a span, that begins and goes on like this.
struct Line {
    begins: &'static str,
    contains: String,
}

impl Log {
    pub fn begin() -> Self {
        let armed = Arc::new(Mutex::new(None));
        let subscriber = Defective {
            armed: Arc::clone(&armed),
            spans: AtomicU64::new(1),
        };
        Self {
            armed,
            _default: tracing::subscriber::set_default(subscriber),
        }
    }

    /// Whoever next writes a line, or opens a span, of this name with this among its fields panics.
    pub fn break_at(&self, begins: &'static str, contains: &str) {
        let contains = contains.to_owned();
        *self.armed.lock().unwrap() = Some(Line { begins, contains });
        // What other threads thought of lines before there was this log does not count any more.
        tracing::callsite::rebuild_interest_cache();
    }

    /// Whether somebody has.
    pub fn has_broken(&self) -> bool {
        self.armed.lock().unwrap().is_none()
    }
}

struct Defective {
    armed: Arc<Mutex<Option<Line>>>,
    spans: AtomicU64,
}

impl Defective {
    fn write(&self, text: &Text) {
        let mut armed = self.armed.lock().unwrap();
        let is_it = |line: &mut Line| text.name == line.begins && text.fields.contains(&line.contains);
        if armed.take_if(is_it).is_some() {
            drop(armed);
            panic!("a log with a defect, at {:?}", text.name);
        }
    }
}

/// A line's message, or a span's name, and its fields.
#[derive(Default)]
struct Text {
    name: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.name = format!("{value:?}");
        } else {
            write!(self.fields, "{}={value:?} ", field.name()).unwrap();
        }
    }
}

impl Subscriber for Defective {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut text = Text {
            name: span.metadata().name().to_owned(),
            ..Text::default()
        };
        span.record(&mut text);
        self.write(&text);
        Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed))
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        self.write(&text);
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
