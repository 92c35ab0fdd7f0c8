//! Random canonical requests in the normal form that dialects decode to.

use canon::{
    CacheMark, Effort, Json, Media, MediaKind, Message, OutputFormat, Part, PartKind, Place, Reasoning,
    ReasoningRequest, Request, Role, Sampling, Source, Tool, ToolCall, ToolChoice, ToolKind, ToolResult,
};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

/// What a request may contain.
#[derive(Clone, Copy)]
pub struct Extent {
    /// Also what OpenAI's format cannot express: failed tools, text files, thinking with any proof, an effort
    /// and a budget …
    pub beyond_openai: bool,
}

/// Texts that are not blank, with characters that need escaping.
pub fn words() -> impl Strategy<Value = String> {
    "[a-zé\"\\\\{}\n😀]{0,6}[a-z]"
}

fn cache() -> impl Strategy<Value = Option<CacheMark>> {
    let marked = select(vec![None, Some(300), Some(3600)]).prop_map(|ttl_seconds| CacheMark { ttl_seconds });
    prop_oneof![4 => Just(None), 1 => marked.prop_map(Some)]
}

fn text() -> impl Strategy<Value = Part> {
    (words(), cache()).prop_map(|(text, cache)| Part { cache, ..Part::text(text) })
}

fn media(extent: Extent) -> impl Strategy<Value = Part> {
    let media = |kind, source| Media { kind, source, filename: None, detail: None };
    let inline = |mime: &str| Source::Base64 { mime: mime.to_owned(), data: "AAAA".to_owned() };
    let image = media(MediaKind::Image, inline("image/png"));
    let by_url = media(MediaKind::Image, Source::Url("https://x.test/a.png".into()));
    let document = |source| Media { filename: Some("a.pdf".into()), ..media(MediaKind::Document, source) };
    let mut choices = vec![
        image.clone(),
        Media { detail: Some("low".into()), ..image },
        Media { detail: Some("auto".into()), ..by_url },
        media(MediaKind::Audio, inline("audio/wav")),
        media(MediaKind::Audio, inline("audio/mp3")),
        media(MediaKind::Audio, inline("audio/flac")),
        document(inline("application/pdf")),
        media(MediaKind::Document, inline("application/pdf")),
        document(Source::Url("https://x.test/a.pdf".into())),
        media(MediaKind::Document, Source::FileId("file_1".into())),
        document(Source::FileId("file_2".into())),
        media(MediaKind::Video, Source::Url("https://x.test/a.mp4".into())),
        Media { detail: Some("low".into()), ..media(MediaKind::Video, inline("video/mp4")) },
    ];
    if extent.beyond_openai {
        choices.extend([
            document(Source::Text("plain".into())),
            media(MediaKind::Document, Source::Text("plain".into())),
            media(MediaKind::Image, Source::FileId("file_3".into())),
            media(MediaKind::Video, Source::Url("gs://bucket/a.mp4".into())),
            media(MediaKind::Image, Source::Url("s3://bucket/a.png".into())),
        ]);
    }
    (select(choices), cache()).prop_map(|(media, cache)| Part { cache, ..Part::new(PartKind::from(media)) })
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

/// Calls of functions (one has a name that few providers accept, one has broken arguments) and of a free-text
/// tool.
fn call() -> impl Strategy<Value = Part> {
    let called = prop_oneof![
        4 => object().prop_map(|arguments| ("f", arguments, false)),
        2 => object().prop_map(|arguments| ("look up!", arguments, false)),
        1 => words().prop_map(|broken| ("f", broken, false)),
        1 => select(vec!["", "[1]", "null", "7"]).prop_map(|odd| ("f", odd.to_owned(), false)),
        1 => words().prop_map(|text| ("free", text, true)),
    ];
    (called, prop_oneof![3 => Just(None), 1 => words().prop_map(Some)]).prop_map(
        |((name, arguments, custom), signature)| {
            let call = ToolCall { id: "".into(), name: name.into(), arguments: arguments.into(), custom };
            Part { signature: signature.map(Into::into), ..Part::new(PartKind::from(call)) }
        },
    )
}

fn thought(reasoning: Reasoning, signature: Option<&str>) -> Part {
    Part { signature: signature.map(Into::into), ..Part::new(PartKind::from(reasoning)) }
}

/// Thinking: one block of text alone, or blocks that each have a proof. Other formats allow any mixture.
fn thoughts(extent: Extent) -> BoxedStrategy<Vec<Part>> {
    let plain = || words().prop_map(|text| thought(Reasoning { text, ..Reasoning::default() }, None));
    let formats = vec!["anthropic-claude-v1", "google-gemini-v1", "openai-responses-v1"];
    let proven =
        (words(), any::<bool>(), of(words()), select(formats)).prop_map(|(text, is_hidden, id, format)| {
            let format = Some(format.to_owned());
            if is_hidden {
                thought(Reasoning { encrypted: Some(text), format, id, ..Reasoning::default() }, None)
            } else {
                thought(Reasoning { text, format, id, ..Reasoning::default() }, Some("proof"))
            }
        });
    if !extent.beyond_openai {
        let plain = plain().prop_map(|part| vec![part]);
        return prop_oneof![Just(Vec::new()), plain, vec(proven, 1..3)].boxed();
    }
    let named = select(vec!["anthropic-claude-v1", "google-gemini-v1"]).prop_map(|format| {
        let format = Some(format.to_owned());
        let text = format!("unproven, of {}", format.as_deref().unwrap_or_default());
        thought(Reasoning { text, format, ..Reasoning::default() }, None)
    });
    let unnamed = words().prop_map(|text| thought(Reasoning { text, ..Reasoning::default() }, Some("proof")));
    let block = json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}});
    let block = Part::new(PartKind::Native(Json::of(&block)));
    let wordless = Reasoning { format: Some("google-gemini-v1".into()), ..Reasoning::default() };
    let odd = select(vec![block, thought(wordless, Some("alone"))]);
    vec(prop_oneof![plain(), proven, named, unnamed, odd], 0..3).boxed()
}

fn refusal() -> impl Strategy<Value = Vec<Part>> {
    vec(words().prop_map(|text| Part::new(PartKind::Refusal(text.into()))), 0..2)
}

/// A message of the model: thinking, texts, perhaps a refusal or a picture, and calls.
fn answered(extent: Extent) -> impl Strategy<Value = Vec<Part>> {
    let signed = (words(), words())
        .prop_map(|(text, proof)| Part { signature: Some(proof.into()), ..Part::text(text) });
    let picture = Media {
        kind: MediaKind::Image,
        source: Source::Base64 { mime: "image/png".into(), data: "BBBB".into() },
        filename: None,
        detail: None,
    };
    let odd = if extent.beyond_openai {
        let picture = Just(Part::new(PartKind::from(picture)));
        prop_oneof![8 => Just(None), 1 => signed.prop_map(Some), 1 => picture.prop_map(Some)].boxed()
    } else {
        Just(None).boxed()
    };
    (thoughts(extent), vec(text(), 0..3), odd, refusal(), vec(call(), 0..3)).prop_map(
        |(mut parts, texts, odd, refusal, calls)| {
            parts.extend(texts);
            parts.extend(odd);
            parts.extend(refusal);
            if calls.is_empty() {
                parts.push(Part::text("so"));
            }
            parts.extend(calls);
            parts
        },
    )
}

fn name() -> impl Strategy<Value = Option<String>> {
    prop_oneof![3 => Just(None), 1 => "[a-z]{1,4}".prop_map(Some)]
}

fn result(extent: Extent) -> impl Strategy<Value = Message> {
    let content = vec(prop_oneof![5 => text().boxed(), 1 => media(extent).boxed()], 0..3);
    let is_error = if extent.beyond_openai { any::<bool>().boxed() } else { Just(false).boxed() };
    (content, cache(), is_error).prop_map(|(content, cache, is_error)| {
        let result = ToolResult { call_id: "".into(), content, is_error };
        Message::new(Role::Tool, vec![Part { cache, ..Part::new(PartKind::from(result)) }])
    })
}

/// A user's message, the model's answer with calls, and a result for each call.
fn turn(extent: Extent) -> impl Strategy<Value = Vec<Message>> {
    let late = (select(vec![Role::System, Role::Developer]), vec(text(), 1..2));
    let late = prop_oneof![6 => Just(None), 1 => late.prop_map(Some)];
    let said = vec(prop_oneof![3 => text().boxed(), 1 => media(extent).boxed()], 1..3);
    let asked = (late, name(), said, name());
    (asked, answered(extent), vec(result(extent), 3)).prop_map(
        |((late, name, said, called), parts, results)| {
            let mut messages = vec![Message {
                role: Role::User,
                name: name.map(Box::from),
                parts: said,
                place: Place::NOWHERE,
            }];
            messages.extend(late.map(|(role, parts)| Message::new(role, parts)));
            messages.push(Message {
                role: Role::Assistant,
                name: called.map(Box::from),
                parts,
                place: Place::NOWHERE,
            });
            messages.extend(results);
            messages
        },
    )
}

/// Numbers the calls through the conversation, and keeps as many results as calls, in either order. A mark
/// inside of a result becomes a mark of the whole result.
fn tie(turns: Vec<(Vec<Message>, bool)>) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut number = 0;
    for (turn, is_reversed) in turns {
        let mut waiting: Vec<Box<str>> = Vec::new();
        for mut message in turn {
            if message.role == Role::Tool && waiting.is_empty() {
                continue;
            }
            for part in &mut message.parts {
                match &mut part.kind {
                    PartKind::ToolCall(call) => {
                        number += 1;
                        call.id = format!("call_{number}").into();
                        waiting.push(call.id.clone());
                    }
                    PartKind::ToolResult(result) => {
                        let next = if is_reversed { waiting.len() - 1 } else { 0 };
                        result.call_id = waiting.remove(next);
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
    let role = select(vec![Role::System, Role::Developer]);
    let system = of((role, name(), vec(text(), 1..3)));
    let turns = vec((turn(extent), any::<bool>()), 0..3);
    (system, turns, of(vec(text(), 1..3))).prop_map(|(system, turns, last)| {
        let mut messages: Vec<_> = system
            .into_iter()
            .map(|(role, name, parts)| Message {
                role,
                name: name.map(Box::from),
                parts,
                place: Place::NOWHERE,
            })
            .collect();
        messages.extend(tie(turns));
        // A conversation may end with results of tools, or with a text of the model.
        match last {
            Some(last) => messages.push(Message::new(Role::User, last)),
            None if messages.is_empty() => messages.push(Message::text(Role::User, "a")),
            None => {}
        }
        messages
    })
}

fn tools() -> impl Strategy<Value = Vec<Tool>> {
    let schemas = vec![
        None,
        Some(json!({"type": "object", "properties": {}})),
        Some(json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]})),
        Some(
            json!({"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}, "required": ["a"], "additionalProperties": false}),
        ),
        Some(json!({"type": "object", "properties": {"a": {"type": "string", "not": {"const": "b"}}}})),
        Some(
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "anyOf": [{"required": ["a"]}]}),
        ),
    ];
    let function = move |name: &'static str| {
        (select(schemas.clone()), of(words()), of(any::<bool>()), cache()).prop_map(
            move |(schema, description, strict, cache)| {
                let parameters = schema.as_ref().map(Json::of);
                let kind = ToolKind::Function { parameters, strict };
                Tool { name: name.to_owned(), description, kind, cache, place: Place::NOWHERE }
            },
        )
    };
    let grammar = json!({"type": "grammar", "grammar": {"syntax": "regex", "definition": "[a-z]+"}});
    let custom = (of(select(vec![json!({"type": "text"}), grammar])), of(words())).prop_map(
        |(format, description)| {
            let kind = ToolKind::Custom { format: format.as_ref().map(Json::from) };
            Tool { name: "free".to_owned(), description, kind, cache: None, place: Place::NOWHERE }
        },
    );
    let native = Just(Tool {
        name: "web_search".to_owned(),
        description: None,
        kind: ToolKind::Native(Json::of(&json!({"type": "web_search", "web_search": {"x": 1.5}}))),
        cache: None,
        place: Place::NOWHERE,
    });
    let rarely = |tool: BoxedStrategy<Tool>| prop_oneof![4 => Just(None), 1 => tool.prop_map(Some)];
    let all = (of(function("f")), of(function("look up!")), rarely(custom.boxed()), rarely(native.boxed()));
    all.prop_map(|(one, two, custom, native)| [one, two, custom, native].into_iter().flatten().collect())
}

/// A choice among the tools of the request.
fn tool_choice(tools: &[Tool]) -> BoxedStrategy<Option<ToolChoice>> {
    let mut choices = vec![None, Some(ToolChoice::Auto), Some(ToolChoice::None)];
    let is_ours = |tool: &&Tool| !matches!(tool.kind, ToolKind::Native(_));
    let names: Vec<String> = tools.iter().filter(is_ours).map(|tool| tool.name.clone()).collect();
    for name in &names {
        choices.push(Some(ToolChoice::Named(name.clone())));
        for required in [false, true] {
            choices.push(Some(ToolChoice::Allowed { names: vec![name.clone()], required }));
        }
    }
    if names.len() > 1 {
        choices.push(Some(ToolChoice::Allowed { names: names.clone(), required: true }));
    }
    if !names.is_empty() {
        choices.push(Some(ToolChoice::Required));
    }
    select(choices).boxed()
}

fn output() -> impl Strategy<Value = OutputFormat> {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": false});
    let weak = json!({"type": "object", "properties": {"a": {"type": "string", "not": {"const": "b"}}}, "required": ["a"]});
    prop_oneof![
        3 => Just(OutputFormat::Text),
        1 => Just(OutputFormat::JsonObject),
        2 => (select(vec![None, Some(schema), Some(weak)]), of(words()), of(any::<bool>())).prop_map(
            |(schema, description, strict)| OutputFormat::JsonSchema {
                name: "answer".to_owned(),
                description,
                schema: schema.as_ref().map(Json::of),
                strict,
            }
        ),
    ]
}

fn thinking(extent: Extent) -> impl Strategy<Value = ReasoningRequest> {
    let effort = || select(Effort::ALL.to_vec());
    let budget = || prop_oneof![1..100_u64, 1024..4000_u64, 30_000..200_000_u64];
    let both = if extent.beyond_openai {
        (select(Effort::ALL[1..].to_vec()), budget())
            .prop_map(|(effort, budget)| (Some(effort), Some(budget)))
            .boxed()
    } else {
        Just((None, None)).boxed()
    };
    let wish = prop_oneof![
        3 => Just((None, None)),
        3 => effort().prop_map(|effort| (Some(effort), None)),
        2 => budget().prop_map(|budget| (None, Some(budget))),
        1 => both,
    ];
    (wish, any::<bool>()).prop_map(|((effort, budget_tokens), exclude)| ReasoningRequest {
        effort,
        budget_tokens,
        exclude,
        summary: None,
    })
}

fn sampling() -> impl Strategy<Value = Sampling> {
    let penalty = || of(prop_oneof![select(vec![-2.0, 0.0, 0.5, 2.0]), -2.0..=2.0_f64]);
    (
        of(prop_oneof![select(vec![0.0, 1.0, 1.5, 2.0]), 0.0..=1.0_f64]),
        of(prop_oneof![select(vec![0.5, 0.96, 1.0]), 0.01..=1.0_f64]),
        of(select(vec![1, 40, 1000])),
        penalty(),
        penalty(),
        of(prop_oneof![any::<i32>().prop_map(i64::from), Just(1 << 40)]),
    )
        .prop_map(|(temperature, top_p, top_k, frequency_penalty, presence_penalty, seed)| Sampling {
            temperature,
            top_p,
            top_k,
            frequency_penalty,
            presence_penalty,
            seed,
        })
}

/// Fields that only some formats have, with usual and unusual values, and one that no format has.
fn extra() -> impl Strategy<Value = Vec<(String, Json)>> {
    let known = vec![
        ("store", vec![json!(true), json!(false)]),
        ("service_tier", vec![json!("auto"), json!("default"), json!("flex"), json!("priority")]),
        ("metadata", vec![json!({"team": "a"}), json!({"user_id": "u7"}), json!({"team": "é"})]),
        ("verbosity", vec![json!("low"), json!("medium")]),
        ("safety_identifier", vec![json!("ann")]),
        ("prompt_cache_key", vec![json!("k")]),
        ("logit_bias", vec![json!({"5": -1}), json!({})]),
        ("modalities", vec![json!(["text"])]),
    ];
    let chosen = subsequence(known, 0..4).prop_flat_map(|fields| {
        fields.into_iter().map(|(name, values)| (Just(name), select(values))).collect::<Vec<_>>()
    });
    let unknown = of(json_value().prop_filter("nulls say nothing", |value| !value.is_null()));
    (chosen, unknown).prop_map(|(known, unknown)| {
        let known = known.into_iter().map(|(name, value)| (name.to_owned(), Json::from(&value)));
        known.chain(unknown.map(|value| ("x_new".to_owned(), Json::from(&value)))).collect()
    })
}

/// Any request of this extent.
pub fn request(extent: Extent) -> impl Strategy<Value = Request> {
    let offered = tools().prop_flat_map(|tools| {
        let choice = tool_choice(&tools);
        (Just(tools), choice)
    });
    let asked = (conversation(extent), offered, of(any::<bool>()));
    let limit = of(prop_oneof![1..300_u64, 5000..100_000_u64]);
    let shape = (output(), thinking(extent), sampling(), limit, vec(words(), 0..7));
    let form = (any::<bool>(), any::<bool>(), of(prop_oneof![words(), Just("ann@x.test".to_owned())]));
    let rare = |count: std::ops::Range<u32>| prop_oneof![3 => Just(None), 1 => count.prop_map(Some)];
    let counted = (rare(1..4), of(any::<bool>()), rare(0..20), extra());
    (asked, shape, form, counted).prop_map(
        |(
            (messages, (tools, tool_choice), parallel_tool_calls),
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
            n,
            logprobs,
            top_logprobs,
            stream,
            include_usage: stream && include_usage,
            user,
            extra,
            ..Request::default()
        },
    )
}
