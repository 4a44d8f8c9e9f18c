//! Scene collections as files.
//!
//! What OBS cannot be asked for over its WebSocket (groups, transitions) it reads from a scene collection's file, and
//! a big studio comes out of a file faster than out of requests. [`text`] writes such a file, [`Folder`] puts it where
//! OBS looks, and [`by_file`] has OBS change to it.

mod choice;
mod document;
mod folder;
mod switch;

pub(crate) use self::choice::file_for;
pub(crate) use self::document::text;
pub use self::folder::Folder;
pub(super) use self::switch::{Error, by_file};
