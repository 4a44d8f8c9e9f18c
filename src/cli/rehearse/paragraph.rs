//! Sentences on the terminal: what does not fit the width goes on in the next line, under where it began.

use crate::cli::style::{Tone, tame};
use crate::cli::terminal::Terminal;

/// Least width in which a sentence can still be read; with less it begins at the left edge.
const ROOM_MIN: usize = 24;

/// The text after its heading, which stands in the first line only.
#[must_use]
pub fn render(heading: (&str, Tone), text: (&str, Tone), terminal: &Terminal) -> String {
    let indent = heading.0.chars().count();
    let width = terminal.width.map_or(usize::MAX, usize::from);
    let room = width.saturating_sub(indent);
    let (indent, room) = if room < ROOM_MIN && indent > 0 {
        (2, width.saturating_sub(2))
    } else {
        (indent, room)
    };
    let mut rendered = terminal.paint(heading.1, &tame(heading.0));
    for (number, line) in lines(&tame(text.0), room).iter().enumerate() {
        if number > 0 || indent < heading.0.chars().count() {
            rendered.push('\n');
            rendered.push_str(&" ".repeat(indent));
        }
        rendered.push_str(&terminal.paint(text.1, line));
    }
    rendered.push('\n');
    rendered
}

/// A word that is longer than the width has a line of its own.
fn lines(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(width: Option<u16>, heading: &str, text: &str) -> String {
        let terminal = Terminal {
            width,
            ..Terminal::plain()
        };
        render((heading, Tone::Strong), (text, Tone::Plain), &terminal)
    }

    #[test]
    fn what_does_not_fit_goes_on_under_where_it_began() {
        assert_eq!(at(None, "name  ", "one two three"), "name  one two three\n");
        assert_eq!(
            at(Some(32), "name  ", "one two three four five six seven"),
            "name  one two three four five\n      six seven\n"
        );
    }

    #[test]
    fn beside_a_long_heading_it_begins_in_a_line_of_its_own() {
        assert_eq!(
            at(
                Some(30),
                "a-rather-long-name  ",
                "one two three four five six seven"
            ),
            "a-rather-long-name  \n  one two three four five six\n  seven\n"
        );
    }
}
