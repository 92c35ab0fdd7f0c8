//! Names of tools that a provider does not accept, and those that replace them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use canon::{Request, ToolKind};

use crate::ToolNames;
use crate::json::room;

/// The names that a format accepts.
#[derive(Clone, Copy)]
pub(crate) struct NameRule {
    pub is_valid: fn(&str) -> bool,
    /// The nearest name in its alphabet and length.
    pub plain: fn(&str) -> String,
    pub longest: usize,
}

/// The names on the wire of all tools in a request.
#[derive(Debug, Default)]
pub(super) struct Names<'a> {
    /// The caller's name and the provider's, for changed names; sorted.
    changed: Vec<(&'a str, Box<str>)>,
}

impl<'a> Names<'a> {
    /// For the tools of a request, and those that were called in its history. Accepted names are kept.
    pub(super) fn of(request: &'a Request, rule: NameRule) -> Self {
        Self::new(|| all_names(request), rule)
    }

    /// The same for all names of a request.
    pub(super) fn new<I: Iterator<Item = &'a str>>(all: impl Fn() -> I, rule: NameRule) -> Self {
        let mut changed: Vec<(&str, Box<str>)> = Vec::new();
        for name in all().filter(|name| !(rule.is_valid)(name)) {
            room::push(&mut changed, (name, Box::default()));
        }
        if changed.is_empty() {
            return Self::default();
        }
        changed.sort_unstable();
        changed.dedup();
        let mut taken = UsedNames::default();
        all().filter(|name| (rule.is_valid)(name)).for_each(|name| taken.insert(name));
        for (name, replacement) in &mut changed {
            let new = taken.free((rule.plain)(name), rule.longest);
            taken.insert(&new);
            *replacement = new.into();
        }
        Self { changed }
    }

    /// The provider's name of a tool.
    pub(super) fn wire<'n>(&'n self, name: &'n str) -> &'n str {
        self.replacement(name).unwrap_or(name)
    }

    /// The same, for something that outlives the names.
    pub(super) fn wire_owned<'n>(&self, name: &'n str) -> Cow<'n, str> {
        self.replacement(name).map_or(Cow::Borrowed(name), |new| Cow::Owned(new.to_owned()))
    }

    fn replacement(&self, name: &str) -> Option<&str> {
        let place = self.changed.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
        Some(&self.changed[place].1)
    }

    /// The names that the decoder has to restore.
    pub(super) fn into_originals(self) -> ToolNames {
        self.changed.into_iter().map(|(caller, wire)| (wire, caller.into())).collect()
    }
}

fn all_names(request: &Request) -> impl Iterator<Item = &str> {
    let declared = request.tools.iter().filter(|tool| !matches!(tool.kind, ToolKind::Native(_)));
    let called = request.messages.iter().flat_map(|message| message.tool_calls());
    declared.map(|tool| tool.name.as_str()).chain(called.map(|call| &*call.name))
}

/// The names on the wire so far, as hashes: a hash collision only skips a free name.
#[derive(Default)]
struct UsedNames {
    names: HashSet<u64>,
    state: RandomState,
    /// The next number for each name that several names became, so that not all numbers are tried again.
    numbers: BTreeMap<String, usize>,
}

impl UsedNames {
    fn insert(&mut self, name: &str) {
        self.names.insert(self.state.hash_one(name));
    }

    fn has(&self, name: &str) -> bool {
        self.names.contains(&self.state.hash_one(name))
    }

    /// The name itself, or with a number.
    fn free(&mut self, plain: String, longest: usize) -> String {
        if !self.has(&plain) {
            return plain;
        }
        let mut number = self.numbers.get(&plain).copied().unwrap_or(2);
        loop {
            let suffix = format!("_{number}");
            let candidate = format!("{}{suffix}", &plain[..plain.len().min(longest - suffix.len())]);
            number += 1;
            if !self.has(&candidate) {
                self.numbers.insert(plain, number);
                return candidate;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: NameRule = NameRule {
        is_valid: |name| {
            name.len() <= 8 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        },
        plain: |name| {
            let plain = |byte: u8| if byte.is_ascii_lowercase() { char::from(byte) } else { '_' };
            name.bytes().take(8).map(plain).collect()
        },
        longest: 8,
    };

    #[test]
    fn changed_names_are_different_and_come_back() {
        let all = ["a_b", "a.b", "fine", "a/b", "a.b", "much.too.long", "much/too/long"];
        let names = Names::new(|| all.into_iter(), RULE);
        let wire = all.map(|name| names.wire(name).to_owned());
        assert_eq!(wire, ["a_b", "a_b_2", "fine", "a_b_3", "a_b_2", "much_too", "much_t_2"]);
        let originals = names.into_originals();
        assert_eq!(originals.get("a_b_3"), Some("a/b"));
        assert_eq!(originals.get("much_t_2"), Some("much/too/long"));
        assert_eq!((originals.get("a_b"), originals.get("fine")), (None, None));
    }

    #[test]
    fn hidden_numbers_are_deterministic() {
        let all = ["a.b", "a/b"];
        let wire = || Names::new(|| all.into_iter(), RULE).wire("a/b").to_owned();
        assert_eq!(wire(), wire());
    }
}
