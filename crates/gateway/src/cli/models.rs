//! `llmgateway models`

use std::sync::Arc;

use canon::{Feature, Pico};
use catalog::{ModelRow, PriceList, Rates, Serving};
use serde_json::{Value, json};

use super::style::{Style, columns};
use super::{ConfigArgument, runtime, say};
use crate::clock;
use crate::discovery::{Discovery, Lists};
use crate::report;
use crate::report::per_million;
use crate::snapshot::{Snapshot, Tools};

/// Arguments of `models`.
#[derive(Clone, Debug, clap::Args)]
pub struct ModelsArguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Only models of this provider, even if it is not enabled
    #[arg(long, value_name = "ID")]
    provider: Option<String>,
    /// Include models of disabled providers, and retired ones
    #[arg(long)]
    all: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Lists the available models: aliases and the operator's own providers first.
pub fn run(arguments: &ModelsArguments) -> anyhow::Result<()> {
    let settings = arguments.config.load()?;
    if let Some(provider) = &arguments.provider
        && settings.catalog.provider(provider).is_none()
    {
        let near = settings.catalog.nearest_providers(provider, 3);
        let hint =
            if near.is_empty() { String::new() } else { format!(" Did you mean {}?", near.join(", ")) };
        anyhow::bail!("The provider {provider:?} is unknown.{hint}");
    }
    runtime()?.block_on(async {
        let tools = Tools::for_commands()?;
        let snapshot = Snapshot::first(settings, &tools);
        let lists = Discovery::default().lists(&snapshot, None).await;
        let listing = Listing { arguments, snapshot: &snapshot, lists: &lists, today: clock::today() };
        if arguments.json {
            say(&serde_json::to_string_pretty(&listing.as_json())?)
        } else {
            say(&listing.as_table(Style::of_stdout(), columns()))
        }
        anyhow::Ok(())
    })
}

struct Listing<'a> {
    arguments: &'a ModelsArguments,
    snapshot: &'a Snapshot,
    lists: &'a Lists,
    today: String,
}

impl Listing<'_> {
    fn aliases(&self) -> Vec<(&String, &crate::config::file::ModelSection)> {
        if self.arguments.provider.is_some() {
            return Vec::new();
        }
        let mut aliases: Vec<_> = self.snapshot.aliases.iter().collect();
        aliases.sort_by_key(|(name, _)| name.as_str());
        aliases
    }

    /// Models that are only in a provider's own list.
    fn listed(&self) -> Vec<(&String, &wire::providers::ListedModel)> {
        let mut lists: Vec<_> = self.lists.iter().filter(|(id, _)| self.is_wanted(id)).collect();
        lists.sort_by_key(|(id, _)| id.as_str());
        let every = lists.into_iter().flat_map(|(id, list)| list.iter().map(move |model| (id, model)));
        // A model in the configuration is shown with its price.
        every.filter(|(id, model)| self.snapshot.catalog.serving(id, &model.id).is_none()).collect()
    }

    fn servings(&self) -> Vec<(&Arc<ModelRow>, &Arc<Serving>)> {
        let every = self.arguments.all || self.arguments.provider.is_some();
        let shown = |serving: &Arc<Serving>| {
            let is_served = self.is_enabled(&serving.provider) && !serving.is_gone(&self.today);
            self.is_wanted(&serving.provider) && (every || is_served)
        };
        let models = self.snapshot.catalog.models();
        let rows = models.flat_map(|model| model.servings.iter().map(move |serving| (model, serving)));
        let mut rows: Vec<_> = rows.filter(|(_, serving)| shown(serving)).collect();
        let names_models = |id: &String| self.snapshot.providers.get(id).is_some_and(|it| it.names_models);
        rows.sort_by_key(|(_, serving)| !names_models(&serving.provider));
        rows
    }

    fn is_wanted(&self, provider: &str) -> bool {
        self.arguments.provider.as_ref().is_none_or(|wanted| wanted == provider)
    }

    fn is_enabled(&self, provider: &str) -> bool {
        self.snapshot.providers.get(provider).is_some_and(|provider| provider.disabled().is_none())
    }

    fn as_table(&self, style: Style, width: Option<usize>) -> String {
        let mut rows = vec![Row::head()];
        rows.extend(self.aliases().into_iter().map(|(name, alias)| Row {
            name: name.clone(),
            rest: format!("alias of {}", alias.targets.join(", ")),
            ..Row::default()
        }));
        rows.extend(self.listed().into_iter().map(|(provider, model)| Row {
            name: format!("{provider}/{}", model.id),
            context: tokens(model.context_tokens),
            rest: "listed by the provider".to_owned(),
            ..Row::default()
        }));
        rows.extend(self.servings().into_iter().map(|(_, serving)| Row::of(serving)));
        let text = table(&rows, style, width);
        let hidden = self.snapshot.providers.len() - self.snapshot.enabled().count();
        if self.arguments.all || self.arguments.provider.is_some() {
            text
        } else {
            format!(
                "{text}\n{}",
                style.dim(&format!("{hidden} providers are not enabled; --all lists their models too"))
            )
        }
    }

    fn as_json(&self) -> Vec<Value> {
        let aliases = self.aliases();
        let aliases = aliases.iter().map(|(name, alias)| json!({"alias": name, "targets": alias.targets}));
        let listed = self.listed().into_iter().map(|(provider, model)| {
            json!({
                "model": format!("{provider}/{}", model.id), "provider": provider, "upstream_model": model.id,
                "enabled": true, "context_tokens": model.context_tokens,
            })
        });
        let servings = self.servings().into_iter().map(|(model, serving)| {
            report::serving_object(model, serving, self.is_enabled(&serving.provider))
        });
        aliases.chain(listed).chain(servings).collect()
    }
}

#[derive(Default)]
struct Row {
    name: String,
    context: String,
    input: String,
    output: String,
    rest: String,
}

impl Row {
    fn head() -> Self {
        Self {
            name: "MODEL".to_owned(),
            context: "CONTEXT".to_owned(),
            input: "IN $/M".to_owned(),
            output: "OUT $/M".to_owned(),
            rest: "FEATURES".to_owned(),
        }
    }

    fn of(serving: &Serving) -> Self {
        let price = |rate: fn(&Rates) -> Pico| match &serving.price {
            None => "?".to_owned(),
            Some(price) => price.token_rates().map_or("-".to_owned(), |rates| per_million(rate(rates))),
        };
        let units: String = serving.price.iter().flat_map(PriceList::unit_prices).map(of_unit).collect();
        let features = serving.facts.features.map_or_else(String::new, |features| {
            features.iter().map(Feature::as_str).collect::<Vec<_>>().join(" ")
        });
        let end = serving.deprecated.as_ref().map_or(String::new(), |date| format!("until {date}; "));
        Self {
            name: format!("{}/{}", serving.provider, serving.upstream_id),
            context: tokens(serving.facts.context_tokens),
            input: price(|rates| rates.input),
            output: price(|rates| rates.output),
            rest: end + &units + &features,
        }
    }
}

fn of_unit((unit, price): (&str, Pico)) -> String {
    format!("${price} per {unit}; ")
}

/// `128k`, `1M`: rounded for the table; the exact number is in the JSON.
fn tokens(number: Option<u64>) -> String {
    match number {
        None => "?".to_owned(),
        Some(number) if number < 1_000 => number.to_string(),
        Some(number) if number < 1_000_000 => format!("{}k", number / 1_000),
        Some(number) if number % 1_000_000 < 100_000 => format!("{}M", number / 1_000_000),
        Some(number) => format!("{}.{}M", number / 1_000_000, number % 1_000_000 / 100_000),
    }
}

/// Columns, with each line cut to the terminal's width.
fn table(rows: &[Row], style: Style, width: Option<usize>) -> String {
    let longest = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
    let name = width.map_or(longest, |width| longest.min(width.saturating_sub(28).max(16)));
    let line = |row: &Row| {
        let shown = fitted(&row.name, name);
        let Row { context, input, output, rest, .. } = row;
        let line = format!("{shown:<name$} {context:>7} {input:>8} {output:>8}  {rest}");
        width.map_or_else(|| line.trim_end().to_owned(), |width| fitted(line.trim_end(), width))
    };
    let mut lines: Vec<String> = rows.iter().map(line).collect();
    if let Some(head) = lines.first_mut() {
        *head = style.bold(head);
    }
    lines.join("\n")
}

/// The text, cut with an ellipsis where it is too long.
fn fitted(text: &str, width: usize) -> String {
    if text.chars().count() > width {
        text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_its_terminal() {
        let long = Row {
            name: "provider/a-very-long-name-of-a-model-that-goes-on".into(),
            rest: "x".repeat(200),
            ..Row::default()
        };
        for width in [40, 80, 120] {
            let text = table(
                &[Row::head(), Row { name: long.name.clone(), rest: long.rest.clone(), ..Row::default() }],
                Style::PLAIN,
                Some(width),
            );
            assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
        }
        assert!(table(&[Row::head(), long], Style::PLAIN, None).contains(&"x".repeat(200)));
    }

    #[test]
    fn numbers_of_tokens_are_short() {
        let cases = [
            (None, "?"),
            (Some(512), "512"),
            (Some(128_000), "128k"),
            (Some(1_048_576), "1M"),
            (Some(1_500_000), "1.5M"),
        ];
        for (number, text) in cases {
            assert_eq!(tokens(number), text);
        }
    }
}
