//! `docs/providers.md`, written from the catalog. `UPDATE_DOCS=1 cargo test -p catalog providers_page` rewrites it.

use ::catalog::{Catalog, ProviderRow, Serving};
use canon::{Feature, Operation, Quirks};
use serde_json::Value;
use wire::providers::Auth;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/providers.md");

const INTRODUCTION: &str = "# Providers

<!-- Written by `UPDATE_DOCS=1 cargo test -p catalog providers_page` from `catalog/`; a test compares it. -->

A provider is enabled by its environment variable (the first one that is set) or by a section `[providers.ID]` in
[llmgateway.toml](configuration.md). `llmgateway check` reports for each one why it is off.
[connecting-providers.md](connecting-providers.md) has examples.

## How they are called
";

const FEATURES: &str = "
## What they serve

The number of the provider's chat models in the catalog that have a feature (`llmgateway models --provider ID` lists them). *no*
means that none of them has it; *?* means that the catalog has no chat models of the provider, so the provider decides; – means
that it has no chat. The last column has the [operations without a conversation](endpoints.md).
Structured output counts models that accept a JSON schema natively. For other models, a schema is emulated and reported. Other
features are refused if a model lacks them.

| id | models | streaming | tools | vision | documents | structured output | reasoning | caching | also serves |
|---|---:|---|---|---|---|---|---|---|---|
";

const QUIRKS: &str = "
## Quirks

How a provider differs from its protocol; [configuration.md](configuration.md#providersidquirks) explains each quirk. Fields under
`drop` are losses.

| id | quirks |
|---|---|
";

const DATA: &str = "
## Data

What a provider itself says of the data that it receives, for [policies](governance.md#where-data-goes). A provider that is not
listed, and a field with –, is unknown; `trains_on_data` and `retains_data` in `[providers.ID]` state what your contract says.

| id | trains models with it | stores it | region | source |
|---|---|---|---|---|
";

const SETTINGS: &str = "
## Settings

Further keys of `[providers.ID]`, with the environment variables that replace them.

| id | setting | environment | default | meaning |
|---|---|---|---|---|
";

const COLUMNS: [Feature; 7] = [
    Feature::Streaming,
    Feature::Tools,
    Feature::Vision,
    Feature::Documents,
    Feature::JsonSchema,
    Feature::Reasoning,
    Feature::PromptCache,
];

fn code(words: &[String]) -> String {
    if words.is_empty() {
        "–".to_owned()
    } else {
        words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" ")
    }
}

fn auth(row: &ProviderRow) -> String {
    let mut ways = Vec::new();
    match &row.auth {
        Auth::Bearer if !row.api_key_env.is_empty() => ways.push("bearer".to_owned()),
        Auth::Bearer => {}
        Auth::Header(name) => ways.push(format!("header `{name}`")),
        Auth::Scheme(scheme) => ways.push(format!("`authorization: {scheme} KEY`")),
        Auth::Optional => ways.push("bearer, optional".to_owned()),
    }
    if row.settings.contains_key("access_key_id") {
        ways.push("signature with AWS keys".to_owned());
    }
    if row.settings.contains_key("access_token") {
        ways.push("access token".to_owned());
    }
    ways.join(" or ")
}

fn call_row(row: &ProviderRow) -> String {
    let base = row.base_url.as_ref().map_or("–".to_owned(), |url| format!("`{url}`"));
    format!(
        "| `{}` | {} | {} | {} | {} | {base} | {} |\n",
        row.id,
        row.name,
        row.protocol.as_str(),
        auth(row),
        code(&row.api_key_env),
        code(&row.base_url_env),
    )
}

fn feature_row(catalog: &Catalog, row: &ProviderRow) -> String {
    let servings: Vec<&Serving> = catalog
        .models()
        .flat_map(|model| &model.servings)
        .filter(|serving| serving.provider == row.id && serving.operations.has(Operation::Chat))
        .map(AsRef::as_ref)
        .collect();
    let mut text = format!("| `{}` | {} |", row.id, servings.len());
    for feature in COLUMNS {
        let count = servings.iter().filter(|serving| serving.facts.allows(feature)).count();
        let cell = match (count, servings.len()) {
            _ if row.operations.no_chat => "–".to_owned(),
            _ if row.lacks.has(feature) => "no".to_owned(),
            _ if feature == Feature::JsonSchema && row.quirks.no_json_schema => "emulated".to_owned(),
            (_, 0) => "?".to_owned(),
            (0, _) => "no".to_owned(),
            (count, all) if count == all => "all".to_owned(),
            (count, _) => count.to_string(),
        };
        text += &format!(" {cell} |");
    }
    let served = Operation::ALL.iter().filter(|operation| **operation != Operation::Chat);
    let served = served.filter(|operation| **operation != Operation::CountTokens);
    let served = served.filter(|operation| row.operations.serves(**operation));
    let names: Vec<_> = served.map(|operation| operation.as_str().replace('_', " ")).collect();
    let names = if names.is_empty() { "–".to_owned() } else { names.join(", ") };
    text + &format!(" {names} |\n")
}

fn quirk_row(row: &ProviderRow) -> Option<String> {
    let (usual, own) = (to_json(&Quirks::default()), to_json(&row.quirks));
    let differences = own.as_object()?.iter().filter(|(name, value)| usual[name.as_str()] != **value);
    let words: Vec<String> = differences
        .map(|(name, value)| match value {
            Value::Bool(_) => format!("`{name}`"),
            value => format!("`{name}` = {}", plain(value)),
        })
        .collect();
    let lacks: Vec<&str> = row.lacks.iter().map(Feature::as_str).collect();
    let lacks = (!lacks.is_empty()).then(|| format!("lacks {}", lacks.join(", ")));
    let words: Vec<String> = words.into_iter().chain(lacks).collect();
    (!words.is_empty()).then(|| format!("| `{}` | {} |\n", row.id, words.join("; ")))
}

fn data_row(row: &ProviderRow) -> Option<String> {
    let source = row.data.source.as_ref()?;
    let said = |fact: Option<bool>| fact.map_or("–", |fact| if fact { "yes" } else { "no" });
    let (trains, retains) = (said(row.data.trains), said(row.data.retains));
    let region = row.data.region.as_deref().unwrap_or("–");
    Some(format!("| `{}` | {trains} | {retains} | {region} | <{source}> |\n", row.id))
}

fn to_json(quirks: &Quirks) -> Value {
    serde_json::to_value(quirks).expect("quirks are plain data")
}

fn plain(value: &Value) -> String {
    match value {
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| format!("{name} → {}", plain(value)))
            .collect::<Vec<_>>()
            .join(", "),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn page() -> String {
    let catalog = Catalog::embedded().unwrap_or_else(|errors| panic!("{errors}"));
    let mut text = INTRODUCTION.to_owned();
    text +=
        "\n| id | name | protocol | auth | key | base URL | base URL by |\n|---|---|---|---|---|---|---|\n";
    text.extend(catalog.providers().map(|row| call_row(row)));
    text += FEATURES;
    text.extend(catalog.providers().map(|row| feature_row(&catalog, row)));
    text += QUIRKS;
    text.extend(catalog.providers().filter_map(|row| quirk_row(row)));
    text += DATA;
    text.extend(catalog.providers().filter_map(|row| data_row(row)));
    text += SETTINGS;
    for row in catalog.providers() {
        for (name, setting) in &row.settings {
            let default =
                setting.default.as_deref().unwrap_or(if setting.required { "required" } else { "–" });
            let env = code(&setting.env);
            text += &format!("| `{}` | `{name}` | {env} | {default} | {} |\n", row.id, setting.help);
        }
    }
    text
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a switch of this test, not of the gateway")]
fn providers_page_matches_the_catalog() {
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let written = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(
        written == page,
        "docs/providers.md is out of date; UPDATE_DOCS=1 cargo test -p catalog providers_page rewrites it"
    );
}
