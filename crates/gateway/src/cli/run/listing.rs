//! The gateway's list of models, for agents: they do not know other makers' models, and without the window
//! they compact a long session too late, or never.

use serde_json::Value;

/// The list of `GET /v1/models`.
#[derive(Clone, Debug, Default)]
pub struct Listing(Vec<Value>);

/// The window of a model; none is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Tokens of prompt and answer together.
    pub context: Option<u64>,
    /// Tokens of the answer.
    pub output: Option<u64>,
}

/// Maximum depth of nested aliases.
const DEEPEST: usize = 4;

impl Listing {
    /// Parses the list; none for another body.
    pub fn read(body: &[u8]) -> Option<Self> {
        let list: Value = serde_json::from_slice(body).ok()?;
        list.get("data")?.as_array().cloned().map(Self)
    }

    /// The names of all models.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().filter_map(|entry| Some(entry.get("id")?.as_str()?.to_owned())).collect()
    }

    /// The smallest window that this name may lead to: a request must fit every target.
    pub fn window(&self, name: &str) -> Window {
        let windows = self.windows(name, 0);
        let least = |of: fn(&Window) -> Option<u64>| windows.iter().filter_map(of).min();
        Window { context: least(|window| window.context), output: least(|window| window.output) }
    }

    fn windows(&self, name: &str, depth: usize) -> Vec<Window> {
        if let Some(entry) = self.0.iter().find(|entry| is_named(entry, name)) {
            let targets = strings(entry.get("targets")).filter(|_| depth < DEEPEST);
            let of_targets = targets.flat_map(|target| self.windows(target, depth + 1));
            return of_targets.chain(providers(entry).map(window)).collect();
        }
        let Some((provider, model)) = name.split_once('/') else { return Vec::new() };
        let of_provider = |entry: &&Value| entry.get("provider").is_some_and(|id| id == provider);
        let entries = self.0.iter().flat_map(|entry| {
            let named = is_named(entry, model);
            providers(entry)
                .filter(of_provider)
                .filter(move |at| named || at.get("model").is_some_and(|id| id == model))
        });
        entries.map(window).collect()
    }
}

fn is_named(entry: &Value, name: &str) -> bool {
    entry.get("id").is_some_and(|id| id == name) || strings(entry.get("aliases")).any(|alias| alias == name)
}

fn providers(entry: &Value) -> impl Iterator<Item = &Value> {
    entry.get("providers").and_then(Value::as_array).into_iter().flatten()
}

fn strings(list: Option<&Value>) -> impl Iterator<Item = &str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn window(at: &Value) -> Window {
    let tokens = |name: &str| at.get(name).and_then(Value::as_u64).filter(|tokens| *tokens > 0);
    Window { context: tokens("context_tokens"), output: tokens("max_output_tokens") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn listing() -> Listing {
        let list = json!({ "data": [
            { "id": "both", "targets": ["one/large", "small-9"] },
            { "id": "round", "targets": ["round", "small"] },
            { "id": "large", "aliases": [], "providers": [
                { "provider": "one", "model": "large-v1", "context_tokens": 1_000_000, "max_output_tokens": 64_000 },
                { "provider": "two", "model": "org/large", "context_tokens": 200_000, "max_output_tokens": null }
            ] },
            { "id": "small", "aliases": ["small-9"], "providers": [{ "provider": "one", "context_tokens": 32_000 }] }
        ] });
        Listing::read(list.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn the_smallest_window_of_an_alias_counts() {
        let listing = listing();
        let contexts = ["large", "one/large", "two/org/large", "both", "round", "unknown", "one/unknown"]
            .map(|name| listing.window(name).context);
        let expected =
            [Some(200_000), Some(1_000_000), Some(200_000), Some(32_000), Some(32_000), None, None];
        assert_eq!(contexts, expected);
        assert_eq!(listing.window("large").output, Some(64_000));
        assert_eq!(listing.names(), ["both", "round", "large", "small"]);
    }

    #[test]
    fn other_documents_are_no_list() {
        assert!(Listing::read(b"<html>").is_none());
        assert!(Listing::read(b"{\"models\": []}").is_none());
    }
}
