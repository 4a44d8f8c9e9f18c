//! An answer that comes line by line, each a JSON object.

use serde_json::Value;

use super::failure::{Exit, Failure};
use crate::infra::causes::with_causes;

/// Longest line that is read.
const LINE_BYTES_MAX: usize = 4 << 20;

/// The lines that have not been read yet.
pub struct Lines {
    response: reqwest::Response,
    rest: Vec<u8>,
}

impl Lines {
    #[must_use]
    pub fn new(response: reqwest::Response) -> Self {
        let rest = Vec::new();
        Self { response, rest }
    }

    /// The next line; `None` after the last.
    ///
    /// # Errors
    /// [`Exit::Unreachable`] if the connection was lost, or what comes is nothing an understudy says.
    pub async fn next(&mut self) -> Result<Option<Value>, Failure> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                let strange =
                    |error| super::advice::foreign(format!("a line of the answer is not JSON: {error}"));
                return serde_json::from_slice(&line).map(Some).map_err(strange);
            }
            if self.rest.len() > LINE_BYTES_MAX {
                return Err(super::advice::foreign("a line of the answer is too long"));
            }
            let chunk = self.response.chunk().await.map_err(|error| {
                Failure::new(
                    Exit::Unreachable,
                    format!(
                        "the connection was lost before the last line came: {}",
                        with_causes(&error)
                    ),
                )
                .advice("what was begun may go on: see `understudy vm executions`")
            })?;
            match chunk {
                Some(chunk) => self.rest.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}
