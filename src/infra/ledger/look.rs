//! Looking at a journal's file without opening it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use super::journal::APPLICATION_ID;

/// What there is where a journal should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// It is made when it is first opened.
    Nothing,
    Journal,
    /// It will not be opened.
    Other(&'static str),
}

/// By the header of the database (SQLite's file format, 1.3): whether what it holds is whole is seen when it is opened. Nothing
/// is made or changed.
///
/// # Errors
/// What the operating system says.
pub fn look(journal: &Path) -> io::Result<Look> {
    let found = match std::fs::metadata(journal) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Look::Nothing),
        found => found?,
    };
    if found.is_dir() {
        return Ok(Look::Other("a folder"));
    }
    if !found.is_file() {
        return Ok(Look::Other("no ordinary file"));
    }
    if found.len() == 0 {
        return Ok(Look::Nothing);
    }
    let mut header = [0; 100];
    if let Err(error) = File::open(journal)?.read_exact(&mut header) {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => Ok(Look::Other("too short for one")),
            _ => Err(error),
        };
    }
    let is_database = header.starts_with(b"SQLite format 3\0");
    let application = i64::from(u32::from_be_bytes([
        header[68], header[69], header[70], header[71],
    ]));
    Ok(match (is_database, application) {
        (false, _) => Look::Other("not a database"),
        // Who made it may have written that into the log beside it only.
        (true, 0 | APPLICATION_ID) => Look::Journal,
        (true, _) => Look::Other("another program's database"),
    })
}
