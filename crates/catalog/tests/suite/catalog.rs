//! The catalog as its users see it: the embedded data, lookups, costs, and error messages.

use std::collections::HashSet;

use ::catalog::{Catalog, PriceList, PriceTier, ProviderRow, Rates};
use canon::{Amount, Effort, Feature, Pico, ReasoningControl, Unit, Usage};
use wire::Protocol;

fn embedded() -> Catalog {
    Catalog::embedded().unwrap_or_else(|errors| panic!("{errors}"))
}

fn files(files: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect::<Vec<_>>().into_iter()
}

fn usd_per_million(price: &str) -> Pico {
    Pico::per_token(price).expect("a price")
}

#[test]
fn every_provider_has_a_name_and_a_variable_for_its_key() {
    for provider in embedded().providers() {
        assert!(!provider.name.is_empty(), "{}", provider.id);
        let customary = !provider.api_key_env.is_empty() || !provider.settings.is_empty();
        assert!(customary || !provider.needs_key, "{}", provider.id);
        let variables = provider.api_key_env.iter().chain(&provider.base_url_env);
        for name in variables.chain(provider.settings.values().flat_map(|setting| &setting.env)) {
            assert!(
                name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_'),
                "{name}"
            );
        }
    }
}

#[test]
fn every_file_is_named_after_its_content() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../catalog/providers");
    let names: HashSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    let ids = embedded().providers().map(|row| row.id.clone()).collect::<HashSet<_>>();
    assert_eq!(names, ids);
}

#[test]
fn every_name_is_unique_and_every_provider_known() {
    let catalog = embedded();
    let mut names = HashSet::new();
    for model in catalog.models() {
        assert!(names.insert(&model.id), "{}", model.id);
        for alias in &model.aliases {
            assert!(names.insert(alias), "{alias}");
        }
        for serving in &model.servings {
            assert!(catalog.provider(&serving.provider).is_some(), "{}", serving.provider);
            assert!(catalog.serving(&serving.provider, &model.id).is_some());
            assert_eq!(serving.free, serving.price.as_ref().is_some_and(PriceList::is_free), "{}", model.id);
        }
    }
}

#[test]
fn variables_of_base_urls_are_settings() {
    for provider in embedded().providers() {
        let url = provider.base_url.clone().unwrap_or_default();
        for variable in url.split('{').skip(1).filter_map(|rest| rest.split_once('}')) {
            assert!(provider.settings.contains_key(variable.0), "{}: {}", provider.id, variable.0);
        }
    }
}

#[test]
fn a_setting_of_the_base_url_is_needed_only_without_an_own_base_url() {
    let catalog = embedded();
    let azure = catalog.provider("azure").unwrap();
    assert!(azure.needs_setting("resource", false) && !azure.needs_setting("resource", true));
    assert!(catalog.provider("google-vertex").unwrap().needs_setting("project", true));
}

#[test]
fn a_serving_is_gone_from_its_date_on() {
    let catalog = embedded();
    let serving = catalog.serving("anthropic", "claude-3-opus").unwrap();
    assert!(!serving.is_gone("2026-01-04") && serving.is_gone("2026-01-05"));
}

#[test]
fn a_cost_is_exact_in_every_bucket() {
    let list = PriceList {
        rates: Rates {
            input: usd_per_million("3"),
            output: usd_per_million("15"),
            cache_read: Some(usd_per_million("0.3")),
            cache_write: Some(usd_per_million("3.75")),
            cache_write_1h: Some(usd_per_million("6")),
            ..Rates::default()
        },
        request: Some("0.005".parse().unwrap()),
        web_search: Some("0.01".parse().unwrap()),
        tiers: vec![PriceTier {
            above_prompt_tokens: 200_000,
            rates: Rates { input: usd_per_million("6"), output: usd_per_million("22.5"), ..Rates::default() },
        }],
        service_tiers: [(
            "batch".to_owned(),
            PriceList {
                rates: Rates {
                    input: usd_per_million("1.5"),
                    output: usd_per_million("7.5"),
                    ..Rates::default()
                },
                ..PriceList::default()
            },
        )]
        .into(),
        ..PriceList::default()
    };
    let usage = |input, cache_read, cache_write, cache_write_1h, output| Usage {
        input,
        cache_read,
        cache_write,
        cache_write_1h,
        output,
        ..Usage::default()
    };
    let cases = [
        ("plain", usage(1000, 0, 0, 0, 100), None, "0.0045", "0"),
        ("cached", usage(7, 93, 0, 0, 1), None, "0.0000639", "0.0000279"),
        ("writes", usage(0, 0, 1000, 1000, 0), None, "0.00975", "0"),
        ("edge of the tier", usage(200_000, 0, 0, 0, 0), None, "0.6", "0"),
        ("cached tokens count for the tier", usage(1, 200_000, 0, 0, 2), None, "1.200051", "1.2"),
        ("batch", usage(1000, 10, 0, 0, 100), Some("batch"), "0.002265", "0.000015"),
        ("the usual tier", usage(1000, 0, 0, 0, 100), Some("standard"), "0.0045", "0"),
        ("in capitals", usage(1000, 0, 0, 0, 100), Some("DEFAULT"), "0.0045", "0"),
    ];
    for (name, usage, tier, expected, cached) in cases {
        let cost = list.cost(&usage, tier).unwrap();
        assert_eq!((cost.input + cost.output).to_string(), expected, "{name}");
        assert_eq!(cost.cached_input.to_string(), cached, "{name}");
        assert_eq!(cost.total, cost.input + cost.output + cost.other, "{name}");
    }
    let searched = Usage { web_searches: 3, ..Usage::default() };
    assert_eq!(list.cost(&searched, None).unwrap().other.to_string(), "0.035");
    assert_eq!(list.expected(1000, 400, 10, None).unwrap().to_string(), "0.00707");
    assert_eq!(list.expected(1000, 0, 0, Some("batch")).unwrap().to_string(), "0.0065");
    for unknown in ["priority", "scale", "provisioned"] {
        assert_eq!(list.cost(&searched, Some(unknown)), None, "{unknown}: not the usual price");
        assert_eq!(list.tier_asked(Some(unknown)), Some(unknown));
        assert_eq!(PriceList::default().tier_asked(Some(unknown)), None, "a provider without tiers");
    }
}

#[test]
fn buckets_without_a_price_use_their_fallback() {
    let list = PriceList {
        rates: Rates { input: Pico(7), output: Pico(11), ..Rates::default() },
        ..PriceList::default()
    };
    let usage = Usage {
        input: 1,
        cache_read: 1,
        cache_write: 1,
        cache_write_1h: 1,
        audio_input: 1,
        output: 1,
        audio_output: 1,
        image_output: 1,
        ..Usage::default()
    };
    let cost = list.cost(&usage, None).unwrap();
    assert_eq!((cost.input, cost.output, cost.cached_input), (Pico(35), Pico(33), Pico(7)));
}

#[test]
fn models_are_found_by_all_their_names() {
    let catalog = embedded();
    let cases = [
        ("openai", "gpt-4o-mini", "gpt-4o-mini", "gpt-4o-mini"),
        ("openai", "gpt-4o-2024-08-06", "gpt-4o", "gpt-4o-2024-08-06"),
        ("anthropic", "claude-sonnet-4-5", "claude-sonnet-4-5", "claude-sonnet-4-5"),
        ("anthropic", "claude-sonnet-4-5-20250929", "claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
        ("google-ai-studio", "gemini-2.5-flash", "gemini-2.5-flash", "gemini-2.5-flash"),
        ("demo", "echo", "echo", "echo"),
        ("anthropic", "claude-3-5-sonnet-20241022", "claude-3-5-sonnet", "claude-3-5-sonnet-20241022"),
        ("anthropic", "claude-3-opus", "claude-3-opus", "claude-3-opus-20240229"),
        ("openai", "gpt-4", "gpt-4", "gpt-4"),
        ("openai", "gpt-3.5-turbo", "gpt-3.5-turbo", "gpt-3.5-turbo"),
        ("google-ai-studio", "gemini-2.0-flash-001", "gemini-2.0-flash", "gemini-2.0-flash-001"),
        ("deepseek", "deepseek-v3", "deepseek-v3", "deepseek-chat"),
        ("groq", "llama-3.3-70b", "llama-3.3-70b-instruct", "llama-3.3-70b-versatile"),
        ("groq", "llama-3.3-70b-versatile", "llama-3.3-70b-instruct", "llama-3.3-70b-versatile"),
        (
            "aws-bedrock",
            "claude-3-5-sonnet-20241022",
            "claude-3-5-sonnet",
            "anthropic.claude-3-5-sonnet-20241022-v2:0",
        ),
        (
            "aws-bedrock",
            "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "claude-sonnet-4-5",
            "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        ("xai", "grok-4-0709", "grok-4", "grok-4-0709"),
    ];
    for (provider, name, model, upstream) in cases {
        let serving = catalog.serving(provider, name).unwrap_or_else(|| panic!("{provider}/{name}"));
        assert_eq!((serving.model.as_str(), serving.upstream_id.as_str()), (model, upstream));
        assert!(catalog.model(name).is_some(), "{name}");
    }
    assert!(catalog.serving("openai", "no-such-model").is_none());
    assert!(catalog.serving("no-such-provider", "gpt-4o").is_none());
    assert!(catalog.serving("anthropic", "gpt-4o").is_none());
}

#[test]
fn a_bare_name_finds_only_providers_with_exactly_that_name() {
    let catalog = embedded();
    let providers = |name: &str| -> Vec<String> {
        let model = catalog.model(name).unwrap_or_else(|| panic!("{name}"));
        model.servings.iter().map(|serving| serving.provider.clone()).collect()
    };
    assert!(providers("claude-sonnet-4-5-20250929").contains(&"aws-bedrock".to_owned()), "an alias");
    assert_eq!(providers("gpt-4o-2024-08-06"), ["openai", "azure"], "a snapshot");
    assert_eq!(providers("llama-3.3-70b-versatile"), ["groq"], "a provider's own id");
    let regional = catalog.model("us.anthropic.claude-sonnet-4-5-20250929-v1:0").unwrap();
    assert_eq!(regional.servings[0].price.as_ref().unwrap().rates.input, usd_per_million("3.3"));
    let mut once = providers("claude-sonnet-4-5");
    once.sort();
    once.dedup();
    assert_eq!(once.len(), providers("claude-sonnet-4-5").len(), "each provider is listed once");
}

#[test]
fn unknown_ids_take_facts_from_known_relatives() {
    let catalog = embedded();
    let cases = [
        (Protocol::OpenaiChat, "gpt-4o-2025-12-31", Some("gpt-4o")),
        (Protocol::OpenaiChat, "openai/gpt-4o-mini-latest", Some("gpt-4o-mini")),
        (Protocol::AnthropicMessages, "claude-sonnet-4-5@20250929", Some("claude-sonnet-4-5")),
        (Protocol::AnthropicMessages, "anthropic/claude-sonnet-4.5", Some("claude-sonnet-4-5")),
        (Protocol::Gemini, "models/gemini-2.5-flash-preview-09-2025", Some("gemini-2.5-flash")),
        (
            Protocol::BedrockConverse,
            "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-haiku-4-5-20260101-v1:0",
            Some("claude-haiku-4-5"),
        ),
        (Protocol::BedrockConverse, "jp.amazon.nova-pro-v1:0", Some("nova-pro")),
        (Protocol::AnthropicMessages, "claude-3-opus-20240229-v2", None),
        (Protocol::AnthropicMessages, "claude-3-5-haiku-20991231", Some("claude-3-5-haiku")),
        (Protocol::Gemini, "gemini-2.0-flash-exp", Some("gemini-2.0-flash")),
        (Protocol::OpenaiChat, "grok-4-1212", Some("grok-4")),
        (Protocol::OpenaiChat, "meta-llama/Llama-3.3-70B-Instruct", Some("llama-3.3-70b-instruct")),
        (Protocol::OpenaiChat, "my-own-model", None),
        (Protocol::OllamaChat, "gpt-4o", None),
    ];
    for (protocol, name, expected) in cases {
        let found = catalog.relative(protocol, name).map(|serving| serving.model.as_str());
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn a_relative_has_the_features_of_all_hosts() {
    let catalog = embedded();
    let host = &catalog.serving("groq", "llama-3.3-70b-versatile").unwrap().facts;
    let relative = catalog.relative(Protocol::OpenaiChat, "hosted/llama-3.3-70b-instruct").unwrap();
    assert!(!host.allows(Feature::Logprobs) && relative.facts.allows(Feature::Logprobs));
}

#[test]
fn similar_names_are_suggested() {
    let catalog = embedded();
    assert_eq!(catalog.nearest_providers("antropic", 1), ["anthropic"]);
    assert_eq!(catalog.nearest_models("gpt-4o-mni", 1), ["gpt-4o-mini"]);
}

#[test]
fn all_mistakes_are_reported_at_once_with_path_and_suggestion() {
    let provider = r#"
        id = "acme"
        base_uri = "https://acme.example/v1"
        protocol = "openai-chats"
        api_key_env = ["ACME_API_KEY"]
        priority = 101
        [quirks]
        no_developer_rolle = true
        max_tokens_field = "tokens"
    "#;
    let models = r#"
        family = "acme"
        [[models]]
        id = "one"
        name = "One"
        aliases = ["two"]
        features = ["tool", "vision"]
        released = "last week"
        [[models.providers]]
        provider = "acmee"
        price = { input = 0.15, output = "1e-6", cached = "1" }
        [[models]]
        id = "two"
        name = "Two"
        [[models.providers]]
        provider = "acme"
        price = { input = "0", output = "0" }
        [[models]]
        id = "three"
        name = "Three"
    "#;
    let errors = Catalog::parse(files(&[
        ("providers/acme.toml", provider),
        ("models/acme.toml", models),
        ("models/broken.toml", "family ="),
        ("readme.toml", ""),
    ]))
    .unwrap_err();
    let text = errors.to_string();
    for expected in [
        "providers/acme.toml: name: is missing",
        "providers/acme.toml: base_uri: unknown key; did you mean `base_url`?",
        "providers/acme.toml: protocol: must be one of \"openai-chat\",",
        "providers/acme.toml: priority: must be between 0 and 100",
        "providers/acme.toml: quirks.no_developer_rolle: unknown quirk; did you mean `no_developer_role`?",
        "providers/acme.toml: quirks.max_tokens_field: must be one of \"as_sent\", \"max_tokens\",",
        "models/acme.toml: models[0].features: unknown feature \"tool\"; did you mean `tools`?",
        "models/acme.toml: models[0].released: \"last week\" is not a date",
        "models/acme.toml: models[0].providers[0].price.input: 0.15 is not a price",
        "models/acme.toml: models[0].providers[0].price.output: \"1e-6\" is not a price",
        "models/acme.toml: models[0].providers[0].price.cached: unknown key",
        "models/acme.toml: models[1].providers[0].price: is zero: write `free = true`",
        "models/acme.toml: models[2].providers: is missing",
        "models/acme.toml: one: provider \"acmee\" is unknown; did you mean `acme`?",
        "models/acme.toml: one: alias \"two\" also names the model \"two\"",
        "models/broken.toml: ",
        "readme.toml: catalog files live in a folder",
    ] {
        assert!(text.contains(expected), "{expected}\n--- in ---\n{text}");
    }
}

#[test]
fn an_overlay_replaces_and_adds_rows() {
    let overlay = r#"
        family = "own"
        [[models]]
        id = "gpt-4o-mini"
        name = "Ours"
        [[models.providers]]
        provider = "openai"
        price = { input = "0.1", output = "0.2" }
        [[models]]
        id = "brand-new"
        name = "New"
        [[models.providers]]
        provider = "anthropic"
        id = "claude-brand-new"
    "#;
    let catalog = embedded().overlay(files(&[("own/models/own.toml", overlay)])).unwrap();
    let serving = catalog.serving("openai", "gpt-4o-mini").unwrap();
    assert_eq!(serving.price.as_ref().unwrap().rates.input, usd_per_million("0.1"));
    assert_eq!(catalog.serving("anthropic", "brand-new").unwrap().upstream_id, "claude-brand-new");
    assert!(catalog.model("gpt-4o").is_some());
}

#[test]
fn an_operator_describes_models_of_a_provider() {
    let mut catalog = embedded();
    let own = ProviderRow::new("mine", Protocol::OpenaiChat);
    catalog.add_provider(own);
    let models: toml::Table = r#"
        "qwen3:32b" = { context_tokens = 40960, features = ["tools"], price = { input = "0.1", output = "0.25" } }
        "served-4o" = { model = "gpt-4o", free = true }
        "gpt-4o-mini" = { context_tokens = 8192 }
    "#
    .parse()
    .unwrap();
    assert_eq!(catalog.describe("mine", &models, "providers.mine.models"), []);
    let new = catalog.serving("mine", "qwen3:32b").unwrap();
    assert_eq!((new.facts.context_tokens, new.upstream_id.as_str()), (Some(40960), "qwen3:32b"));
    assert_eq!(new.price.as_ref().unwrap().rates.output, usd_per_million("0.25"));
    assert_eq!(catalog.model("qwen3:32b").unwrap().servings[0].provider, "mine");
    // It is one of the model's providers, with the facts of the model and without prices of other providers.
    let served = |model: &str| catalog.model(model).unwrap().servings.iter().any(|it| it.provider == "mine");
    assert!(served("gpt-4o") && served("gpt-4o-mini"));
    let same = catalog.serving("mine", "served-4o").unwrap();
    assert!(same.free && same.facts == catalog.serving("openai", "gpt-4o").unwrap().facts);
    let unpriced = catalog.serving("mine", "gpt-4o-mini").unwrap();
    assert_eq!((unpriced.price.as_ref(), unpriced.facts.context_tokens), (None, Some(8192)));
    assert!(!catalog.has_servings("mine"), "the provider is still asked for the rest");
}

#[test]
fn an_operators_description_is_merged_over_a_known_model() {
    let mut catalog = embedded();
    let before = catalog.serving("openai", "gpt-4o").unwrap().clone();
    let models: toml::Table = r#"
        "gpt-4o" = { price = { input = "1", output = "2" } }
        "gpt-4o-2024-08-06" = { price = { input = "3", output = "4" } }
        "ft:gpt-4o:acme" = { model = "gpt-4o", price = { input = "5", output = "6" } }
    "#
    .parse()
    .unwrap();
    assert_eq!(catalog.describe("openai", &models, "providers.openai.models"), []);
    for (name, input) in [("gpt-4o", "1"), ("gpt-4o-2024-08-06", "3"), ("ft:gpt-4o:acme", "5")] {
        let serving = catalog.serving("openai", name).unwrap();
        assert_eq!(serving.price.as_ref().unwrap().rates.input, usd_per_million(input), "{name}");
        assert_eq!((&serving.facts, serving.upstream_id.as_str()), (&before.facts, name));
    }
    assert_eq!(catalog.model("gpt-4o").unwrap().servings[0].provider, "openai", "the order is unchanged");
}

#[test]
fn mistakes_of_an_operators_description_have_paths() {
    let mut catalog = embedded();
    let models: toml::Table = r#"
        plain = 1
        "a.b" = { context_token = 1, features = ["tool"], price = { input = 0.1, output = "1" } }
        other = { model = "gpt-4oo", free = false, price = { input = "0", output = "0" } }
        "gpt-4o" = { model = "gpt-4o" }
    "#
    .parse()
    .unwrap();
    let mistakes = catalog.describe("openai", &models, "p");
    let text =
        mistakes.iter().map(|it| format!("{}: {}", it.path, it.message)).collect::<Vec<_>>().join("\n");
    for expected in [
        "p.plain: must be a table",
        "p.a.b.context_token: unknown key; did you mean `context_tokens`?",
        "p.a.b.features: unknown feature \"tool\"; did you mean `tools`?",
        "p.a.b.price.input: 0.1 is not a price",
        "p.other.model: the catalog has no model \"gpt-4oo\"; did you mean",
        "p.other.price: is zero",
        "p.gpt-4o.model: has no effect",
    ] {
        assert!(text.contains(expected), "{expected}\n--- in ---\n{text}");
    }
}

/// `rejects_thinking` applies only to models that are known to think or not.
#[test]
fn rejects_thinking_is_set_only_for_models_that_think() {
    let catalog = embedded();
    let mut found = 0;
    for serving in catalog.models().flat_map(|model| &model.servings) {
        let facts = &serving.facts;
        if facts.rejects_thinking.is_empty() {
            continue;
        }
        found += 1;
        let place = format!("{} at {}", serving.model, serving.provider);
        assert!(!matches!(facts.reasoning, None | Some(ReasoningControl::None)), "{place}");
        let twice = facts.rejects_thinking.iter().find(|field| facts.rejects(field));
        assert_eq!(twice, None, "{place}: it is refused always");
    }
    assert!(found > 30, "{found}");
}

/// The parameter table of OpenAI's API reference, and the errors that `catalog/models/gpt-5.toml` names.
#[test]
fn openais_reasoning_models_refuse_what_their_api_refuses() {
    let catalog = embedded();
    let always = |model: &str, field: &str| catalog.serving("openai", model).unwrap().facts.rejects(field);
    let thinking = |model: &str, field: &str| {
        let refused = &catalog.serving("openai", model).unwrap().facts.rejects_thinking;
        always(model, field) || refused.iter().any(|own| own == field)
    };
    for model in ["o3", "o4-mini", "gpt-5", "gpt-5-mini", "gpt-5-nano"] {
        for field in ["max_tokens", "temperature", "top_p", "logit_bias", "presence_penalty", "stop"] {
            assert!(always(model, field), "{model} {field}");
        }
    }
    assert!(!always("o1", "stop"), "refused by the latest reasoning models only");
    for model in ["gpt-5.1", "gpt-5.2", "gpt-5.4"] {
        for field in ["temperature", "top_p", "logprobs", "top_logprobs", "logit_bias", "stop"] {
            assert!(thinking(model, field), "{model} {field}");
        }
        assert!(always(model, "max_tokens") && !always(model, "temperature"), "{model} with effort none");
    }
}

/// Bedrock's Converse takes pictures in tool results for Claude and Nova only (its table of model features).
#[test]
fn only_claude_and_nova_take_pictures_in_results_at_bedrock() {
    let catalog = embedded();
    let mut found = [0, 0];
    for serving in catalog.models().flat_map(|model| &model.servings) {
        if serving.provider != "aws-bedrock"
            || !serving.facts.features.is_some_and(|has| has.has(Feature::Vision))
        {
            continue;
        }
        let takes = ["claude", "nova"].iter().any(|family| serving.model.contains(family));
        found[usize::from(takes)] += 1;
        assert_eq!(serving.facts.no_media_in_results, !takes, "{}", serving.model);
    }
    assert!(found.iter().all(|count| *count > 3), "{found:?}");
}

#[test]
fn each_unit_has_its_own_price() {
    let (catalog, file) = (embedded(), |price: &str| {
        format!(
            "family = \"f\"\n[[models]]\nid = \"r\"\nname = \"R\"\noperations = [\"rerank\"]\n[[models.providers]]\nprovider = \"openai\"\nprice = {price}\n"
        )
    });
    let load = |price: &str| catalog.clone().overlay([("models/f.toml".to_owned(), file(price))].into_iter());
    let known = load(r#"{ units = { search_unit = "0.002", second = "0.0001" } }"#).unwrap();
    let price = known.serving("openai", "r").unwrap().price.clone().unwrap();
    let cost = |unit, count| price.cost_of(Amount { unit, count }, &Usage::default(), None);
    assert_eq!(cost(Unit::SearchUnit, 3).unwrap().total.to_string(), "0.006");
    assert_eq!(cost(Unit::Millisecond, 1500).unwrap().total.to_string(), "0.00015");
    assert_eq!(cost(Unit::Image, 1), None, "a unit without a price is unknown, not free");
    for (price, words) in [
        (r#"{ units = { query = "1" } }"#, "is not a unit"),
        (r#"{ units = { image = 1 } }"#, "is not an amount"),
        (r#"{ units = { second = "0.0000000001" } }"#, "more digits"),
    ] {
        let error = load(price).unwrap_err().to_string();
        assert!(error.contains(words), "{price}: {error}");
    }
}

/// Codex and pro models are called only by the Responses API, at a known price and with their levels of
/// thinking.
#[test]
fn models_served_only_by_the_responses_api_are_marked() {
    let catalog = Catalog::embedded().unwrap();
    for (model, input, strongest) in [
        ("gpt-5-pro", "15", Effort::High),
        ("gpt-5.2-pro", "21", Effort::Xhigh),
        ("gpt-5.3-codex", "1.75", Effort::Xhigh),
        ("gpt-5.4-pro", "30", Effort::Xhigh),
        ("gpt-5.5-pro", "30", Effort::Xhigh),
        ("o3-pro", "20", Effort::High),
    ] {
        let serving = catalog.serving("openai", model).unwrap();
        assert!(serving.facts.responses_only, "{model}");
        let rates = serving.price.as_ref().unwrap().rates_for(1000, None).unwrap();
        assert_eq!(rates.input, usd_per_million(input), "{model}");
        let Some(ReasoningControl::Effort { levels }) = &serving.facts.reasoning else {
            panic!("{model}: {:?}", serving.facts.reasoning)
        };
        assert_eq!(levels.last(), Some(&strongest), "{model}");
        let quirks = &catalog.provider("openai").unwrap().quirks;
        assert!(quirks.serves_by_responses_only(model), "{model}");
    }
    let azure = catalog.serving("azure", "gpt-5.2-codex").unwrap();
    assert!(
        azure.facts.responses_only && !catalog.serving("openai", "gpt-5.4").unwrap().facts.responses_only
    );
}
