//! Parameters of SQL that is put together.

use crate::sums::UsageSums;

#[derive(Clone, Debug)]
pub(crate) enum Param {
    Number(i64),
    Text(String),
    MaybeText(Option<String>),
}

/// The parameters of a statement so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params(pub(crate) Vec<Param>);

impl Params {
    /// Adds one; returns its name in the statement. PostgreSQL has no text with NUL: records that have one are written with a
    /// replacement character in its place.
    pub(crate) fn text(&mut self, text: String) -> String {
        self.0.push(Param::Text(if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }));
        format!("${}", self.0.len())
    }

    /// Adds the columns of sums.
    pub(crate) fn sums(&mut self, sums: &UsageSums) {
        self.0.extend(sums.0.iter().map(|sum| Param::Number(*sum)));
    }

    /// Adds one; returns its name in the statement.
    pub(crate) fn number(&mut self, number: i64) -> String {
        self.0.push(Param::Number(number));
        format!("${}", self.0.len())
    }
}

/// Binds the parameters to a query of either database.
macro_rules! bound {
    ($query:expr, $params:expr) => {{
        let mut query = $query;
        for param in &$params.0 {
            query = match param {
                $crate::params::Param::Number(number) => query.bind(*number),
                $crate::params::Param::Text(text) => query.bind(text.as_str()),
                $crate::params::Param::MaybeText(text) => query.bind(text.as_deref()),
            };
        }
        query
    }};
}
pub(crate) use bound;
