//! Plain tables: a heading, columns two spaces apart, no lines.

use unicode_width::UnicodeWidthStr;

use super::Style;

/// Rows of cells; a cell may carry a style that does not count for its width.
#[derive(Debug)]
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

/// How a cell is painted.
type Paint = fn(Style, &str) -> String;

#[derive(Debug)]
struct Cell {
    text: String,
    paint: Option<Paint>,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new() }
    }

    /// Adds a row. Cells are shown as given: pass others' text through `visible` first.
    pub(crate) fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) -> &mut Self {
        self.rows.push(cells.into_iter().map(|cell| Cell { text: cell.into(), paint: None }).collect());
        self
    }

    /// Paints a cell of the last row.
    pub(crate) fn paint(&mut self, column: usize, paint: Paint) -> &mut Self {
        if let Some(cell) = self.rows.last_mut().and_then(|row| row.get_mut(column)) {
            cell.paint = Some(paint);
        }
        self
    }

    /// The table as lines; nothing but the heading when it has no rows.
    pub(crate) fn render(&self, style: Style) -> String {
        let mut widths: Vec<usize> = self.headings.iter().map(|h| h.width()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.width());
            }
        }
        let mut out = String::new();
        let headings = self.headings.iter().map(|h| (h.to_string(), style.dim(h)));
        push_line(&mut out, &widths, headings);
        for row in &self.rows {
            let cells = row.iter().map(|cell| {
                let painted = cell.paint.map_or_else(|| cell.text.clone(), |paint| paint(style, &cell.text));
                (cell.text.clone(), painted)
            });
            push_line(&mut out, &widths, cells);
        }
        out
    }
}

/// Appends one line; the last cell is not padded, so that no line ends in spaces.
fn push_line(out: &mut String, widths: &[usize], cells: impl Iterator<Item = (String, String)>) {
    let mut gap = 0;
    for (width, (plain, painted)) in widths.iter().zip(cells) {
        if !plain.is_empty() {
            out.extend(std::iter::repeat_n(' ', gap));
            out.push_str(&painted);
            gap = 0;
        }
        gap = gap.saturating_add(width.saturating_sub(plain.width())).saturating_add(2);
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::{Style, Table};

    #[test]
    fn columns_line_up_and_lines_do_not_end_in_spaces() {
        let mut table = Table::new(&["NAME", "STATE", "NOTE"]);
        table.row(["build-hsm", "locked", ""]).row(["漢字", "unlocked", "for 1 h"]);
        assert_eq!(
            table.render(Style::new(false)),
            "NAME       STATE     NOTE\n\
             build-hsm  locked\n\
             漢字       unlocked  for 1 h\n"
        );
    }

    #[test]
    fn colour_does_not_move_columns() {
        let mut table = Table::new(&["A", "B"]);
        table.row(["x", "y"]).paint(0, |style, text| style.green(text));
        assert_eq!(table.render(Style::new(true)), "\x1b[2mA\x1b[0m  \x1b[2mB\x1b[0m\n\x1b[32mx\x1b[0m  y\n");
    }
}
