//! Telling a client what something prints: bytes made text, pieces put together, what is missing said.

use crate::actors::executions::run::{Ended, Stream, Update};
use crate::api::types::ssh::{OutputEvent, cancelled_by, code, signal};
use crate::domain::execution::{Ending, ExecutionId};
use crate::domain::ids::VmId;
use crate::domain::time::millis;

/// Tells of one execution.
pub struct Narrator {
    vm: VmId,
    id: ExecutionId,
    stdout: Text,
    stderr: Text,
}

impl Narrator {
    #[must_use]
    pub fn new(vm: VmId, id: ExecutionId) -> Self {
        Self {
            vm,
            id,
            stdout: Text::default(),
            stderr: Text::default(),
        }
    }

    /// An event in which nothing is said yet but what it is about.
    #[must_use]
    pub fn blank(&self) -> OutputEvent {
        OutputEvent {
            vm_id: self.vm.to_string(),
            execution_id: self.id.to_string(),
            ..OutputEvent::default()
        }
    }

    /// What is told of an update; nothing for bytes that are the beginning of a character.
    #[must_use]
    pub fn tell(&mut self, update: &Update) -> Option<OutputEvent> {
        match update {
            Update::Output { stream, bytes, .. } => {
                let text = match stream {
                    Stream::Stdout => &mut self.stdout,
                    Stream::Stderr => &mut self.stderr,
                };
                let data = text.push(bytes);
                (!data.is_empty()).then(|| OutputEvent {
                    stream: Some(name(*stream)),
                    data,
                    ..self.blank()
                })
            }
            Update::Truncated { stream } => Some(OutputEvent {
                stream: Some(name(*stream)),
                notice: Some("it prints more than is passed on; the rest is left out".to_owned()),
                ..self.blank()
            }),
            Update::Skipped { bytes } => Some(self.missing(*bytes)),
            Update::Ended(ended) => Some(self.end(ended)),
        }
    }

    /// So many bytes are not told.
    #[must_use]
    pub fn missing(&self, bytes: u64) -> OutputEvent {
        OutputEvent {
            notice: Some(format!("{bytes} bytes came too fast and are left out here")),
            ..self.blank()
        }
    }

    fn end(&self, ended: &Ended) -> OutputEvent {
        OutputEvent {
            done: true,
            code: Some(code(&ended.ending)),
            success: Some(code(&ended.ending) == 0),
            duration: Some(millis(ended.took)),
            bytes: Some(ended.bytes),
            signal: signal(&ended.ending),
            cancelled_by: cancelled_by(&ended.ending),
            error: error(&ended.ending),
            ..self.blank()
        }
    }

    /// The end of something whose watcher died.
    #[must_use]
    pub fn unknown_end(&self) -> OutputEvent {
        OutputEvent {
            done: true,
            code: Some(-1),
            success: Some(false),
            error: error(&Ending::Unknown),
            ..self.blank()
        }
    }
}

fn name(stream: Stream) -> &'static str {
    match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    }
}

fn error(ending: &Ending) -> Option<String> {
    match ending {
        Ending::Exited { .. } | Ending::Signalled { .. } => None,
        Ending::Cancelled { by, may_go_on: false } => Some(format!("it was cancelled by {by}")),
        Ending::Cancelled { by, may_go_on: true } => Some(format!(
            "it was cancelled by {by}, did not end when it was told to, and may go on"
        )),
        Ending::Closed { reason } => Some(format!("it was closed: {reason}")),
        Ending::TimedOut { limit_ms } => {
            Some(format!("it did not end within {limit_ms} ms and was told to end"))
        }
        Ending::ConnectionLost { reason } => Some(format!(
            "the SSH connection was lost, and on the VM it may go on: {reason}"
        )),
        Ending::NotStarted { reason } => Some(format!("it could not be started: {reason}")),
        Ending::Unknown => Some("how it ended is not known".to_owned()),
    }
}

/// Bytes as UTF-8 text, where a character may come in two pieces. What is no UTF-8 becomes U+FFFD.
#[derive(Debug, Default)]
struct Text {
    /// The beginning of a character: at most three bytes.
    rest: Vec<u8>,
}

impl Text {
    fn push(&mut self, bytes: &[u8]) -> String {
        let mut all = std::mem::take(&mut self.rest);
        all.extend_from_slice(bytes);
        let mut text = String::with_capacity(all.len());
        let mut read = 0;
        for chunk in all.utf8_chunks() {
            text.push_str(chunk.valid());
            let invalid = chunk.invalid();
            read += chunk.valid().len() + invalid.len();
            if invalid.is_empty() {
                continue;
            }
            if read == all.len() && may_go_on(invalid) {
                self.rest = invalid.to_vec();
            } else {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        text
    }
}

/// Whether these are the first bytes of a character that is not complete.
fn may_go_on(bytes: &[u8]) -> bool {
    matches!(std::str::from_utf8(bytes), Err(error) if error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn narrator() -> Narrator {
        Narrator::new(VmId::new("vm-1").unwrap(), ExecutionId(7))
    }

    fn output(stream: Stream, bytes: &[u8]) -> Update {
        Update::Output {
            step: 0,
            stream,
            bytes: Bytes::copy_from_slice(bytes),
        }
    }

    #[test]
    fn a_character_in_two_pieces_is_told_once_and_each_stream_has_its_own() {
        let mut narrator = narrator();
        let euro = "€".as_bytes();
        assert_eq!(narrator.tell(&output(Stream::Stdout, &euro[..2])), None);
        let other = narrator.tell(&output(Stream::Stderr, b"oops")).unwrap();
        assert_eq!((other.stream, other.data.as_str()), (Some("stderr"), "oops"));
        let whole = narrator.tell(&output(Stream::Stdout, &euro[2..])).unwrap();
        assert_eq!((whole.stream, whole.data.as_str()), (Some("stdout"), "€"));
        assert_eq!(
            (whole.vm_id.as_str(), whole.execution_id.as_str()),
            ("vm-1", "exec-7")
        );
    }

    #[test]
    fn bytes_that_are_no_text_are_told_as_such_and_hold_nothing_up() {
        let mut text = Text::default();
        assert_eq!(text.push(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(text.push(b"c\xe2\x82"), "c");
        assert_eq!(text.push(b"d"), "\u{fffd}d");
    }

    #[test]
    fn the_end_says_how() {
        let took = std::time::Duration::from_millis(1_500);
        let ended = |ending| {
            let (bytes, busy) = (9, false);
            narrator()
                .tell(&Update::Ended(Ended {
                    ending,
                    took,
                    bytes,
                    busy,
                }))
                .unwrap()
        };
        let failed = ended(Ending::Exited { status: 3 });
        assert_eq!(
            (
                failed.done,
                failed.code,
                failed.success,
                failed.duration,
                failed.error
            ),
            (true, Some(3), Some(false), Some(1_500), None)
        );
        let cancelled = ended(Ending::Cancelled {
            by: "operator".into(),
            may_go_on: false,
        });
        assert_eq!(
            (cancelled.code, cancelled.cancelled_by.as_deref()),
            (Some(-1), Some("operator"))
        );
        let stubborn = ended(Ending::Cancelled {
            by: "operator".into(),
            may_go_on: true,
        });
        assert_eq!(
            stubborn.error.as_deref(),
            Some("it was cancelled by operator, did not end when it was told to, and may go on")
        );
        assert!(ended(Ending::Unknown).error.is_some());
    }

    proptest! {
        #[test]
        fn text_is_the_same_however_it_is_cut(whole in "\\PC{0,60}", cuts in prop::collection::vec(0_usize..8, 0..40)) {
            let mut text = Text::default();
            let (mut told, mut rest) = (String::new(), whole.as_bytes());
            for cut in cuts {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                told += &text.push(now);
                rest = later;
            }
            told += &text.push(rest);
            prop_assert_eq!(told, whole);
        }
    }
}
