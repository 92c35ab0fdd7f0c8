//! Patterns of names.

/// A name in which `*` matches any text, including slashes and nothing. ASCII letters match in either case:
/// otherwise a provider that takes `GPT-4o` for `gpt-4o` would be a way around a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Box<str>);

impl Pattern {
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a name matches. Linear in the name for each star.
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut at, mut place) = (0, 0);
        // The position of the last star, and the length of the name that it matches so far.
        let mut star: Option<(usize, usize)> = None;
        while place < name.len() {
            if pattern.get(at) == Some(&b'*') {
                star = Some((at, place));
                at += 1;
            } else if pattern.get(at).is_some_and(|byte| byte.eq_ignore_ascii_case(&name[place])) {
                at += 1;
                place += 1;
            } else if let Some((star_at, taken)) = star {
                star = Some((star_at, taken + 1));
                at = star_at + 1;
                place = taken + 1;
            } else {
                return false;
            }
        }
        pattern[at..].iter().all(|byte| *byte == b'*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_match_any_text() {
        for (pattern, name) in [
            ("*", ""),
            ("*", "openai/gpt-4o"),
            ("openai/*", "openai/gpt-4o"),
            ("claude-*", "claude-3-5-sonnet"),
            ("*/gpt-4o*", "azure/gpt-4o-mini"),
            ("a*b*c", "axxbxbxc"),
            ("GPT-4o", "gpt-4O"),
            ("a**", "a"),
        ] {
            assert!(Pattern::new(pattern).matches(name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("", "a"),
            ("openai/*", "azure/openai/x"),
            ("claude-*", "claude"),
            ("a*b*c", "axxbxbx"),
            ("gpt-4o", "gpt-4o-mini"),
            ("*b", "ba"),
        ] {
            assert!(!Pattern::new(pattern).matches(name), "{pattern} {name}");
        }
    }
}
