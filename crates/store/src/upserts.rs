//! Statements that add rows to the tables of sums.

use crate::params::Params;
use crate::sums::sum_columns;

pub(crate) type Statement = (&'static str, Params);

/// How many rows one statement writes at most; a power of two, so that few are ever prepared.
pub(crate) const MOST_ROWS: usize = 16;

/// A statement that adds so many rows to a table of sums.
pub(crate) fn upsert(table: &str, keys: &[&'static str], rows: usize) -> String {
    let columns: Vec<&str> = keys.iter().copied().chain(sum_columns()).collect();
    let mut next = 0;
    let mut row = || {
        let names: Vec<String> = (next + 1..=next + columns.len()).map(|it| format!("${it}")).collect();
        next += columns.len();
        format!("({})", names.join(", "))
    };
    let values: Vec<String> = (0..rows).map(|_| row()).collect();
    let sums: Vec<String> =
        sum_columns().map(|column| format!("{column} = {table}.{column} + excluded.{column}")).collect();
    format!(
        "INSERT INTO {table} ({}) VALUES {} ON CONFLICT ({}) DO UPDATE SET {}",
        columns.join(", "),
        values.join(", "),
        keys.join(", "),
        sums.join(", ")
    )
}

/// Adds statements that write these rows: the N-th of `sizes` writes 2ᴺ of them.
pub(crate) fn push_statements<R>(
    sizes: &'static [String],
    mut rows: &[R],
    statements: &mut Vec<Statement>,
    push_row: impl Fn(&R, &mut Params),
) {
    while !rows.is_empty() {
        let power = rows.len().min(MOST_ROWS).ilog2();
        let (some, others) = rows.split_at(1 << power);
        rows = others;
        let mut params = Params::default();
        some.iter().for_each(|row| push_row(row, &mut params));
        statements.push((sizes[power as usize].as_str(), params));
    }
}
