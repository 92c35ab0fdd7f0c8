//! A compiled rule of `[guardrails.NAME]`: what it searches for, and its action.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use aho_corasick::{AhoCorasick, MatchKind};
use canon::Secret;
use http::Uri;
use regex::{Regex, RegexBuilder};

use super::file::{CheckForm, GuardrailAction, GuardrailSection, Mistake, OnError, Side};

/// Most rules: their names are labels of metrics.
pub const MOST_GUARDRAILS: usize = 64;
const MOST_PATTERNS: usize = 100;
const MOST_WORDS: usize = 10_000;
const LONGEST_WORD: usize = 256;
/// Maximum length of a match of an output pattern: this much of a stream is held back.
const LONGEST_OUTPUT_MATCH: usize = 4096;
/// Maximum size of a compiled pattern. The search time is linear in the text for every pattern.
const PATTERN_BYTES: usize = 4 << 20;
/// Maximum size of the characters around a match that decide whether it is one.
const NEIGHBOURS: usize = 8;

#[derive(Debug)]
pub struct Guardrail {
    /// Its name in policies, errors, records and metrics.
    pub name: Arc<str>,
    /// It checks callers' requests.
    pub on_input: bool,
    /// It checks answers.
    pub on_output: bool,
    pub does: RuleAction,
}

/// The action of a rule.
#[derive(Debug)]
pub enum RuleAction {
    /// Refuses a text with a match.
    Deny(Matcher),
    /// Replaces each match by a placeholder.
    Redact {
        /// The text to replace.
        matcher: Matcher,
        /// The name of its placeholders: `EMAIL` for `[EMAIL_1]`.
        placeholder: String,
    },
    /// Asks another server.
    Ask(Check),
}

/// The server that is asked about a text.
#[derive(Debug)]
pub struct Check {
    pub url: Uri,
    pub form: CheckForm,
    /// Sent as a bearer token, if not empty.
    pub key: Secret,
    /// The model to name, for OpenAI's form.
    pub model: Option<String>,
    /// The deadline for its answer.
    pub timeout: Duration,
    /// The treatment of a text when the server does not answer.
    pub on_error: OnError,
}

#[derive(Debug, Default)]
pub struct Matcher {
    /// Each finds its own kind of match.
    pub finders: Vec<Finder>,
    /// With this many bytes it is certain whether a match begins at the first: the longest match with its
    /// surrounding characters.
    pub window: usize,
}

#[derive(Debug)]
pub enum Finder {
    /// With a regular expression.
    Pattern(Regex),
    Words {
        /// Finds all of them, also within other words.
        words: AhoCorasick,
        /// The longest, in bytes.
        longest: usize,
    },
}

impl Finder {
    /// The first match at or after `from`. The text before `from` decides whether a word begins there.
    pub fn find_at(&self, text: &str, from: usize) -> Option<Range<usize>> {
        match self {
            Self::Pattern(regex) => regex.find_at(text, from).map(|found| found.range()),
            Self::Words { words, longest } => {
                let mut best: Option<Range<usize>> = None;
                for found in words.find_overlapping_iter(&text[from..]) {
                    let range = found.start() + from..found.end() + from;
                    if best.as_ref().is_some_and(|best| range.end > best.start + longest) {
                        break;
                    }
                    let is_better = best.as_ref().is_none_or(|best| {
                        range.start < best.start || range.start == best.start && range.end > best.end
                    });
                    if is_better && is_whole_word(text, &range) {
                        best = Some(range);
                    }
                }
                best
            }
        }
    }
}

/// Whether a match is not part of a longer word. Scripts without spaces between words have no such parts.
fn is_whole_word(text: &str, range: &Range<usize>) -> bool {
    let joins = |inner: Option<char>, outer: Option<char>| {
        let is_spaced = |letter: char| letter.is_alphanumeric() && letter < '\u{2e80}';
        inner.is_some_and(is_spaced) && outer.is_some_and(is_spaced)
    };
    let word = &text[range.clone()];
    !joins(word.chars().next(), text[..range.start].chars().next_back())
        && !joins(word.chars().next_back(), text[range.end..].chars().next())
}

impl Guardrail {
    /// The rule of a section. `resolve` reads references (`env:NAME`). Mistakes have their places within the
    /// section.
    pub fn new(
        name: &str,
        section: &GuardrailSection,
        mut resolve: impl FnMut(&str, &str) -> String,
        mistakes: &mut Vec<Mistake>,
    ) -> Option<Self> {
        let before = mistakes.len();
        let mut reading = GuardrailParser { section, mistakes };
        if !is_name(name) {
            reading.mistake(
                "",
                "the name of a guardrail has 1 to 32 lower-case letters, digits, hyphens and underscores",
            );
        }
        let on = |side| section.on.contains(&side);
        if section.on.is_empty() {
            reading.mistake("on", "must contain \"input\" or \"output\"");
        }
        let does = match section.action {
            GuardrailAction::Deny => reading.matcher().map(RuleAction::Deny),
            GuardrailAction::Redact => {
                let placeholder = reading.placeholder(name);
                reading.matcher().map(|matcher| RuleAction::Redact { matcher, placeholder })
            }
            GuardrailAction::Check => reading.check(&mut resolve).map(RuleAction::Ask),
        };
        let name = name.into();
        let is_good = mistakes.len() == before;
        does.filter(|_| is_good).map(|does| Self {
            name,
            on_input: on(Side::Input),
            on_output: on(Side::Output),
            does,
        })
    }
}

fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    (1..=32).contains(&name.len()) && name.bytes().all(is_plain)
}

struct GuardrailParser<'a> {
    section: &'a GuardrailSection,
    mistakes: &'a mut Vec<Mistake>,
}

impl GuardrailParser<'_> {
    fn mistake(&mut self, path: &str, message: impl Into<String>) {
        self.mistakes.push(Mistake { path: path.to_owned(), message: message.into() });
    }

    fn placeholder(&mut self, name: &str) -> String {
        let usual = || name.to_ascii_uppercase().replace('-', "_");
        let placeholder = self.section.placeholder.clone().unwrap_or_else(usual);
        let is_plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        if !(1..=32).contains(&placeholder.len()) || !placeholder.bytes().all(is_plain) {
            self.mistake("placeholder", "must have 1 to 32 capital letters, digits and underscores");
        }
        placeholder
    }

    fn matcher(&mut self) -> Option<Matcher> {
        let section = self.section;
        if section.url.is_some() || section.model.is_some() || section.key.is_some() {
            self.mistake("url", "is allowed only with action = \"check\"");
        }
        if section.patterns.is_empty() && section.words.is_empty() {
            self.mistake("", "has nothing to search for; give patterns or words");
        }
        if section.patterns.len() > MOST_PATTERNS {
            self.mistake("patterns", format!("has more than {MOST_PATTERNS} patterns"));
        }
        let mut matcher = Matcher::default();
        for (index, pattern) in section.patterns.iter().take(MOST_PATTERNS).enumerate() {
            match self.pattern(pattern) {
                Ok((regex, longest)) => {
                    matcher.window = matcher.window.max(longest + NEIGHBOURS);
                    matcher.finders.push(Finder::Pattern(regex));
                }
                Err(message) => self.mistake(&format!("patterns[{index}]"), message),
            }
        }
        if !section.words.is_empty() {
            let (words, longest) = self.words()?;
            matcher.window = matcher.window.max(longest + NEIGHBOURS);
            matcher.finders.push(Finder::Words { words, longest });
        }
        Some(matcher)
    }

    /// A pattern, and its longest match where it applies to output.
    fn pattern(&self, pattern: &str) -> Result<(Regex, usize), String> {
        let ignore_case = self.section.ignore_case;
        let read = regex_syntax::ParserBuilder::new().case_insensitive(ignore_case).build().parse(pattern);
        let read = read.map_err(|error| {
            format!("is not a valid regular expression: {}", one_line(&error.to_string()))
        })?;
        let lengths = read.properties();
        if lengths.minimum_len().unwrap_or(0) == 0 {
            return Err("matches the empty text, or nothing".to_owned());
        }
        let longest = lengths.maximum_len();
        if self.section.on.contains(&Side::Output)
            && longest.is_none_or(|longest| longest > LONGEST_OUTPUT_MATCH)
        {
            return Err(format!(
                "may match more than {LONGEST_OUTPUT_MATCH} bytes: as much of a stream is held back as a match can have, so write \
                 {{1,64}} instead of +, {{0,64}} instead of *"
            ));
        }
        let regex =
            RegexBuilder::new(pattern).case_insensitive(ignore_case).size_limit(PATTERN_BYTES).build();
        let regex = regex.map_err(|error| format!("cannot be used: {}", one_line(&error.to_string())))?;
        Ok((regex, longest.unwrap_or(0)))
    }

    fn words(&mut self) -> Option<(AhoCorasick, usize)> {
        let words = &self.section.words;
        if words.len() > MOST_WORDS {
            self.mistake("words", format!("has more than {MOST_WORDS} words"));
            return None;
        }
        let mut spellings = Vec::with_capacity(words.len());
        for (index, word) in words.iter().enumerate() {
            if word.trim().is_empty() || word.trim() != word || word.len() > LONGEST_WORD {
                let message = format!("is empty, has spaces around it, or more than {LONGEST_WORD} bytes");
                self.mistake(&format!("words[{index}]"), message);
                continue;
            }
            spellings.push(word.clone());
            // The search ignores the case of ASCII letters only.
            if self.section.ignore_case && !word.is_ascii() {
                let mut letters = word.chars();
                let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
                spellings.extend([
                    word.to_lowercase(),
                    word.to_uppercase(),
                    first + &letters.as_str().to_lowercase(),
                ]);
            }
        }
        let longest = spellings.iter().map(String::len).max().unwrap_or(0);
        let built = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .ascii_case_insensitive(self.section.ignore_case)
            .build(&spellings);
        match built {
            Ok(words) => Some((words, longest)),
            Err(error) => {
                self.mistake("words", format!("cannot be used: {error}"));
                None
            }
        }
    }

    fn check(&mut self, resolve: &mut impl FnMut(&str, &str) -> String) -> Option<Check> {
        let section = self.section;
        if !section.patterns.is_empty() || !section.words.is_empty() || section.placeholder.is_some() {
            self.mistake("", "patterns, words and placeholder have no effect with action = \"check\"");
        }
        let Some(url) = &section.url else {
            self.mistake("url", "is missing: the URL of the check");
            return None;
        };
        let url = resolve("url", url);
        let seconds = section.timeout_seconds.unwrap_or(2.0);
        if !(0.05..=60.0).contains(&seconds) {
            self.mistake("timeout_seconds", "must be from 0.05 to 60");
            return None;
        }
        let (base, _) = url.split_once('?').unwrap_or((&url, ""));
        if let Some(mistake) = super::base_url::mistake(base) {
            self.mistake("url", mistake);
            return None;
        }
        let Ok(url) = url.parse() else {
            self.mistake("url", "is not a valid URL");
            return None;
        };
        Some(Check {
            url,
            form: section.form,
            key: Secret::new(section.key.as_ref().map(|key| resolve("key", key)).unwrap_or_default().trim()),
            model: section.model.clone(),
            timeout: Duration::from_secs_f64(seconds),
            on_error: section.on_error,
        })
    }
}

/// The last line of an error is the message; the others draw the pattern.
fn one_line(error: &str) -> String {
    error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}
