//! Sets rows in columns. Long cells are cut so that a row fits into a line.

use std::fmt::Write;

/// The cells of a row.
pub(super) type Row = Vec<String>;

/// Stands for the part of a cell that is cut.
const CUT: char = '…';
/// Two spaces separate columns.
const GAP: usize = 2;
/// A column is not made narrower than this.
const FLOOR: usize = 16;
/// The columns of sentences, which are cut at their end. Names are cut in the middle, because names
/// of one kind often differ only at the end.
const SENTENCES: &[&str] = &["MESSAGE", "REASON OR PROBLEM", "WHY", "NEXT"];

/// Formats rows with each column as wide as its widest cell, or narrower if a line would have more
/// than `width` characters. Without rows the table is empty.
pub(super) fn table(columns: &[&str], rows: &[Row], width: Option<usize>) -> String {
    let header: Row = columns.iter().map(|&column| column.to_owned()).collect();
    let lines: Vec<&Row> = (!columns.is_empty() && !rows.is_empty())
        .then_some(&header)
        .into_iter()
        .chain(rows)
        .collect();

    let mut widths: Vec<usize> = Vec::new();
    for line in &lines {
        widths.resize(widths.len().max(line.len()), 0);
        for (column, cell) in line.iter().enumerate() {
            widths[column] = widths[column].max(cell.chars().count());
        }
    }
    // Rows without a header are not lists.
    if let Some(width) = width.filter(|_| !columns.is_empty()) {
        narrow(&mut widths, width);
    }

    let mut out = String::new();
    for line in &lines {
        let mut text = String::new();
        for (column, cell) in line.iter().enumerate() {
            let is_sentence = columns
                .get(column)
                .is_some_and(|column| SENTENCES.contains(column));
            let cell = cut(cell, widths[column], is_sentence);
            // Writing into a string cannot fail.
            let _ = write!(text, "{cell:<width$}  ", width = widths[column]);
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }

    out
}

/// Returns a row for each report.
pub(super) fn rows_of<T>(reports: &[T], row: fn(&T) -> Row) -> Vec<Row> {
    reports.iter().map(row).collect()
}

/// Appends a table with a title, unless it is empty.
pub(super) fn section(
    out: &mut String,
    title: &str,
    columns: &[&str],
    rows: &[Row],
    width: Option<usize>,
) {
    if !rows.is_empty() {
        // Writing into a string cannot fail.
        let _ = write!(out, "\n{title}\n{}", table(columns, rows, width));
    }
}

/// Makes the widest columns narrower until all fit into a line.
fn narrow(widths: &mut [usize], line: usize) {
    let gaps = GAP * widths.len().saturating_sub(1);
    let mut excess = (widths.iter().sum::<usize>() + gaps).saturating_sub(line);

    while excess > 0 {
        let Some(widest) = widths.iter_mut().max().filter(|widest| **widest > FLOOR) else {
            return;
        };
        *widest -= 1;
        excess -= 1;
    }
}

/// Cuts a cell to a number of characters: a sentence at its end, a name in the middle.
fn cut(cell: &str, width: usize, is_sentence: bool) -> String {
    let length = cell.chars().count();
    if length <= width || width == 0 {
        return cell.to_owned();
    }

    let kept = width - 1;
    let end = if is_sentence { 0 } else { kept / 2 };
    let begin: String = cell.chars().take(kept - end).collect();
    let mut short = begin.trim_end().to_owned();
    short.push(CUT);
    short.extend(cell.chars().skip(length - end));
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[&str] = &["NAME", "STATE", "REASON OR PROBLEM"];

    fn rows() -> Vec<Row> {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        vec![
            row([
                "production/shop-with-a-very-long-name-eu-tls",
                "blocked",
                "the CA said: everything is wrong with this certificate, and much more than that",
            ]),
            row(["default/ü", "valid", ""]),
        ]
    }

    #[test]
    fn long_names_are_cut_in_the_middle_and_reasons_at_the_end() {
        let cut = table(COLUMNS, &rows(), Some(80));
        assert_eq!(
            cut,
            "NAME                                 STATE    REASON OR PROBLEM\n\
             production/shop-w…-long-name-eu-tls  blocked  the CA said: everything is wrong…\n\
             default/ü                            valid\n"
        );
    }

    #[test]
    fn a_wide_table_cuts_nothing() {
        let wide = table(COLUMNS, &rows(), None);
        assert!(wide.contains("eu-tls  blocked") && wide.contains("much more than that\n"));
        assert!(!wide.contains(CUT));
        assert_eq!(table(COLUMNS, &rows(), Some(500)), wide);
        assert_eq!(table(COLUMNS, &[], Some(80)), "");
    }

    #[test]
    fn a_narrow_terminal_keeps_short_cells() {
        let cut = table(COLUMNS, &rows(), Some(10));
        assert!(
            cut.contains("producti…-eu-tls  blocked  the CA said: ev…\n"),
            "{cut}"
        );
    }
}
