//! Tables in Markdown, which read well as plain text too.

/// The median of some numbers.
pub fn median(numbers: &[f64]) -> Option<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// A number with its significant digits, or a dash.
pub fn shown(number: Option<f64>) -> String {
    match number {
        None => "–".to_owned(),
        Some(number) if number >= 100.0 => format!("{number:.0}"),
        Some(number) if number >= 10.0 => format!("{number:.1}"),
        Some(number) => format!("{number:.2}"),
    }
}

/// Rows below a heading. The first column is text, the others are numbers.
pub fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let width = |at: usize| {
        let cells = rows.iter().map(|row| row[at].chars().count());
        cells.chain([heading[at].chars().count(), 3]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let line = |cells: &[String]| {
        let mut line = format!("| {:<1$}", cells[0], widths[0]);
        for (cell, width) in cells.iter().zip(&widths).skip(1) {
            let room = width - cell.chars().count();
            line.push_str(&format!(" | {}{cell}", " ".repeat(room)));
        }
        line + " |\n"
    };
    let mut text = line(&heading.iter().map(|&cell| cell.to_owned()).collect::<Vec<_>>());
    let rules: Vec<String> = widths.iter().map(|width| format!("{}:", "-".repeat(width - 1))).collect();
    text.push_str(&line(&[&["-".repeat(widths[0])], &rules[1..]].concat()));
    for row in rows {
        text.push_str(&line(row));
    }
    text
}

#[derive(Default)]
pub struct Report {
    text: String,
}

impl Report {
    /// A section with a table.
    pub fn section(&mut self, title: &str, heading: &[&str], rows: &[Vec<String>]) {
        if !rows.is_empty() {
            self.text.push_str(&format!("## {title}\n\n{}\n", table(heading, rows)));
        }
    }

    /// Remarks beside the numbers.
    pub fn notes(&mut self, notes: &[String]) {
        for note in notes {
            self.text.push_str(&format!("Note: {note}\n"));
        }
    }

    pub fn into_text(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_aligned_in_columns() {
        let rows = [vec!["a".to_owned(), shown(Some(1.234))], vec!["long".to_owned(), shown(None)]];
        let expected = "| work | nginx |\n| ---- | ----: |\n| a    |  1.23 |\n| long |     – |\n";
        assert_eq!(table(&["work", "nginx"], &rows), expected);
    }

    #[test]
    fn the_median_is_the_middle_number() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
