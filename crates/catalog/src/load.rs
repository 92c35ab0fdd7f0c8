//! From files to rows.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use canon::{Feature, Features, ModelFacts, Operation, Operations, Pico, Quirks, ReasoningControl, Unit};
use toml::{Table, Value};
use wire::Protocol;
use wire::endpoints::EndpointFacts;
use wire::providers::{Auth, CallStyle};

use crate::names::nearest;
use crate::read::{Fields, Mistake};
use crate::wording::{Form, plain};
use crate::{DataRow, ModelRow, PriceList, PriceTier, ProviderRow, Rates, Serving, SettingRow};

/// The content of the files, with the file of each row for error messages.
#[derive(Default)]
pub struct Rows {
    pub providers: Vec<(String, ProviderRow)>,
    pub models: Vec<(String, ModelRow)>,
}

/// Reads one file. Its folder decides what it contains.
pub fn read_file(path: &str, text: &str, rows: &mut Rows, mistakes: &mut Vec<Mistake>) {
    let normal = path.replace('\\', "/");
    let folder = normal.rsplit('/').nth(1).unwrap_or_default();
    if !matches!(folder, "providers" | "models") {
        let message = "catalog files live in a folder `providers` or `models`".to_owned();
        return mistakes.push(Mistake { file: path.to_owned(), path: String::new(), message });
    }
    let Some(file) = Fields::of_file(path, text, mistakes) else { return };
    match folder {
        "providers" => rows.providers.push((path.to_owned(), provider(file))),
        _ => rows.models.extend(family(file).into_iter().map(|model| (path.to_owned(), model))),
    }
}

fn provider(mut file: Fields<'_>) -> ProviderRow {
    let auth = file.typed::<Auth>("auth").unwrap_or_default();
    let needs_key = file.typed("needs_key").unwrap_or(!matches!(auth, Auth::Optional));
    let row = ProviderRow {
        id: file.required_text("id"),
        name: file.required_text("name"),
        protocol: file.typed("protocol").unwrap_or(Protocol::OpenaiChat),
        calling: file.typed("calling").unwrap_or(CallStyle::Compatible),
        auth,
        base_url: base_url(&mut file),
        path: file.text("path"),
        headers: file.typed("headers").unwrap_or_default(),
        api_key_env: file.texts("api_key_env"),
        base_url_env: file.texts("base_url_env"),
        settings: settings(&mut file),
        regions: file.typed("regions").unwrap_or_default(),
        quirks: Arc::new(quirks(&mut file)),
        also: file.typed("also").unwrap_or_default(),
        operations: Arc::new(file.typed("operations").unwrap_or_default()),
        lacks: features(&mut file, "lacks").unwrap_or_default(),
        data: data(&mut file),
        docs: file.text("docs"),
        needs_key,
        priority: priority(&mut file),
    };
    if row.needs_key && row.api_key_env.is_empty() && row.settings.is_empty() {
        file.mistake("api_key_env", "is missing: a provider that needs a key names its customary variable");
    }
    file.finish();
    row
}

fn data(file: &mut Fields<'_>) -> DataRow {
    let data: DataRow = file.typed("data").unwrap_or_default();
    let states_a_fact = data.trains.is_some() || data.retains.is_some() || data.region.is_some();
    if states_a_fact && !data.source.as_deref().is_some_and(|source| source.starts_with("https://")) {
        file.mistake("data.source", "is missing: the provider's page that says so, https://…");
    }
    data
}

fn base_url(file: &mut Fields<'_>) -> Option<String> {
    let url = file.text("base_url")?;
    let has_scheme = ["https://", "http://", "{"].iter().any(|start| url.starts_with(start));
    if !has_scheme || url.ends_with('/') {
        file.mistake(
            "base_url",
            format!("{url:?} must begin with https:// or http:// and not end with a slash"),
        );
    }
    Some(url)
}

fn priority(file: &mut Fields<'_>) -> f64 {
    let priority = file.typed("priority").unwrap_or(1.0);
    if !(0.0..=100.0).contains(&priority) {
        file.mistake("priority", "must be between 0 and 100");
    }
    priority
}

fn settings(file: &mut Fields<'_>) -> BTreeMap<String, SettingRow> {
    let mut rows = BTreeMap::new();
    file.named("settings", |name, value, settings| {
        let Value::Table(table) = value else {
            return settings.mistake(&name, "must be a table");
        };
        let mut setting = settings.inner(&name, table);
        let row = SettingRow {
            env: setting.texts("env"),
            required: setting.typed("required").unwrap_or(false),
            default: setting.text("default"),
            help: setting.required_text("help"),
        };
        setting.finish();
        rows.insert(name, row);
    });
    rows
}

/// Reads each quirk by itself, so that each wrong one is reported.
fn quirks(file: &mut Fields<'_>) -> Quirks {
    let mut good = Table::new();
    file.named("quirks", |name, value, quirks| {
        let alone = Table::from_iter([(name.clone(), value.clone())]);
        match alone.try_into::<Quirks>() {
            Ok(_) => drop(good.insert(name, value)),
            Err(error) => {
                let known = quirk_names();
                let message = match nearest(&name, known.iter().map(String::as_str), 1).first() {
                    Some(meant) if !known.contains(&name) => {
                        format!("unknown quirk; did you mean `{meant}`?")
                    }
                    _ => plain(error.message().trim(), Form::Toml),
                };
                quirks.mistake(&name, message);
            }
        }
    });
    good.try_into().unwrap_or_default()
}

fn quirk_names() -> Vec<String> {
    let every = Quirks { required_tool_choice: Some(String::new()), ..Quirks::default() };
    Table::try_from(every).map(|table| table.keys().cloned().collect()).unwrap_or_default()
}

fn features(fields: &mut Fields<'_>, key: &'static str) -> Option<Features> {
    if !fields.has(key) {
        return None;
    }
    let mut features = Features::NONE;
    for name in fields.texts(key) {
        match Feature::ALL.into_iter().find(|feature| feature.as_str() == name) {
            Some(feature) => features.insert(feature),
            None => {
                let known = Feature::ALL.map(Feature::as_str);
                let message = match nearest(&name, known, 1).first() {
                    Some(meant) => format!("unknown feature {name:?}; did you mean `{meant}`?"),
                    None => format!("unknown feature {name:?}; known are {}", known.join(", ")),
                };
                fields.mistake(key, message);
            }
        }
    }
    Some(features)
}

/// A model file: the family's name and its models.
fn family(mut file: Fields<'_>) -> Vec<ModelRow> {
    let family = file.required_text("family");
    let models = file.each("models", |entry| model(entry, &family));
    file.finish();
    models
}

/// Values of a model for all of its providers; each provider may override them.
#[derive(Clone)]
struct Defaults {
    facts: ModelFacts,
    operations: Operations,
    endpoint: Option<Arc<EndpointFacts>>,
    price: Option<PriceList>,
    deprecated: Option<String>,
}

fn model(mut entry: Fields<'_>, family: &str) -> ModelRow {
    let id = entry.required_text("id");
    let operations = operations(&mut entry).unwrap_or(Operations::CHAT);
    let defaults = Defaults {
        facts: facts(&mut entry, &ModelFacts::default()),
        operations,
        endpoint: endpoint(&mut entry, None),
        price: price(&mut entry, operations),
        deprecated: entry.date("deprecated"),
    };
    let all = entry.each("providers", |mapping| Arc::new(serving(mapping, &id, &defaults)));
    let (servings, by_own_id) = first_of_each_provider(all);
    let row = ModelRow {
        name: entry.required_text("name"),
        family: family.to_owned(),
        aliases: entry.texts("aliases"),
        released: entry.date("released"),
        servings,
        by_own_id,
        id,
    };
    if row.servings.is_empty() {
        entry.mistake("providers", "is missing: a model names at least one provider");
    }
    entry.finish();
    row
}

fn first_of_each_provider(all: Vec<Arc<Serving>>) -> (Vec<Arc<Serving>>, Vec<Arc<Serving>>) {
    let mut seen = HashSet::new();
    all.into_iter().partition(|serving| seen.insert(serving.provider.clone()))
}

fn serving(mut mapping: Fields<'_>, model: &str, defaults: &Defaults) -> Serving {
    let base = Serving {
        provider: mapping.required_text("provider"),
        model: model.to_owned(),
        upstream_id: mapping.text("id").unwrap_or_else(|| model.to_owned()),
        also: mapping.texts("also"),
        facts: defaults.facts.clone(),
        operations: defaults.operations,
        endpoint: defaults.endpoint.clone(),
        price: defaults.price.clone(),
        deprecated: defaults.deprecated.clone(),
        free: false,
    };
    described(mapping, base)
}

/// The serving with these fields in place of its own.
pub fn described(mut fields: Fields<'_>, base: Serving) -> Serving {
    let mut facts = facts(&mut fields, &base.facts);
    if let (Some(lacks), Some(features)) = (features(&mut fields, "lacks"), facts.features) {
        facts.features = Some(features.minus(lacks));
    }
    let operations = operations(&mut fields).unwrap_or(base.operations);
    let endpoint = endpoint(&mut fields, base.endpoint.clone());
    let (is_free, given) = (fields.typed("free"), price(&mut fields, operations));
    let free = is_free.unwrap_or(base.free && given.is_none());
    let price = if free { Some(PriceList::default()) } else { given.or(base.price) };
    if !free && price.as_ref().is_some_and(PriceList::is_free) {
        fields.mistake("price", "is zero: write `free = true` where a model really costs nothing");
    }
    let deprecated = fields.date("deprecated").or(base.deprecated);
    fields.finish();
    Serving { facts, operations, endpoint, price, deprecated, free, ..base }
}

fn facts(fields: &mut Fields<'_>, defaults: &ModelFacts) -> ModelFacts {
    let reasoning = fields.typed::<ReasoningControl>("reasoning").or_else(|| defaults.reasoning.clone());
    let mut known = features(fields, "features").or(defaults.features);
    if let (Some(features), Some(control)) = (known, &reasoning) {
        // An operator who describes how the model is controlled need not add that it thinks.
        known = Some(match control {
            ReasoningControl::None => features.without(Feature::Reasoning),
            _ => features.with(Feature::Reasoning),
        });
    }
    ModelFacts {
        context_tokens: fields.typed("context_tokens").or(defaults.context_tokens),
        max_output_tokens: fields.typed("max_output_tokens").or(defaults.max_output_tokens),
        features: known,
        reasoning,
        rejects: fields.typed("rejects").unwrap_or_else(|| defaults.rejects.clone()),
        rejects_thinking: fields
            .typed("rejects_thinking")
            .unwrap_or_else(|| defaults.rejects_thinking.clone()),
        thinks_by_default: fields.typed("thinks_by_default").unwrap_or(defaults.thinks_by_default),
        functions_exclude_thinking: fields
            .typed("functions_exclude_thinking")
            .unwrap_or(defaults.functions_exclude_thinking),
        responses_only: fields.typed("responses_only").unwrap_or(defaults.responses_only),
        completions_only: fields.typed("completions_only").unwrap_or(defaults.completions_only),
        no_media_in_results: fields.typed("no_media_in_results").unwrap_or(defaults.no_media_in_results),
        strict_subset: fields.typed("strict_subset").unwrap_or(defaults.strict_subset),
    }
}

/// The operations that a model serves.
fn operations(fields: &mut Fields<'_>) -> Option<Operations> {
    let named: Vec<Operation> = fields.typed("operations")?;
    if named.is_empty() {
        fields.mistake("operations", "names no operation");
    }
    Some(named.into_iter().collect())
}

/// Facts for operations other than chat: these fields over earlier ones, name by name.
fn endpoint(fields: &mut Fields<'_>, before: Option<Arc<EndpointFacts>>) -> Option<Arc<EndpointFacts>> {
    let Some(given) = fields.typed::<Table>("endpoint") else { return before };
    let mut table = before.and_then(|before| Table::try_from(&*before).ok()).unwrap_or_default();
    for (name, value) in given {
        match (table.get_mut(&name), value) {
            (Some(Value::Table(known)), Value::Table(more)) => known.extend(more),
            (_, value) => drop(table.insert(name, value)),
        }
    }
    match table.try_into::<EndpointFacts>() {
        Ok(facts) => Some(Arc::new(facts)),
        Err(error) => {
            fields.mistake("endpoint", error.to_string().trim_end());
            None
        }
    }
}

fn price(fields: &mut Fields<'_>, operations: Operations) -> Option<PriceList> {
    fields.within("price", |mut price| {
        let list = price_list(&mut price, operations.has(Operation::Chat));
        price.finish();
        list
    })
}

/// `of_tokens`: both directions need a price per token. Other operations have only the prices that they name.
fn price_list(price: &mut Fields<'_>, of_tokens: bool) -> PriceList {
    let mut tiers = price.each("tiers", |mut tier| {
        let above_prompt_tokens = tier.typed("above_prompt_tokens");
        if above_prompt_tokens.is_none() {
            tier.mistake("above_prompt_tokens", "is missing");
        }
        let rates = rates(&mut tier, of_tokens);
        tier.finish();
        PriceTier { above_prompt_tokens: above_prompt_tokens.unwrap_or_default(), rates }
    });
    tiers.sort_by_key(|tier| tier.above_prompt_tokens);
    let mut service_tiers = BTreeMap::new();
    price.named("service_tiers", |name, value, tiers| {
        let Value::Table(table) = value else {
            return tiers.mistake(&name, "must be a table of prices");
        };
        let mut tier = tiers.inner(&name, table);
        let list = price_list(&mut tier, of_tokens);
        tier.finish();
        service_tiers.insert(name, list);
    });
    PriceList {
        rates: rates(price, of_tokens),
        request: price.amount("request"),
        units: units(price),
        web_search: price.amount("web_search"),
        tiers,
        service_tiers,
    }
}

/// Prices by unit, in USD: `units = { search_unit = "0.002" }`. A second of audio is priced as `second`.
fn units(price: &mut Fields<'_>) -> BTreeMap<Unit, Pico> {
    let mut units = BTreeMap::new();
    price.named("units", |name, value, fields| {
        let amount = value.as_str().and_then(|text| text.parse::<Pico>().ok());
        let (unit, parts) = match name.as_str() {
            "second" => (Unit::Millisecond, 1000),
            "search_unit" => (Unit::SearchUnit, 1),
            "image" => (Unit::Image, 1),
            "character" => (Unit::Character, 1),
            _ => {
                return fields
                    .mistake(&name, "is not a unit; known are search_unit, image, second, character");
            }
        };
        match amount {
            Some(Pico(amount)) if amount % parts == 0 => drop(units.insert(unit, Pico(amount / parts))),
            Some(_) => fields.mistake(&name, "has more digits than a price can have"),
            None => fields.mistake(
                &name,
                format!("{value} is not an amount: write USD as a decimal string, \"0.002\""),
            ),
        }
    });
    units
}

fn rates(price: &mut Fields<'_>, of_tokens: bool) -> Rates {
    let mut required = |key| {
        if of_tokens && !price.has(key) {
            price.mistake(key, "is missing");
        }
        price.price(key).unwrap_or_default()
    };
    Rates {
        input: required("input"),
        output: required("output"),
        cache_read: price.price("cache_read"),
        cache_write: price.price("cache_write"),
        cache_write_1h: price.price("cache_write_1h"),
        audio_input: price.price("audio_input"),
        audio_output: price.price("audio_output"),
        image_output: price.price("image_output"),
    }
}
