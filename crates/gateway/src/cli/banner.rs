//! What the gateway says when it starts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use canon::Pico;

use super::Style;
use super::caller_key::CallerKey;
use crate::config::ProviderSettings;
use crate::config::settings::DEMO;
use crate::http::Site;

/// One line for each provider that is enabled, and one for each other with the reason.
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

/// How many providers are enabled, and which.
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

/// The greeting: URL, key, a curl that works.
pub fn banner(address: SocketAddr, key: &CallerKey, model: &str, style: Style) -> String {
    let url = format!("http://{}/v1", reachable(address));
    format!(
        "{}  {}\n\
         {}\n\n  \
         curl {url}/chat/completions \\\n    \
           -H \"Authorization: Bearer {}\" \\\n    \
           -H \"Content-Type: application/json\" \\\n    \
           -d '{{\"model\": \"{model}\", \"messages\": [{{\"role\": \"user\", \"content\": \"What is the capital of France?\"}}]}}'\n",
        style.bold(&format!("llmgateway {}", env!("CARGO_PKG_VERSION"))),
        style.green(&url),
        key.sentence(style),
        key.in_shell(),
    )
}

/// An address that a client on this machine can use: nobody can connect to 0.0.0.0 everywhere.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip().is_unspecified() {
        true => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port()),
        false => address,
    }
}

/// The cheapest model that some enabled provider serves.
pub fn example_model(site: &Site) -> Option<String> {
    let snapshot = site.current.get();
    let today = crate::calendar::today();
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
    use canon::Secret;

    use super::*;

    #[test]
    fn url_key_and_curl_come_first() {
        let key = CallerKey::Fresh { secret: Secret::new("llmg-abc"), file: None };
        let text = banner(SocketAddr::from(([0, 0, 0, 0], 4000)), &key, "demo/echo", Style::PLAIN);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].ends_with("http://127.0.0.1:4000/v1"), "{text}");
        assert!(lines[1].starts_with("API key  llmg-abc"), "{text}");
        assert!(text.contains("  curl http://127.0.0.1:4000/v1/chat/completions \\\n"), "{text}");
        assert!(text.contains("Bearer llmg-abc\""), "{text}");
    }
}
