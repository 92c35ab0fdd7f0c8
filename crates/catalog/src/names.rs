//! Names that are nearly right: typing mistakes, and other spellings of known models.

/// The longest name that is compared with others, in bytes. The time of a comparison grows with the length,
/// and callers choose it. Ids of models are far shorter.
const LONGEST: usize = 128;

/// The candidates that are most similar to `name`, best first: at most `most`, and none that differs too
/// much.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>, most: usize) -> Vec<&'a str> {
    if name.len() > LONGEST {
        return Vec::new();
    }
    let wanted = name.to_lowercase();
    let allowed = (wanted.chars().count() / 3).max(2);
    let mut found: Vec<(usize, &str)> = candidates
        .into_iter()
        .filter_map(|candidate| Some((distance(&wanted, &candidate.to_lowercase(), allowed)?, candidate)))
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(most).map(|(_, candidate)| candidate).collect()
}

/// The distance of two names: edits, or nearly zero where one begins with the other. None beyond `allowed`.
fn distance(wanted: &str, candidate: &str, allowed: usize) -> Option<usize> {
    let edits = edit_distance(wanted, candidate);
    let shorter = wanted.len().min(candidate.len());
    let begins = shorter >= 3 && (candidate.starts_with(wanted) || wanted.starts_with(candidate));
    let distance = if begins { edits.min(2) } else { edits };
    (distance <= allowed).then_some(distance)
}

/// Levenshtein's distance; ids are short, so the plain table is fast enough.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, left) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, right) in right.iter().enumerate() {
            let replace = diagonal + usize::from(left != *right);
            diagonal = row[column + 1];
            row[column + 1] = replace.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

/// A model id without vendor prefix, region, date, version and `-latest`. Two ids with the same stem are the
/// same model or close relatives.
pub fn stem(id: &str) -> String {
    let lower = id.to_lowercase();
    let name = lower.rsplit('/').next().unwrap_or(&lower);
    let name = without_dotted_prefixes(name);
    let (name, versioned) = match name.split_once([':', '@']) {
        Some((name, version)) => (name, version.bytes().all(|byte| byte.is_ascii_digit())),
        None => (name, false),
    };
    let mut words: Vec<&str> = name.split(['-', '.', '_']).filter(|word| !word.is_empty()).collect();
    if versioned && words.len() > 1 && is_small_version(words[words.len() - 1]) {
        words.pop();
    }
    while let Some(cut) = suffix_words(&words) {
        words.truncate(words.len() - cut);
    }
    words.join("-")
}

/// `us.anthropic.claude-…` → `claude-…`. A dot after a digit belongs to the name: `gpt-4.1`.
fn without_dotted_prefixes(mut name: &str) -> &str {
    while let Some((prefix, rest)) = name.split_once('.') {
        if rest.is_empty() || prefix.bytes().any(|byte| byte.is_ascii_digit()) {
            break;
        }
        name = rest;
    }
    name
}

/// `v1` in `…-v1:0`.
fn is_small_version(word: &str) -> bool {
    word.strip_prefix('v').is_some_and(|digits| digits.len() == 1 && digits.as_bytes()[0].is_ascii_digit())
}

/// The number of words at the end that are a date, a build number or a word such as `latest`; none when the
/// last word is part of the name or the only one.
fn suffix_words(words: &[&str]) -> Option<usize> {
    let digits = |back: usize| {
        let word = words.len().checked_sub(back + 1).and_then(|index| words.get(index))?;
        word.bytes().all(|byte| byte.is_ascii_digit()).then_some(word.len())
    };
    let last = words.last()?;
    let cut = match (digits(2), digits(1), digits(0)) {
        (Some(4), Some(2), Some(2)) => 3,
        (_, Some(2), Some(2 | 4)) => 2,
        (_, _, Some(3 | 4 | 6 | 8)) => 1,
        _ if matches!(*last, "latest" | "preview" | "exp" | "experimental" | "beta" | "maas") => 1,
        _ => return None,
    };
    (cut < words.len()).then_some(cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stem_of_an_id_has_no_prefix_date_or_version() {
        let cases = [
            ("gpt-4o", "gpt-4o"),
            ("gpt-4o-2024-08-06", "gpt-4o"),
            ("gpt-4-0613", "gpt-4"),
            ("gpt-4.1", "gpt-4-1"),
            ("openai/gpt-4.1-mini-2025-04-14", "gpt-4-1-mini"),
            ("o1-2024-12-17", "o1"),
            ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
            ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
            ("anthropic/claude-3.5-sonnet", "claude-3-5-sonnet"),
            ("claude-3-5-sonnet-latest", "claude-3-5-sonnet"),
            ("models/gemini-2.0-flash-001", "gemini-2-0-flash"),
            ("gemini-2.5-flash-preview-05-20", "gemini-2-5-flash"),
            ("command-a-03-2025", "command-a"),
            ("grok-4-0709", "grok-4"),
            ("meta-llama/Llama-3.3-70B-Instruct", "llama-3-3-70b-instruct"),
            ("amazon.nova-pro-v1:0", "nova-pro"),
            ("deepseek-v3", "deepseek-v3"),
            ("deepseek/deepseek-chat:free", "deepseek-chat"),
            ("2024", "2024"),
            ("", ""),
        ];
        for (id, expected) in cases {
            assert_eq!(stem(id), expected, "{id}");
        }
    }

    #[test]
    fn names_with_typing_mistakes_are_found() {
        let names = ["gpt-4o", "gpt-4o-mini", "claude-sonnet-4-5", "gemini-2.5-flash"];
        assert_eq!(nearest("gpt4o", names, 1), ["gpt-4o"]);
        assert_eq!(nearest("claude-sonet-4-5", names, 3), ["claude-sonnet-4-5"]);
        assert_eq!(nearest("GPT-4o", names, 1), ["gpt-4o"]);
        assert_eq!(nearest("completely-else", names, 3), [""; 0]);
        let long = "gpt-4o".repeat(100_000);
        assert_eq!(nearest(&long, [long.as_str()], 3), [""; 0], "a long name is compared with nothing");
    }
}
