//! Fields that real providers took must not be dropped or refused because of catalog entries.

use std::collections::BTreeSet;

use ::catalog::{Catalog, ProviderRow};
use canon::{Effort, Feature, ModelFacts, ReasoningControl};
use serde_json::Value;
use testkit::corpus::{Record, cases, records};
use wire::Protocol;

/// Folders of recordings, and their providers.
const CHATS: [(&str, &str); 18] = [
    ("azure", "azure"),
    ("cerebras", "cerebras"),
    ("deepseek", "deepseek"),
    ("groq", "groq"),
    ("huggingface", "huggingface"),
    ("litellm-proxy", "litellm"),
    ("llamacpp", "llamacpp"),
    ("mistral", "mistral"),
    ("ollama", "ollama"),
    ("openai", "openai"),
    ("openrouter", "openrouter"),
    ("perplexity", "perplexity"),
    ("snowflake", "snowflake"),
    ("together", "together-ai"),
    ("venice", "venice"),
    ("vllm", "vllm"),
    ("writer", "writer"),
    ("zai", "zai"),
];

/// Accepted with status 200 and without effect, or changed without a change of meaning.
const HARMLESS: [&str; 0] = [];

#[test]
fn no_recorded_field_is_dropped_or_refused() {
    let catalog = Catalog::embedded().unwrap_or_else(|errors| panic!("{errors}"));
    let mut offences = BTreeSet::new();
    let mut counted = 0;
    for (folder, provider) in CHATS {
        let row = catalog.provider(provider).unwrap_or_else(|| panic!("{provider}"));
        for record in records(folder).iter().filter(|record| record.status == 200) {
            let Some(request) = chat_request(record) else { continue };
            counted += 1;
            let facts = facts(&catalog, row, request["model"].as_str().unwrap_or_default());
            for offence in offences_of(row, &facts, request) {
                offences
                    .insert(format!("{provider}/{}: {offence}", request["model"].as_str().unwrap_or("?")));
            }
        }
    }
    eprintln!("{counted} requests");
    testkit::corpus::assert_enough(counted, 800);
    offences.retain(|offence| !HARMLESS.contains(&offence.as_str()));
    assert!(offences.is_empty(), "{offences:#?}");
}

#[test]
fn no_recorded_sampling_parameter_is_rejected() {
    let catalog = Catalog::embedded().unwrap_or_else(|errors| panic!("{errors}"));
    let row = catalog.provider("anthropic").unwrap();
    for record in cases(["anthropic"], |record| record.status == 200 && record.api == "messages") {
        let Some(request) = &record.request else { continue };
        let facts = facts(&catalog, row, &record.model);
        for field in ["temperature", "top_p", "top_k", "stop_sequences"] {
            assert!(request[field].is_null() || !facts.rejects(field), "{}: {field}", record.id);
        }
    }
}

fn chat_request(record: &Record) -> Option<&Value> {
    let request = record.request.as_ref()?;
    (record.api.starts_with("chat") && request["messages"].is_array()).then_some(request)
}

fn facts(catalog: &Catalog, row: &ProviderRow, model: &str) -> ModelFacts {
    let serving = catalog.serving(&row.id, model).or_else(|| catalog.relative(row.protocol, model));
    serving.map(|serving| serving.facts.clone()).unwrap_or_default()
}

fn offences_of(row: &ProviderRow, facts: &ModelFacts, request: &Value) -> Vec<String> {
    let quirks = &row.quirks;
    let mut offences = Vec::new();
    for field in quirks.drop.iter().chain(facts.rejects.iter().filter(|field| *field != "max_tokens")) {
        if !request[field].is_null() && request[field] != *usual_value(field) {
            offences.push(format!("{field} is dropped"));
        }
    }
    for message in request["messages"].as_array().into_iter().flatten() {
        let dropped = quirks.drop_message_fields.iter().filter(|field| !message[*field].is_null());
        offences.extend(dropped.map(|field| format!("messages[].{field} is dropped")));
        if quirks.no_developer_role && message["role"] == "developer" {
            offences.push("the developer role is changed".to_owned());
        }
    }
    for tool in request["tools"].as_array().into_iter().flatten() {
        let dropped = quirks.drop_tool_fields.iter().filter(|field| !tool["function"][*field].is_null());
        offences.extend(dropped.map(|field| format!("tools[].{field} is dropped")));
    }
    offences.extend(changed_formats(row, facts, request));
    offences.extend(refused_features(row, facts, request));
    offences.extend(lost_effort(facts, request));
    offences
}

/// Omitting a field with this value means the same.
fn usual_value(field: &str) -> &'static Value {
    static ONE: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| Value::from(1));
    if matches!(field, "temperature" | "top_p" | "n") { &ONE } else { &Value::Null }
}

fn changed_formats(row: &ProviderRow, facts: &ModelFacts, request: &Value) -> Vec<String> {
    let (quirks, mut offences) = (&row.quirks, Vec::new());
    let format = request["response_format"]["type"].as_str().unwrap_or("text");
    if format == "json_schema" && (quirks.no_json_schema || !facts.allows(Feature::JsonSchema)) {
        offences.push("json_schema is emulated".to_owned());
    }
    if format == "json_object" && !facts.allows(Feature::JsonObject) {
        offences.push("json_object is emulated".to_owned());
    }
    let has_tools = request["tools"].as_array().is_some_and(|tools| !tools.is_empty());
    if format != "text" && has_tools && quirks.no_tools_with_response_format {
        offences.push("the format is emulated beside tools".to_owned());
    }
    let choice = &request["tool_choice"];
    if quirks.no_forced_tool_choice && (choice == "required" || choice == "any" || choice.is_object()) {
        offences.push("a forced tool choice is weakened".to_owned());
    }
    offences
}

fn refused_features(row: &ProviderRow, facts: &ModelFacts, request: &Value) -> Vec<String> {
    let parts = || {
        let messages = request["messages"].as_array().into_iter().flatten();
        messages.flat_map(|message| message["content"].as_array().into_iter().flatten())
    };
    let has_part = |kind: &str| parts().any(|part| part["type"] == kind);
    let needs = [
        (Feature::Tools, request["tools"].as_array().is_some_and(|tools| !tools.is_empty())),
        (Feature::Vision, has_part("image_url")),
        (Feature::Documents, has_part("file") || has_part("document_url")),
        (Feature::AudioInput, has_part("input_audio")),
        (Feature::Video, has_part("video_url")),
        (Feature::MultipleChoices, request["n"].as_u64() > Some(1)),
        (Feature::Logprobs, request["logprobs"] == true),
        (Feature::Streaming, request["stream"] == true),
        (Feature::WebSearch, !request["web_search_options"].is_null()),
    ];
    let mut refused: Vec<String> = needs
        .into_iter()
        .filter(|(feature, needed)| *needed && !facts.allows(*feature))
        .map(|(feature, _)| format!("{} is refused", feature.as_str()))
        .collect();
    if row.quirks.single_choice && request["n"].as_u64() > Some(1) {
        refused.push("n is refused".to_owned());
    }
    refused
}

fn lost_effort(facts: &ModelFacts, request: &Value) -> Option<String> {
    let effort = Effort::parse(request["reasoning_effort"].as_str()?)?;
    let levels: &[Effort] = match facts.reasoning.as_ref()? {
        ReasoningControl::Effort { levels }
        | ReasoningControl::Toggle { levels, .. }
        | ReasoningControl::Object { levels } => levels,
        ReasoningControl::None | ReasoningControl::Always => &[],
        _ => return None,
    };
    (!levels.contains(&effort)).then(|| format!("effort {} is changed", effort.as_str()))
}

#[test]
fn the_protocol_of_recorded_chats_is_the_usual_one() {
    let catalog = Catalog::embedded().unwrap_or_else(|errors| panic!("{errors}"));
    for (_, provider) in CHATS {
        assert_eq!(catalog.provider(provider).unwrap().protocol, Protocol::OpenaiChat, "{provider}");
    }
}
