//! What the gateway says when it starts.

use std::net::SocketAddr;

use canon::Secret;

use crate::config::ProviderSettings;
use crate::http::Site;

/// One line for each provider that is enabled, and one for all others.
pub fn providers(providers: &[ProviderSettings]) -> String {
    let mut lines = Vec::new();
    for provider in providers.iter().filter(|provider| provider.disabled.is_none()) {
        lines.push(format!("  {:<18} enabled ({})", provider.row.id, provider.credential_source));
    }
    for provider in providers {
        if let Some(reason) = &provider.disabled {
            lines.push(format!("  {:<18} off: {reason}", provider.row.id));
        }
    }
    lines.join("\n")
}

/// The greeting: URL, key, a curl that works.
pub fn banner(address: SocketAddr, providers: &str, fresh_key: Option<&Secret>, site: &Site) -> String {
    let key = fresh_key.map_or("YOUR_API_KEY", Secret::expose);
    let model = example_model(site);
    let told = match fresh_key {
        Some(key) => {
            format!("API key      {}  (shown once; more with `llmgateway keys create NAME`)\n", key.expose())
        }
        None => String::new(),
    };
    format!(
        "Providers\n{providers}\n\n\
         llmgateway {} listens on http://{address}/v1\n\
         {told}\n\
         curl http://{address}/v1/chat/completions \\\n  \
           -H \"Authorization: Bearer {key}\" \\\n  \
           -H \"Content-Type: application/json\" \\\n  \
           -d '{{\"model\": \"{model}\", \"messages\": [{{\"role\": \"user\", \"content\": \"What is the capital of France?\"}}]}}'\n",
        env!("CARGO_PKG_VERSION"),
    )
}

/// The cheapest model that some enabled provider serves.
fn example_model(site: &Site) -> String {
    let snapshot = site.current.get();
    let mut found: Vec<(f64, String)> = snapshot
        .catalog
        .models()
        .flat_map(|model| model.servings.iter())
        .filter(|serving| {
            snapshot.providers.get(&serving.provider).is_some_and(|provider| provider.disabled().is_none())
        })
        .filter(|serving| serving.deprecated.is_none())
        .map(|serving| {
            let price =
                serving.price.as_ref().map_or(f64::MAX, |price| price.expected(1000, 0, 500).as_usd());
            (price, format!("{}/{}", serving.provider, serving.model))
        })
        .collect();
    found.sort_by(|left, right| left.0.total_cmp(&right.0).then_with(|| left.1.cmp(&right.1)));
    found.into_iter().next().map_or_else(|| "provider/model".to_owned(), |(_, model)| model)
}
