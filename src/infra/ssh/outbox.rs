//! What an execution has said and its reader has not taken yet: bounded in bytes.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::execution::Piece;
use super::{Error, Exit, Stream};

/// Pieces handed over and not taken.
const PIECES_MAX: usize = 16;
/// Bytes of one piece at most, unless the server sends more in one message; small messages that wait are joined.
const PIECE_BYTES_MAX: usize = 32 * 1024;
/// Bytes that wait to be handed over. As much as is kept of the output of a command that runs to its end: who wants
/// no more of it than that misses nothing.
const WAITING_BYTES_MAX: usize = 1024 * 1024;
/// How long a reader may leave pieces lying once the command has ended.
const LAST_WORDS: Duration = Duration::from_secs(30);

pub(crate) struct Outbox {
    pieces: mpsc::Sender<Piece>,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
}

enum Waiting {
    Output { stream: Stream, bytes: BytesMut },
    Skipped { bytes: u64 },
}

impl Outbox {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Piece>) {
        let (pieces, reader) = mpsc::channel(PIECES_MAX);
        let outbox = Self {
            pieces,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
        };
        (outbox, reader)
    }

    /// Ends when nobody takes pieces any more.
    pub(crate) fn reader_gone(&self) -> impl Future<Output = ()> + use<> {
        let pieces = self.pieces.clone();
        async move { pieces.closed().await }
    }

    /// Keeps what was said, or counts it if there is no room.
    pub(crate) fn put(&mut self, stream: Stream, said: &Bytes) {
        if said.is_empty() {
            return;
        }
        if self.waiting_bytes + said.len() > WAITING_BYTES_MAX {
            let more = said.len() as u64;
            match self.waiting.back_mut() {
                Some(Waiting::Skipped { bytes }) => *bytes += more,
                Some(Waiting::Output { .. }) | None => {
                    self.waiting.push_back(Waiting::Skipped { bytes: more });
                }
            }
            return;
        }
        self.waiting_bytes += said.len();
        match self.waiting.back_mut() {
            Some(Waiting::Output { stream: last, bytes })
                if *last == stream && bytes.len() + said.len() <= PIECE_BYTES_MAX =>
            {
                bytes.extend_from_slice(said);
            }
            Some(_) | None => {
                let bytes = BytesMut::from(&said[..]);
                self.waiting.push_back(Waiting::Output { stream, bytes });
            }
        }
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Hands the oldest over as soon as there is room for it. Nothing is lost if this is given up.
    pub(super) async fn send_next(&mut self) {
        let Ok(room) = self.pieces.reserve().await else {
            // Nobody takes them any more.
            self.waiting.clear();
            self.waiting_bytes = 0;
            return;
        };
        match self.waiting.pop_front() {
            Some(Waiting::Output { stream, bytes }) => {
                self.waiting_bytes -= bytes.len();
                room.send(Piece::Output {
                    stream,
                    bytes: bytes.freeze(),
                });
            }
            Some(Waiting::Skipped { bytes }) => room.send(Piece::Skipped { bytes }),
            None => {}
        }
    }

    /// Hands over what is left, and how it ended.
    pub(crate) async fn finish(mut self, ended: Result<Exit, Error>) {
        let last_words = async {
            while self.has_waiting() {
                self.send_next().await;
            }
            // Fails if nobody wants to know.
            let _ = self.pieces.send(Piece::Ended(ended)).await;
        };
        if timeout(LAST_WORDS, last_words).await.is_err() {
            tracing::debug!("the end of a command was not read in time");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(stream: Stream, bytes: &'static [u8]) -> Piece {
        Piece::Output {
            stream,
            bytes: Bytes::from_static(bytes),
        }
    }

    async fn drain(outbox: Outbox, mut reader: mpsc::Receiver<Piece>) -> Vec<Piece> {
        let (mut all, finished) = (Vec::new(), outbox.finish(Ok(Exit::Status(0))));
        let (_, ()) = tokio::join!(finished, async {
            while let Some(piece) = reader.recv().await {
                all.push(piece);
            }
        });
        assert_eq!(all.pop(), Some(Piece::Ended(Ok(Exit::Status(0)))));
        all
    }

    #[tokio::test]
    async fn small_messages_that_wait_are_joined_but_streams_stay_apart() {
        let (mut outbox, reader) = Outbox::new();
        for (stream, said) in [
            (Stream::Stdout, "a"),
            (Stream::Stdout, "b"),
            (Stream::Stderr, "c"),
            (Stream::Stdout, ""),
            (Stream::Stdout, "d"),
        ] {
            outbox.put(stream, &Bytes::from_static(said.as_bytes()));
        }
        assert_eq!(
            drain(outbox, reader).await,
            [
                output(Stream::Stdout, b"ab"),
                output(Stream::Stderr, b"c"),
                output(Stream::Stdout, b"d")
            ]
        );
    }

    #[tokio::test]
    async fn what_does_not_fit_is_counted_where_it_is_missing_and_later_output_is_kept_again() {
        let (mut outbox, mut reader) = Outbox::new();
        let message = Bytes::from(vec![b'x'; PIECE_BYTES_MAX]);
        for _ in 0..WAITING_BYTES_MAX / PIECE_BYTES_MAX {
            outbox.put(Stream::Stdout, &message);
        }
        outbox.put(Stream::Stdout, &Bytes::from_static(b"lost"));
        outbox.put(Stream::Stderr, &Bytes::from_static(b"lost too"));
        outbox.send_next().await;
        outbox.put(Stream::Stdout, &Bytes::from_static(b"kept"));
        assert!(matches!(reader.recv().await, Some(Piece::Output { bytes, .. }) if bytes == message));

        let rest = drain(outbox, reader).await;
        let (tail, full) = rest.split_at(WAITING_BYTES_MAX / PIECE_BYTES_MAX - 1);
        assert_eq!(tail.len(), WAITING_BYTES_MAX / PIECE_BYTES_MAX - 1);
        assert_eq!(
            full,
            [Piece::Skipped { bytes: 12 }, output(Stream::Stdout, b"kept")]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_who_never_reads_is_not_waited_for_for_ever() {
        let (mut outbox, reader) = Outbox::new();
        for _ in 0..=PIECES_MAX {
            outbox.put(Stream::Stdout, &Bytes::from(vec![0; PIECE_BYTES_MAX]));
        }
        outbox.finish(Ok(Exit::Unknown)).await;
        assert_eq!(reader.len(), PIECES_MAX);
    }
}
