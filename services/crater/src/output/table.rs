//! Aligned columns. The last one is as long as it is.

use std::fmt::Write;

/// A table that is being built.
#[derive(Debug)]
pub struct Table {
    headers: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    widths: Vec<usize>,
    colours: bool,
}

impl Table {
    /// An empty table.
    pub fn new(headers: &[&'static str], colours: bool) -> Self {
        let widths = headers.iter().map(|h| h.len()).collect();
        Self { headers: headers.to_vec(), rows: Vec::new(), widths, colours }
    }

    /// Adds a row; an empty cell is shown as `-`.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> =
            cells.into_iter().map(|c| if c.is_empty() { "-".to_owned() } else { plain(&c) }).collect();
        for (width, cell) in self.widths.iter_mut().zip(&cells) {
            *width = (*width).max(cell.chars().count());
        }
        self.rows.push(cells);
    }

    /// The header and all rows.
    pub fn render(&self) -> String {
        let mut out = self.line(self.headers.iter().copied(), false);
        out.push_str(&self.render_rows());
        out
    }

    /// All rows.
    pub fn render_rows(&self) -> String {
        self.rows.iter().map(|row| self.line(row.iter().map(String::as_str), self.colours)).collect()
    }

    /// Forgets the rows and keeps the widths, for rows that follow.
    pub fn clear(&mut self) {
        self.rows.clear();
    }

    fn line<'a>(&self, cells: impl ExactSizeIterator<Item = &'a str>, colours: bool) -> String {
        let last = cells.len().saturating_sub(1);
        let mut line = String::new();
        for (i, cell) in cells.enumerate() {
            let width = self.widths.get(i).copied().unwrap_or_default();
            let pad = if i == last { 0 } else { width.saturating_sub(cell.chars().count()) + 2 };
            match colour(cell).filter(|_| colours) {
                Some(code) => write!(line, "\x1b[{code}m{cell}\x1b[0m{:pad$}", ""),
                None => write!(line, "{cell}{:pad$}", ""),
            }
            // writing to a String cannot fail
            .unwrap_or_default();
        }
        line.push('\n');
        line
    }
}

/// Without what would break the table, or steer the terminal.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn colour(cell: &str) -> Option<&'static str> {
    match cell {
        "Running" | "Succeeded" | "Ready" => Some("32"),
        "Queued" | "Starting" | "Suspended" => Some("33"),
        "Failed" | "NotReady" => Some("31"),
        "Cancelled" => Some("90"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(colours: bool) -> Table {
        let mut table = Table::new(&["NAME", "STATE", "REASON"], colours);
        table.row(["a-long-name".into(), "Queued".into(), "NotEnoughGpus".into()]);
        table.row(["b".into(), "Running".into(), String::new()]);
        table
    }

    #[test]
    fn columns_are_aligned_and_lines_have_no_blanks_at_the_end() {
        let text = table(false).render();
        assert_eq!(
            text,
            "NAME         STATE    REASON\n\
             a-long-name  Queued   NotEnoughGpus\n\
             b            Running  -\n"
        );
    }

    #[test]
    fn colours_do_not_move_columns() {
        let text = table(true).render();
        assert!(text.contains("\x1b[33mQueued\x1b[0m   NotEnoughGpus"), "{text:?}");
        let mut bare = text;
        for code in ["\x1b[33m", "\x1b[32m", "\x1b[0m"] {
            bare = bare.replace(code, "");
        }
        assert_eq!(bare, table(false).render());
    }

    #[test]
    fn a_cell_cannot_steer_the_terminal() {
        let mut table = Table::new(&["A"], false);
        table.row(["x\x1b[31m\ny".into()]);
        assert_eq!(table.render(), "A\nx [31m y\n");
    }
}
