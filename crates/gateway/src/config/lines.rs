//! The line of a setting in its file, for error messages.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub struct Lines<'a> {
    text: &'a str,
    table: Option<Spanned<DeTable<'a>>>,
}

impl<'a> Lines<'a> {
    /// The lines of this text. Text that is not TOML has none.
    pub fn of(text: &'a str) -> Self {
        Self { text, table: DeTable::parse(text).ok() }
    }

    /// The line of a path such as `providers.openai.api_keys[1]`, or of the nearest section around it. None
    /// when the file contains neither.
    pub fn of_path(&self, path: &str) -> Option<usize> {
        let at = offset(self.table.as_ref()?.get_ref(), path)?;
        Some(line_of(self.text, at))
    }
}

/// The line in which a byte of a text is.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// The offset of the last existing part of the path. A key may contain dots, so keys are tried as a whole.
fn offset(table: &DeTable<'_>, path: &str) -> Option<usize> {
    let entries = table.iter().filter_map(|(key, value)| {
        let rest = path.strip_prefix(key.get_ref().as_ref())?;
        let is_whole = rest.is_empty() || rest.starts_with(['.', '[']);
        is_whole.then_some((key, value, rest))
    });
    let (key, value, rest) = entries.max_by_key(|(key, ..)| key.get_ref().len())?;
    Some(within(value.get_ref(), rest).unwrap_or(key.span().start))
}

fn within(value: &DeValue<'_>, rest: &str) -> Option<usize> {
    if let Some(path) = rest.strip_prefix('.') {
        return offset(value.as_table()?, path);
    }
    let (index, rest) = rest.strip_prefix('[')?.split_once(']')?;
    let item = value.as_array()?.get(index.parse::<usize>().ok()?)?;
    Some(within(item.get_ref(), rest).unwrap_or(item.span().start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_map_to_their_lines() {
        let text = "[server]\nlisten = \"x\"\n\n[models.\"gpt-4.1\"]\npick = \"order\"\ntargets = [\n  \"a/b\",\n  \"c/d\",\n]\n\n\
                    [providers]\nopenai = { api_key = \"k\" }\n";
        let lines = Lines::of(text);
        let cases = [
            ("server.listen", Some(2)),
            ("server", Some(1)),
            ("server.body_limit", Some(1)),
            ("models.gpt-4.1.pick", Some(5)),
            ("models.gpt-4.1.targets", Some(6)),
            ("models.gpt-4.1.targets[1]", Some(8)),
            ("models.gpt-4.1.weights", Some(4)),
            ("providers.openai.api_key", Some(12)),
            ("database.url", None),
        ];
        for (path, line) in cases {
            assert_eq!(lines.of_path(path), line, "{path}");
        }
        assert_eq!(Lines::of("no = = toml").of_path("no"), None);
    }
}
