//! Columns of text.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr};

/// Between two columns.
const GAP: &str = "  ";

/// How many places a text takes on a terminal, escape sequences not counted.
pub(crate) fn width(text: &str) -> usize {
    anstream::adapter::strip_str(text).map(UnicodeWidthStr::width).sum()
}

/// The beginning of a text that fits into so many places; `…` says that there was more. Escape sequences are kept, and
/// colours end where the text does.
pub(crate) fn cut(text: &str, places: usize) -> String {
    if width(text) <= places {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut left = places.saturating_sub(1);
    let mut rest = text;
    let mut coloured = false;
    while let Some(c) = rest.chars().next() {
        if c == '\x1b' {
            let end = rest.find('m').map_or(rest.len(), |end| end + 1);
            out.push_str(&rest[..end]);
            rest = &rest[end..];
            coloured = true;
            continue;
        }
        let wide = c.width().unwrap_or(0);
        if wide > left {
            break;
        }
        left -= wide;
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    if places > 0 {
        out.push('…');
    }
    if coloured {
        out.push_str("\x1b[0m");
    }
    out
}

/// Rows of cells, each column as wide as its widest cell.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    right: Vec<usize>,
}

impl Table {
    /// A table with a heading.
    pub(crate) fn new(heading: &[&str]) -> Self {
        let dim = owo_colors::Style::new().dimmed();
        let heading = heading.iter().map(|title| super::paint(title, dim)).collect();
        Self { rows: vec![heading], right: Vec::new() }
    }

    /// A table without a heading.
    pub(crate) fn plain() -> Self {
        Self::default()
    }

    /// These columns, counted from 0, hold numbers.
    pub(crate) fn right(mut self, columns: &[usize]) -> Self {
        self.right = columns.to_vec();
        self
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The lines, each begun with `indent` and cut at `limit` places.
    pub(crate) fn render(&self, indent: &str, limit: Option<usize>) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| width(cell)).max().unwrap_or(0))
            .collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = indent.to_owned();
            for (column, cell) in row.iter().enumerate() {
                let pad = " ".repeat(widths.get(column).copied().unwrap_or(0).saturating_sub(width(cell)));
                if column > 0 {
                    line.push_str(GAP);
                }
                if self.right.contains(&column) {
                    line.push_str(&pad);
                    line.push_str(cell);
                } else {
                    line.push_str(cell);
                    line.push_str(&pad);
                }
            }
            let line = line.trim_end();
            out.push_str(&limit.map_or_else(|| line.to_owned(), |limit| cut(line, limit)));
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_is_seen() {
        let mut table = Table::new(&["NAME", "N"]).right(&[1]);
        table.row(["🚀 go".to_owned(), "1".to_owned()]);
        table.row([super::super::paint("plain", owo_colors::Style::new().red()), "100".to_owned()]);
        let plain = anstream::adapter::strip_str(&table.render("  ", None)).to_string();
        assert_eq!(plain, "  NAME     N\n  🚀 go    1\n  plain  100\n");
    }

    #[test]
    fn what_is_cut_fits_and_says_so() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
        assert_eq!(cut("🚀🚀", 3), "🚀…");
        assert_eq!(cut("\x1b[31mabcd\x1b[0m", 3), "\x1b[31mab…\x1b[0m");
        assert_eq!(cut("abc", 0), "");
    }
}
