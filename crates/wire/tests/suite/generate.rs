//! Random canonical requests in the normal form that dialects decode to.

use canon::{
    CacheMark, Effort, Json, Media, MediaKind, Message, OutputFormat, Part, PartKind, Reasoning,
    ReasoningRequest, Request, Role, Sampling, Source, Tool, ToolCall, ToolChoice, ToolKind, ToolResult,
};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use serde_json::{Value, json};

/// What a request may contain beyond text, images and function calls.
#[derive(Clone, Copy)]
pub struct Extent {
    /// What only OpenAI's own format can say: custom tools, names, log probabilities, broken arguments …
    pub everything: bool,
}

/// Words that are not blank, with what needs escaping.
pub fn words() -> impl Strategy<Value = String> {
    "[a-zé\"\\\\{}\n😀]{0,6}[a-z]"
}

fn cache(extent: Extent) -> BoxedStrategy<Option<CacheMark>> {
    match extent.everything {
        true => of(prop_oneof![Just(None), Just(Some(300)), Just(Some(3600))])
            .prop_map(|mark| mark.map(|ttl_seconds| CacheMark { ttl_seconds }))
            .boxed(),
        false => Just(None).boxed(),
    }
}

fn text(extent: Extent) -> impl Strategy<Value = Part> {
    (words(), cache(extent)).prop_map(|(text, cache)| Part { cache, ..Part::text(text) })
}

fn media(extent: Extent) -> impl Strategy<Value = Part> {
    let media = |kind, source| Media { kind, source, filename: None, detail: None };
    let inline = |mime: &str| Source::Base64 { mime: mime.to_owned(), data: "AAAA".to_owned() };
    let image = media(MediaKind::Image, inline("image/png"));
    let document = |source| Media { filename: Some("a.pdf".into()), ..media(MediaKind::Document, source) };
    let everything = vec![
        image.clone(),
        Media {
            detail: Some("low".into()),
            ..media(MediaKind::Image, Source::Url("https://x.test/a.png".into()))
        },
        media(MediaKind::Audio, inline("audio/wav")),
        media(MediaKind::Audio, inline("audio/mp3")),
        media(MediaKind::Audio, inline("audio/flac")),
        document(inline("application/pdf")),
        document(Source::Url("https://x.test/a.pdf".into())),
        media(MediaKind::Document, Source::FileId("file_1".into())),
        media(MediaKind::Video, Source::Url("https://x.test/a.mp4".into())),
    ];
    let choices = if extent.everything { everything } else { vec![image] };
    (prop::sample::select(choices), cache(extent))
        .prop_map(|(media, cache)| Part { cache, ..Part::new(PartKind::Media(media)) })
}

/// A small JSON value.
pub fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9_f64).prop_map(Value::from),
        words().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((words(), inner), 0..4).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = String> {
    vec(("[a-z]{1,4}", json_value()), 0..3)
        .prop_map(|fields| Value::Object(fields.into_iter().collect()).to_string())
}

fn call(extent: Extent) -> BoxedStrategy<Part> {
    let function = object().prop_map(|arguments| ("f".to_owned(), arguments, false)).boxed();
    let odd = prop_oneof![
        function.clone(),
        words().prop_map(|broken| ("f".to_owned(), broken, false)),
        words().prop_map(|text| ("free".to_owned(), text, true)),
    ];
    let called = if extent.everything { odd.boxed() } else { function };
    let signature = if extent.everything { of(words()).boxed() } else { Just(None).boxed() };
    (called, signature)
        .prop_map(|((name, arguments, custom), signature)| {
            let call = ToolCall { id: String::new(), name, arguments, custom };
            Part { signature, ..Part::new(PartKind::ToolCall(call)) }
        })
        .boxed()
}

/// Thinking: one block of text alone, or blocks that each have a proof.
fn thoughts(extent: Extent) -> BoxedStrategy<Vec<Part>> {
    if !extent.everything {
        return Just(Vec::new()).boxed();
    }
    let plain = words()
        .prop_map(|text| vec![Part::new(PartKind::Reasoning(Reasoning { text, ..Reasoning::default() }))]);
    let proven = (words(), any::<bool>(), of(words())).prop_map(|(text, is_hidden, id)| {
        let format = Some("anthropic-claude-v1".to_owned());
        let (shown, hidden) = if is_hidden { (String::new(), Some(text)) } else { (text, None) };
        let signature = (!is_hidden).then(|| "proof".to_owned());
        let reasoning = Reasoning { text: shown, encrypted: hidden, format, id, extra: None };
        Part { signature, ..Part::new(PartKind::Reasoning(reasoning)) }
    });
    prop_oneof![Just(Vec::new()), plain, vec(proven, 1..3)].boxed()
}

fn name(extent: Extent) -> BoxedStrategy<Option<String>> {
    if extent.everything { of("[a-z]{1,4}").boxed() } else { Just(None).boxed() }
}

/// A user's message, the model's answer with calls, and a result for each call.
fn turn(extent: Extent) -> impl Strategy<Value = Vec<Message>> {
    let said = vec(prop_oneof![3 => text(extent).boxed(), 1 => media(extent).boxed()], 1..3);
    let answered = (thoughts(extent), vec(text(extent), 1..3), vec(call(extent), 0..3));
    let results = vec((vec(text(extent), 1..3), cache(extent)), 3);
    (said, name(extent), answered, results).prop_map(|(said, name, (mut parts, texts, calls), results)| {
        let mut messages = vec![Message { role: Role::User, name, parts: said }];
        parts.extend(texts);
        parts.extend(calls);
        messages.push(Message::new(Role::Assistant, parts));
        messages.extend(results.into_iter().map(|(content, cache)| {
            let result = ToolResult { call_id: String::new(), content, is_error: false };
            Message::new(Role::Tool, vec![Part { cache, ..Part::new(PartKind::ToolResult(result)) }])
        }));
        messages
    })
}

/// Numbers the calls through the conversation, and leaves as many results as there are calls. A mark within a result
/// belongs to the whole result.
fn tie(turns: Vec<Vec<Message>>) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut number = 0;
    for turn in turns {
        let mut waiting = Vec::new();
        for mut message in turn {
            if message.role == Role::Tool && waiting.is_empty() {
                continue;
            }
            for part in &mut message.parts {
                match &mut part.kind {
                    PartKind::ToolCall(call) => {
                        number += 1;
                        call.id = format!("call_{number}");
                        waiting.push(call.id.clone());
                    }
                    PartKind::ToolResult(result) => {
                        result.call_id = waiting.remove(0);
                        result.content.iter_mut().for_each(|part| part.cache = None);
                    }
                    _ => {}
                }
            }
            messages.push(message);
        }
    }
    messages
}

fn conversation(extent: Extent) -> impl Strategy<Value = Vec<Message>> {
    let role = if extent.everything {
        prop_oneof![Just(Role::System), Just(Role::Developer)].boxed()
    } else {
        Just(Role::System).boxed()
    };
    let system = of((role, vec(text(extent), 1..3)));
    (system, vec(turn(extent), 0..3), vec(text(extent), 1..3)).prop_map(|(system, turns, last)| {
        let mut messages: Vec<_> =
            system.into_iter().map(|(role, parts)| Message::new(role, parts)).collect();
        messages.extend(tie(turns));
        messages.push(Message::new(Role::User, last));
        messages
    })
}

fn tools(extent: Extent) -> impl Strategy<Value = Vec<Tool>> {
    let schema = prop_oneof![
        Just(json!({"type": "object", "properties": {}})),
        Just(json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]})),
    ];
    let strict = if extent.everything { of(any::<bool>()).boxed() } else { Just(None).boxed() };
    let function =
        (schema, of(words()), strict, cache(extent)).prop_map(|(schema, description, strict, cache)| {
            let kind = ToolKind::Function { parameters: Some(Json::of(&schema)), strict };
            Tool { name: "f".to_owned(), description, kind, cache }
        });
    let custom = of(Just(json!({"type": "text"}))).prop_map(|format| {
        let kind = ToolKind::Custom { format: format.as_ref().map(Json::from) };
        Tool { name: "free".to_owned(), description: None, kind, cache: None }
    });
    let native = Just(Tool {
        name: "web_search".to_owned(),
        description: None,
        kind: ToolKind::Native(Json::of(&json!({"type": "web_search", "web_search": {"x": 1.5}}))),
        cache: None,
    });
    match extent.everything {
        true => (function, of(custom), of(native))
            .prop_map(|(function, custom, native)| {
                [Some(function), custom, native].into_iter().flatten().collect()
            })
            .boxed(),
        false => vec(function, 1).boxed(),
    }
}

fn tool_choice(extent: Extent) -> BoxedStrategy<Option<ToolChoice>> {
    let simple = vec![None, Some(ToolChoice::Auto), Some(ToolChoice::None), Some(ToolChoice::Required)];
    let names = || vec!["f".to_owned()];
    let more = vec![
        Some(ToolChoice::Named("f".into())),
        Some(ToolChoice::Allowed { names: names(), required: true }),
        Some(ToolChoice::Allowed { names: names(), required: false }),
    ];
    let all = if extent.everything { [simple, more].concat() } else { simple };
    prop::sample::select(all).boxed()
}

fn output() -> impl Strategy<Value = OutputFormat> {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": false});
    prop_oneof![
        3 => Just(OutputFormat::Text),
        1 => Just(OutputFormat::JsonObject),
        1 => of(any::<bool>()).prop_map(move |strict| OutputFormat::JsonSchema {
            name: "answer".to_owned(),
            description: None,
            schema: Some(Json::of(&schema)),
            strict,
        }),
    ]
}

fn thinking() -> impl Strategy<Value = ReasoningRequest> {
    let effort = prop::sample::select(Effort::ALL.to_vec());
    (
        prop_oneof![
            Just((None, None)),
            effort.prop_map(|effort| (Some(effort), None)),
            (1024..4000_u64).prop_map(|budget| (None, Some(budget)))
        ],
        any::<bool>(),
    )
        .prop_map(|((effort, budget_tokens), exclude)| ReasoningRequest {
            effort,
            budget_tokens,
            exclude,
        })
}

fn sampling() -> impl Strategy<Value = Sampling> {
    (
        of(0.0..=1.0_f64),
        of(0.01..=1.0_f64),
        of(1..100_u64),
        of(-2.0..=2.0_f64),
        of(-2.0..=2.0_f64),
        of(any::<i32>()),
    )
        .prop_map(|(temperature, top_p, top_k, frequency_penalty, presence_penalty, seed)| Sampling {
            temperature,
            top_p,
            top_k,
            frequency_penalty,
            presence_penalty,
            seed: seed.map(i64::from),
        })
}

/// Any request of this extent.
pub fn request(extent: Extent) -> impl Strategy<Value = Request> {
    let asked = (conversation(extent), tools(extent), tool_choice(extent), of(any::<bool>()));
    let shape = (output(), thinking(), sampling(), of(5000..100_000_u64), vec(words(), 0..3));
    let form = (any::<bool>(), any::<bool>(), of(words()));
    let extra = of(json_value().prop_filter("nulls say nothing", |value| !value.is_null()));
    let counted = (of(1..4_u32), of(any::<bool>()), of(0..20_u32), extra);
    (asked, shape, form, counted).prop_map(
        move |(
            (messages, tools, tool_choice, parallel_tool_calls),
            (output, reasoning, sampling, max_tokens, stop),
            (stream, include_usage, user),
            (n, logprobs, top_logprobs, extra),
        )| Request {
            model: "m".to_owned(),
            messages,
            tools,
            tool_choice,
            parallel_tool_calls,
            output,
            reasoning,
            max_tokens,
            sampling,
            stop,
            n: n.filter(|_| extent.everything),
            logprobs: logprobs.filter(|_| extent.everything),
            top_logprobs: top_logprobs.filter(|_| extent.everything),
            stream,
            include_usage: stream && include_usage,
            user,
            extra: extra.map(|value| ("x_new".to_owned(), Json::from(&value))).into_iter().collect(),
            ..Request::default()
        },
    )
}
