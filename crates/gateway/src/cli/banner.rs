//! The messages at the start.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use canon::Pico;

use super::Style;
use super::caller_key::CallerKey;
use crate::config::ProviderSettings;
use crate::config::settings::DEMO;
use crate::discovery::Lists;
use crate::http::Api;
use crate::pipeline::resolve::Resolver;
use crate::snapshot::Snapshot;

/// One line per enabled provider, and one per disabled one with the reason.
pub fn providers(providers: &[ProviderSettings], style: Style) -> String {
    let (enabled, others): (Vec<_>, Vec<_>) =
        providers.iter().partition(|provider| provider.disabled.is_none());
    let on = enabled.into_iter().map(|provider| {
        format!("  {:<18} {} ({})", provider.row.id, style.green("enabled"), provider.origin())
    });
    let off = others.into_iter().map(|provider| {
        let reason = provider.disabled.as_deref().unwrap_or_default();
        style.dim(&format!("  {:<18} off: {reason}", provider.row.id))
    });
    on.chain(off).collect::<Vec<_>>().join("\n")
}

/// The number and the names of enabled providers.
pub fn summary(providers: &[ProviderSettings], style: Style) -> String {
    let enabled: Vec<&ProviderSettings> =
        providers.iter().filter(|provider| provider.disabled.is_none()).collect();
    let names = enabled.iter().map(|provider| format!("  {} ({})", provider.row.id, provider.origin()));
    let count = style.bold(&format!("{} of {} providers enabled", enabled.len(), providers.len()));
    let demo = match enabled.as_slice() {
        [only] if only.row.id == DEMO => {
            "\nThe demo needs no key. For real models set a provider's key, such as OPENAI_API_KEY, and start again."
        }
        _ => "",
    };
    let names = names.collect::<Vec<_>>().join("\n");
    format!("{count}; `llmgateway check` lists the rest\n{names}{demo}")
}

/// The greeting: URL, key, a working curl command, the dashboard.
pub fn banner(at: Listening, key: &CallerKey, example: &Example, code: Option<&str>, style: Style) -> String {
    let url = at.url();
    let Example { model, hint } = example;
    let hint = hint.as_ref().map_or_else(String::new, |hint| format!("  {hint}\n"));
    let dashboard = at.dashboard(code);
    format!(
        "{}  {}\n\
         {}\n\
         Dashboard  {dashboard}\n\n  \
         curl {url}/chat/completions \\\n    \
           -H \"Authorization: Bearer {}\" \\\n    \
           -H \"Content-Type: application/json\" \\\n    \
           -d '{{\"model\": \"{model}\", \"messages\": [{{\"role\": \"user\", \"content\": \"What is the capital of France?\"}}]}}'\n{hint}",
        style.bold(&format!("llmgateway {}", env!("CARGO_PKG_VERSION"))),
        style.green(&url),
        key.sentence(style),
        key.in_shell(),
    )
}

/// The address of the gateway.
#[derive(Clone, Copy, Debug)]
pub struct Listening {
    pub address: SocketAddr,
    /// It has a certificate.
    pub tls: bool,
}

impl Listening {
    fn root(self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, reachable(self.address))
    }

    fn url(self) -> String {
        format!("{}/v1", self.root())
    }

    /// The link to the dashboard; with a code it signs in, once and within an hour.
    fn dashboard(self, code: Option<&str>) -> String {
        match code {
            Some(code) => format!("{}/ui/login?code={code}  (signs in once, within an hour)", self.root()),
            None => format!("{}/ui  (sign in with an admin key)", self.root()),
        }
    }
}

/// An address that a client on this machine can use: 0.0.0.0 cannot be connected to on every system.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port())
    } else {
        address
    }
}

/// The model of the printed request.
#[derive(Debug, PartialEq, Eq)]
pub struct Example {
    model: String,
    /// What has to be changed before the request works.
    hint: Option<String>,
}

impl Example {
    /// The cheapest model of the catalog that an enabled provider serves; else an alias; else a model that a
    /// provider lists; else a placeholder. Providers are asked only where a person reads the output: a
    /// server's start sends no requests.
    pub async fn find(api: &Api, is_read: bool) -> Self {
        let snapshot = api.current.get();
        let known = cheapest_model(&snapshot).or_else(|| usable_alias(&snapshot));
        if let Some(model) = known {
            return Self { model, hint: None };
        }
        let hops = api.pipeline.hops.onward(None);
        let lists = if is_read { api.discovery.lists(&snapshot, hops).await } else { Lists::new() };
        if let Some(model) = listed_model(&lists) {
            return Self { model, hint: None };
        }
        let mut ids: Vec<&str> = snapshot.enabled().map(|provider| provider.id()).collect();
        ids.sort_unstable();
        Self::without_model(ids.first().copied(), is_read)
    }

    fn without_model(provider: Option<&str>, was_asked: bool) -> Self {
        let (model, hint) = match provider {
            Some(id) => (
                format!("{id}/MODEL"),
                format!(
                    "Replace MODEL by the name of a model that {id} serves{}.",
                    if was_asked { format!(": {id} lists none") } else { String::new() }
                ),
            ),
            None => (
                "PROVIDER/MODEL".to_owned(),
                "No provider is enabled yet: `llmgateway check` shows what each of them needs.".to_owned(),
            ),
        };
        Self { model, hint: Some(hint) }
    }
}

fn usable_alias(snapshot: &Snapshot) -> Option<String> {
    let mut names: Vec<&String> = snapshot.aliases.keys().collect();
    names.sort();
    names.into_iter().find(|name| Resolver::of(snapshot).resolve(name).is_ok()).cloned()
}

/// The first model in a provider's list, by name; an embedding model only where there is no other.
fn listed_model(lists: &Lists) -> Option<String> {
    let every = lists.iter().flat_map(|(id, list)| list.iter().map(move |model| (id, &model.id)));
    let (_, id, model) = every.map(|(id, model)| (model.contains("embed"), id, model)).min()?;
    Some(format!("{id}/{model}"))
}

fn cheapest_model(snapshot: &Snapshot) -> Option<String> {
    let today = crate::clock::today();
    let is_enabled =
        |id: &String| snapshot.providers.get(id).is_some_and(|provider| provider.disabled().is_none());
    let mut found: Vec<(f64, String)> = snapshot
        .catalog
        .models()
        .flat_map(|model| model.servings.iter())
        .filter(|serving| is_enabled(&serving.provider) && !serving.is_gone(&today))
        .map(|serving| {
            let price = serving
                .price
                .as_ref()
                .and_then(|price| price.expected(1000, 0, 500, None))
                .map_or(f64::MAX, Pico::as_usd);
            (price, format!("{}/{}", serving.provider, serving.model))
        })
        .collect();
    found.sort_by(|left, right| left.0.total_cmp(&right.0).then_with(|| left.1.cmp(&right.1)));
    found.into_iter().next().map(|(_, model)| model)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use canon::Secret;
    use wire::providers::ListedModel;

    use super::*;

    #[test]
    fn url_key_and_curl_come_first() {
        let key = CallerKey::Fresh { secret: Secret::new("llmg-abc"), file: None };
        let example = Example { model: "demo/echo".to_owned(), hint: None };
        let at = Listening { address: SocketAddr::from(([0, 0, 0, 0], 4000)), tls: false };
        let text = banner(at, &key, &example, Some("c0de"), Style::PLAIN);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].ends_with("http://127.0.0.1:4000/v1"), "{text}");
        assert!(lines[1].starts_with("API key  llmg-abc"), "{text}");
        assert!(lines[2].starts_with("Dashboard  http://127.0.0.1:4000/ui/login?code=c0de "), "{text}");
        assert!(text.contains("  curl http://127.0.0.1:4000/v1/chat/completions \\\n"), "{text}");
        assert!(text.contains("Bearer llmg-abc\""), "{text}");
        let text = banner(Listening { tls: true, ..at }, &key, &example, None, Style::PLAIN);
        assert!(text.contains("  curl https://127.0.0.1:4000/v1/"), "{text}");
    }

    #[test]
    fn an_example_that_cannot_work_yet_says_what_to_change() {
        let key = CallerKey::InVariable("KEY".to_owned());
        let text = |provider| {
            let example = Example::without_model(provider, true);
            let at = Listening { address: SocketAddr::from(([127, 0, 0, 1], 4000)), tls: false };
            banner(at, &key, &example, None, Style::PLAIN)
        };
        let own = text(Some("mine"));
        assert!(own.contains("\"mine/MODEL\"") && own.contains("Replace MODEL by"), "{own}");
        assert!(text(None).contains("No provider is enabled yet"), "{}", text(None));
    }

    #[test]
    fn the_first_listed_model_that_can_answer_is_the_example() {
        let listed = |ids: &[&str]| {
            let model = |id: &&str| ListedModel { id: (*id).to_owned(), created: None, context_tokens: None };
            Arc::new(ids.iter().map(model).collect::<Vec<_>>())
        };
        let lists = Lists::from([
            ("a".to_owned(), listed(&["nomic-embed-text"])),
            ("b".to_owned(), listed(&["qwen", "llama"])),
        ]);
        assert_eq!(listed_model(&lists).as_deref(), Some("b/llama"));
        assert_eq!(listed_model(&Lists::new()), None);
    }
}
