//! `llmgateway models`

use catalog::{ModelRow, Serving};

use super::{ConfigArgument, say};
use crate::config::Settings;

/// Arguments of `models`.
#[derive(Clone, Debug, clap::Args)]
pub struct ModelsArguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Only models of this provider.
    #[arg(long)]
    provider: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Lists the whole catalog, also what is not enabled.
pub fn run(arguments: &ModelsArguments) -> anyhow::Result<()> {
    let settings = arguments.config.load()?;
    if let Some(provider) = &arguments.provider
        && settings.catalog.provider(provider).is_none()
    {
        let near = settings.catalog.nearest_providers(provider, 3).join(", ");
        anyhow::bail!("The provider {provider:?} is unknown; near to it: {near}.");
    }
    let wanted = |serving: &&std::sync::Arc<Serving>| {
        arguments.provider.as_ref().is_none_or(|provider| serving.provider == *provider)
    };
    let rows = settings
        .catalog
        .models()
        .flat_map(|model| model.servings.iter().filter(wanted).map(move |serving| (model, serving)));
    match arguments.json {
        true => {
            let list: Vec<_> = rows.map(|(model, serving)| as_json(&settings, model, serving)).collect();
            say(&serde_json::to_string_pretty(&list)?);
        }
        false => {
            let lines: Vec<String> = rows.map(|(_, serving)| as_line(serving)).collect();
            say(&format!(
                "{:<58} {:>10} {:>8} {:>10} {:>10}  features\n{}",
                "model",
                "context",
                "output",
                "in $/M",
                "out $/M",
                lines.join("\n")
            ));
        }
    }
    Ok(())
}

fn as_line(serving: &Serving) -> String {
    let number = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
    let price = |rate: fn(&catalog::Rates) -> canon::Pico| {
        serving
            .price
            .as_ref()
            .map_or_else(|| "?".to_owned(), |price| (rate(&price.rates) * 1_000_000).to_string())
    };
    let features = serving.facts.features.map_or_else(String::new, |features| {
        features.iter().map(canon::Feature::as_str).collect::<Vec<_>>().join(" ")
    });
    format!(
        "{:<58} {:>10} {:>8} {:>10} {:>10}  {features}",
        format!("{}/{}", serving.provider, serving.upstream_id),
        number(serving.facts.context_tokens),
        number(serving.facts.max_output_tokens),
        price(|rates| rates.input),
        price(|rates| rates.output),
    )
}

fn as_json(settings: &Settings, model: &ModelRow, serving: &Serving) -> serde_json::Value {
    let provider = settings.providers.iter().find(|provider| provider.row.id == serving.provider);
    let price = serving.price.as_ref();
    serde_json::json!({
        "model": model.id,
        "provider": serving.provider,
        "upstream_model": serving.upstream_id,
        "name": model.name,
        "enabled": provider.is_some_and(|provider| provider.disabled.is_none()),
        "context_tokens": serving.facts.context_tokens,
        "max_output_tokens": serving.facts.max_output_tokens,
        "input_usd_per_million": price.map(|price| (price.rates.input * 1_000_000).to_string()),
        "output_usd_per_million": price.map(|price| (price.rates.output * 1_000_000).to_string()),
        "features": serving.facts.features.map(|features| features.iter().map(canon::Feature::as_str).collect::<Vec<_>>()),
        "deprecated": serving.deprecated,
    })
}
