//! Tables for the terminal: no boxes, a rule under the heading, and only what there is room for.
//!
//! A column says how much it matters. What is empty in every row is left out if the column may be; what does
//! not fit the width goes, least important first; what still does not fit is cut with `…`. A row is one line,
//! unless the table wraps.

use comfy_table::{Attribute, CellAlignment, Color, ColumnConstraint, ContentArrangement};
use comfy_table::{ContentLineStyle, LineStyle, Row, TableStyle};

use super::style::{self, Look, Tone, tame, tame_lines};
use super::terminal::Terminal;

/// Spaces between two columns.
const GAP: u16 = 2;

/// One column.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    title: &'static str,
    right: bool,
    /// `None` is always there; else the higher the longer.
    rank: Option<u8>,
    optional: bool,
    flexible: bool,
}

impl Column {
    #[must_use]
    pub const fn new(title: &'static str) -> Self {
        Self {
            title,
            right: false,
            rank: None,
            optional: false,
            flexible: false,
        }
    }

    /// Figures stand to the right.
    #[must_use]
    pub const fn right(mut self) -> Self {
        self.right = true;
        self
    }

    /// Goes when there is no room, lowest rank first.
    #[must_use]
    pub const fn rank(mut self, rank: u8) -> Self {
        self.rank = Some(rank);
        self
    }

    /// Is left out if it is empty in every row.
    #[must_use]
    pub const fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Gives way first: text that can be cut or wrapped.
    #[must_use]
    pub const fn flexible(mut self) -> Self {
        self.flexible = true;
        self
    }
}

/// One cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// What is not printable is replaced.
    #[must_use]
    pub fn new(text: impl AsRef<str>) -> Self {
        Self {
            text: tame(text.as_ref()),
            tone: Tone::Plain,
        }
    }

    #[must_use]
    pub fn tone(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }

    /// Nothing there.
    #[must_use]
    pub fn empty() -> Self {
        Self::new("")
    }

    /// Several lines, one below the other where the table wraps.
    #[must_use]
    pub fn lines(lines: &[String]) -> Self {
        Self {
            text: tame_lines(lines),
            tone: Tone::Plain,
        }
    }

    /// Nothing if there is nothing.
    #[must_use]
    pub fn maybe(text: Option<impl AsRef<str>>) -> Self {
        text.map_or_else(Self::empty, Self::new)
    }

    /// Sign and word; for a word that has no look, the word.
    #[must_use]
    pub fn look(look: Option<Look>, word: &str) -> Self {
        match look {
            Some(look) => Self::new(look.text()).tone(look.tone),
            None => Self::new(word),
        }
    }

    /// The dot of a service.
    #[must_use]
    pub fn dot(up: Option<bool>) -> Self {
        let (sign, tone) = style::dot(up);
        Self::new(sign).tone(tone)
    }
}

/// Rows under a heading.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
    wraps: bool,
}

impl Table {
    #[must_use]
    pub fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        Self {
            columns: columns.into_iter().collect(),
            rows: Vec::new(),
            wraps: false,
        }
    }

    /// Long text goes on in the next line instead of being cut.
    #[must_use]
    pub fn wrapping(mut self) -> Self {
        self.wraps = true;
        self
    }

    /// Adds a row: a cell per column. Missing ones are empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) -> &mut Self {
        let mut cells: Vec<Cell> = cells.into_iter().collect();
        cells.resize_with(self.columns.len(), Cell::empty);
        self.rows.push(cells);
        self
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// As text, every line with its end. Nothing at all if there is no column.
    #[must_use]
    pub fn render(&self, terminal: &Terminal) -> String {
        let natural = self.natural_widths();
        let shown = self.fitting(self.useful(), &natural, terminal.width);
        if shown.is_empty() {
            return String::new();
        }
        let room = terminal.width.map(|width| self.room(&shown, &natural, width));
        let table = self.built(&shown, room, terminal);
        table
            .lines()
            .map(|line| line.trim_end().to_owned() + "\n")
            .collect()
    }

    /// The titles of the columns for which there is no room.
    #[must_use]
    pub fn left_out(&self, terminal: &Terminal) -> Vec<&'static str> {
        let useful = self.useful();
        let shown = self.fitting(useful.clone(), &self.natural_widths(), terminal.width);
        let left_out = useful.into_iter().filter(|column| !shown.contains(column));
        left_out.map(|column| self.columns[column].title).collect()
    }

    fn useful(&self) -> Vec<usize> {
        (0..self.columns.len())
            .filter(|column| self.has_use(*column))
            .collect()
    }

    fn has_use(&self, column: usize) -> bool {
        !self.columns[column].optional || self.rows.iter().any(|row| !row[column].text.is_empty())
    }

    /// Columns that each column's widest cell takes.
    fn natural_widths(&self) -> Vec<u16> {
        let all: Vec<usize> = (0..self.columns.len()).collect();
        let mut widths = self
            .built(&all, None, &Terminal::plain())
            .column_max_content_widths();
        widths.resize(all.len(), 0);
        widths
    }

    /// Leaves out what there is no room for.
    fn fitting(&self, mut shown: Vec<usize>, natural: &[u16], width: Option<u16>) -> Vec<usize> {
        /// Least width at which a flexible column is worth having.
        const FLEXIBLE_MIN: u16 = 24;
        let Some(width) = width else { return shown };
        let needs = |column: &usize| match natural[*column] {
            natural if self.columns[*column].flexible => natural.min(FLEXIBLE_MIN),
            natural => natural,
        };
        loop {
            let needed = shown
                .iter()
                .map(needs)
                .fold(0, |sum: u16, needs| sum.saturating_add(needs + GAP));
            if needed.saturating_sub(GAP) <= width {
                return shown;
            }
            let ranked = shown
                .iter()
                .enumerate()
                .filter_map(|(at, column)| Some((self.columns[*column].rank?, at)));
            match ranked.min() {
                Some((_, at)) => shown.remove(at),
                None => return shown,
            };
        }
    }

    /// What the columns that do not give way leave to those that do.
    fn room(&self, shown: &[usize], natural: &[u16], width: u16) -> usize {
        let taken = shown.iter().fold(0, |sum: u16, column| match natural[*column] {
            _ if self.columns[*column].flexible => sum.saturating_add(GAP),
            natural => sum.saturating_add(natural + GAP),
        });
        usize::from(width.saturating_sub(taken.saturating_sub(GAP)))
    }

    /// `room` is what text in flexible columns is cut to, if it does not wrap.
    fn built(&self, shown: &[usize], room: Option<usize>, terminal: &Terminal) -> comfy_table::Table {
        let mut table = comfy_table::Table::new();
        table.load_style(RULED).force_no_tty();
        if terminal.color {
            table.enforce_styling().style_text_only();
        }
        let bold = |title| comfy_table::Cell::new(title).add_attribute(Attribute::Bold);
        let heading: Vec<_> = shown
            .iter()
            .map(|column| bold(self.columns[*column].title))
            .collect();
        table.set_header(Row::from(heading));
        for cells in &self.rows {
            let drawn = shown.iter().map(|column| {
                let room = room.filter(|_| self.columns[*column].flexible && !self.wraps);
                drawn(&cells[*column], room)
            });
            let mut row = Row::from(drawn.collect::<Vec<_>>());
            if !self.wraps {
                row.max_height(1);
            }
            table.add_row(row);
        }
        self.arrange(&mut table, shown, terminal.width);
        table
    }

    fn arrange(&self, table: &mut comfy_table::Table, shown: &[usize], width: Option<u16>) {
        // Without a column that gives way, all have to.
        let rigid = shown.iter().any(|column| self.columns[*column].flexible);
        for (at, column) in shown.iter().enumerate() {
            let Some(drawn) = table.column_mut(at) else {
                continue;
            };
            let column = &self.columns[*column];
            let last = at + 1 == shown.len();
            drawn.set_padding((0, if last { 0 } else { GAP }));
            if column.right {
                drawn.set_cell_alignment(CellAlignment::Right);
            }
            if rigid && !column.flexible {
                drawn.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        if let Some(width) = width {
            table
                .set_width(width)
                .set_content_arrangement(ContentArrangement::Dynamic);
        }
    }
}

/// Nothing but a line under the heading.
const RULED: TableStyle = TableStyle::new()
    .header_lines(ContentLineStyle::none())
    .header_separator(LineStyle::none().fill('─'));

fn drawn(cell: &Cell, room: Option<usize>) -> comfy_table::Cell {
    let drawn = match room {
        Some(room) if cell.text.chars().count() > room => {
            let cut: String = cell.text.chars().take(room.saturating_sub(1)).collect();
            comfy_table::Cell::new(cut + "…")
        }
        Some(_) | None => comfy_table::Cell::new(&cell.text),
    };
    match cell.tone {
        Tone::Plain => drawn,
        Tone::Good => drawn.fg(Color::DarkGreen),
        Tone::Busy => drawn.fg(Color::DarkYellow),
        Tone::Bad => drawn.fg(Color::DarkRed),
        Tone::Live => drawn.fg(Color::DarkMagenta),
        Tone::Taken => drawn.fg(Color::DarkBlue),
        Tone::Dim => drawn.add_attribute(Attribute::Dim),
        Tone::Strong => drawn.add_attribute(Attribute::Bold),
    }
}

/// A line of pieces, each in its tone, cut at the width.
#[derive(Debug, Clone, Default)]
pub struct Line {
    pieces: Vec<(String, Tone)>,
}

impl Line {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a piece. What is not printable is replaced.
    #[must_use]
    pub fn push(mut self, tone: Tone, text: impl AsRef<str>) -> Self {
        self.pieces.push((tame(text.as_ref()), tone));
        self
    }

    /// Columns it takes; a character counts as one.
    #[must_use]
    pub fn width(&self) -> usize {
        self.pieces.iter().map(|(text, _)| text.chars().count()).sum()
    }

    /// As text with its end. What does not fit is cut with `…`.
    #[must_use]
    pub fn render(&self, terminal: &Terminal) -> String {
        let total = self.width();
        let width = terminal.width.map_or(usize::MAX, usize::from);
        let mut room = if total > width {
            width.saturating_sub(1)
        } else {
            width
        };
        let mut line = String::new();
        for (text, tone) in &self.pieces {
            let part: String = text.chars().take(room).collect();
            room -= part.chars().count();
            line.push_str(&terminal.paint(*tone, &part));
        }
        if total > width {
            line.push('…');
        }
        line.push('\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vms() -> Table {
        let mut table = Table::new([
            Column::new("VM"),
            Column::new("STATUS"),
            Column::new("UP").right().rank(1),
            Column::new("ZONE").rank(2),
            Column::new("SHOW").optional(),
            Column::new("REASON").flexible().optional(),
        ]);
        table.row([
            Cell::new("vm-0a1b2c3d"),
            Cell::look(style::of_status("available"), "available"),
            Cell::new("2 h 13 min"),
            Cell::new("us-east-1a"),
        ]);
        table.row([
            Cell::new("vm-2"),
            Cell::new("odd"),
            Cell::new("4 s"),
            Cell::new("us-east-1b"),
            Cell::empty(),
            Cell::new("the studio does not answer since 18:03:12"),
        ]);
        table
    }

    fn at(width: u16) -> String {
        let terminal = Terminal {
            width: Some(width),
            ..Terminal::plain()
        };
        vms().render(&terminal)
    }

    #[test]
    fn columns_line_up_and_empty_ones_are_left_out() {
        let expected = "\
VM           STATUS               UP  ZONE        REASON
───────────────────────────────────────────────────────────────────────────────────────────
vm-0a1b2c3d  ● available  2 h 13 min  us-east-1a
vm-2         odd                 4 s  us-east-1b  the studio does not answer since 18:03:12
";
        assert_eq!(vms().render(&Terminal::plain()), expected);
    }

    #[test]
    fn what_matters_least_goes_first_and_what_remains_is_cut() {
        let narrower = at(80);
        assert!(narrower.contains("UP") && narrower.contains('…'), "{narrower}");
        let narrow = at(65);
        assert!(!narrow.contains("UP") && narrow.contains("ZONE"), "{narrow}");
        let tiny = at(50);
        assert!(!tiny.contains("ZONE") && tiny.contains("vm-0a1b2c3d"), "{tiny}");
        for (width, text) in [(80, narrower), (65, narrow), (50, tiny)] {
            assert!(
                text.lines().all(|line| line.chars().count() <= width),
                "{width}:\n{text}"
            );
            assert_eq!(text.lines().count(), 4, "{text}");
        }
    }

    #[test]
    fn colours_do_not_move_anything() {
        let terminal = Terminal {
            color: true,
            ..Terminal::plain()
        };
        crossterm::style::force_color_output(true);
        let painted = vms().render(&terminal);
        assert!(painted.contains("\u{1b}["), "{painted}");
        let mut plain = String::new();
        let mut rest = painted.as_str();
        while let Some((before, after)) = rest.split_once('\u{1b}') {
            plain.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        plain.push_str(rest);
        assert_eq!(plain, vms().render(&Terminal::plain()));
    }

    #[test]
    fn a_line_is_cut_at_the_width_without_its_colours_counting() {
        let line = Line::new()
            .push(Tone::Good, "twelve chars")
            .push(Tone::Plain, " and more");
        let terminal = |width, color| Terminal {
            width,
            color,
            ..Terminal::plain()
        };
        assert_eq!(line.render(&terminal(None, false)), "twelve chars and more\n");
        assert_eq!(line.render(&terminal(Some(21), false)), "twelve chars and more\n");
        assert_eq!(line.render(&terminal(Some(20), false)), "twelve chars and mo…\n");
        let painted = line.render(&terminal(Some(9), true));
        assert_eq!(painted, "\u{1b}[32mtwelve c\u{1b}[0m…\n");
    }
}
