//! Translation loses nothing silently, and reports nothing that it did not lose: the adapter's output is read
//! back, by the format's own dialect or by a small reader of the tests, and compared with the request, fact
//! by fact.

use canon::{
    Effort, ErrorKind, Feature, Features, Json, Media, MediaKind, Message, ModelFacts, Part, PartKind,
    Quirks, Reasoning, ReasoningControl, Request, Role, Source, Target, Tool, ToolChoice, ToolKind,
};
use proptest::prelude::*;
use serde_json::Value;
use wire::{Encoded, Protocol};

use super::facts::{FormatTraits, compare, facts, normalized};
use super::generate::{Extent, request};
use super::readers;

/// A model to translate for.
pub struct Column {
    protocol: Protocol,
    pub model: &'static str,
    /// Whether it can think.
    thinks: bool,
    facts: ModelFacts,
}

/// Models that differ in what they take.
pub fn columns() -> Vec<Column> {
    let budget = |min, max, can_disable| Some(ReasoningControl::Budget { min, max, can_disable });
    let effort = |levels: &[Effort]| Some(ReasoningControl::Effort { levels: levels.to_vec() });
    let control = |reasoning| ModelFacts { reasoning, ..ModelFacts::default() };
    let full = |reasoning, most| ModelFacts {
        features: Some(Features::all()),
        max_output_tokens: Some(most),
        ..control(reasoning)
    };
    let poor = ModelFacts {
        features: Some([Feature::Tools, Feature::Vision, Feature::Documents].into_iter().collect()),
        ..control(Some(ReasoningControl::None))
    };
    let thoughtless =
        ["claude-3-5", "gemini-2.0", "gemma", "claude-3-haiku", "nova-pro", "command-a-03", "gpt-4o"];
    let column = |protocol, model: &'static str, facts| {
        let thinks = !thoughtless.iter().any(|name| model.contains(name));
        Column { protocol, model, thinks, facts }
    };
    let (anthropic, bedrock) = (Protocol::AnthropicMessages, Protocol::BedrockConverse);
    let unknown = ModelFacts::default;
    let words = [Effort::Low, Effort::Medium, Effort::High];
    vec![
        column(Protocol::OpenaiChat, "gpt-5", unknown()),
        column(Protocol::OpenaiChat, "of another server", unknown()),
        column(Protocol::OpenaiResponses, "gpt-5", unknown()),
        column(Protocol::OpenaiResponses, "o3", full(effort(&words), 100_000)),
        column(Protocol::OpenaiResponses, "gpt-4o-2024", control(Some(ReasoningControl::None))),
        column(anthropic, "m", unknown()),
        column(anthropic, "claude-3-5-haiku-20241022", unknown()),
        column(anthropic, "claude-3-7-sonnet-20250219", unknown()),
        column(anthropic, "claude-sonnet-4-5-20250929", full(budget(1024, 63_999, true), 64_000)),
        column(anthropic, "claude-opus-4-6", unknown()),
        column(anthropic, "claude-opus-4-7", unknown()),
        column(anthropic, "claude-fable-5", unknown()),
        column(anthropic, "always", control(Some(ReasoningControl::Always))),
        column(Protocol::Gemini, "gemini-2.0-flash", unknown()),
        column(Protocol::Gemini, "gemini-2.5-flash", unknown()),
        column(Protocol::Gemini, "gemini-2.5-pro", full(budget(128, 32_768, false), 65_536)),
        column(Protocol::Gemini, "gemini-3-pro-preview", unknown()),
        column(Protocol::Gemini, "gemma-3-27b-it", unknown()),
        column(bedrock, "anthropic.claude-3-haiku-20240307-v1:0", unknown()),
        column(
            bedrock,
            "anthropic.claude-sonnet-4-5-20250929-v1:0",
            full(budget(1024, 63_999, true), 64_000),
        ),
        column(bedrock, "anthropic.claude-opus-4-6-v1", unknown()),
        column(bedrock, "anthropic.claude-opus-4-7-v1", unknown()),
        column(bedrock, "amazon.nova-pro-v1:0", poor),
        column(bedrock, "us.amazon.nova-2-lite-v1:0", unknown()),
        column(bedrock, "openai.gpt-oss-120b-1:0", unknown()),
        column(bedrock, "qwen.qwen3-32b-v1:0", unknown()),
        column(bedrock, "us.deepseek.r1-v1:0", unknown()),
        column(Protocol::CohereChat, "command-a-03-2025", control(Some(ReasoningControl::None))),
        column(Protocol::CohereChat, "command-a-reasoning-08-2025", full(budget(1, 31_999, true), 32_000)),
        column(Protocol::CohereChat, "always", control(Some(ReasoningControl::Always))),
        column(Protocol::OllamaChat, "qwen3", unknown()),
        column(Protocol::OllamaChat, "gpt-oss", control(effort(&words))),
        column(Protocol::OllamaChat, "always", control(Some(ReasoningControl::Always))),
    ]
}

impl Column {
    pub fn encode(&self, request: &Request) -> canon::Result<Encoded> {
        let quirks = if self.takes_custom_tools() { as_openai() } else { Quirks::default() };
        let target = Target { model: self.model, facts: &self.facts, quirks: &quirks };
        wire::adapter(self.protocol).encode_request(request, target)
    }

    /// OpenAI itself; other servers of the format know only functions.
    fn takes_custom_tools(&self) -> bool {
        self.protocol == Protocol::OpenaiChat && self.model == "gpt-5"
    }

    fn manner(&self) -> FormatTraits {
        let usual = FormatTraits::default();
        match self.protocol {
            Protocol::OpenaiCompletions => unreachable!("texts are no conversations"),
            Protocol::OpenaiChat => {
                FormatTraits { efforts: true, custom_calls: self.takes_custom_tools(), ..usual }
            }
            Protocol::OpenaiResponses => {
                FormatTraits { efforts: true, custom_calls: true, media_apart: true, ..usual }
            }
            Protocol::CohereChat => FormatTraits { joins_answers: Some(""), ..usual },
            Protocol::OllamaChat => FormatTraits {
                joins: Some("\n"),
                media_apart: true,
                efforts: self.facts.reasoning.is_some(),
                ..usual
            },
            Protocol::AnthropicMessages => FormatTraits {
                efforts: ["claude-opus", "claude-fable"].iter().any(|name| self.model.starts_with(name)),
                ..usual
            },
            Protocol::Gemini => FormatTraits { efforts: self.model.starts_with("gemini-3"), ..usual },
            Protocol::BedrockConverse => {
                let words = ["opus", "nova-2", "gpt-oss", "qwen"];
                FormatTraits { efforts: words.iter().any(|name| self.model.contains(name)), ..usual }
            }
        }
    }

    /// The request as it arrives at the provider.
    fn read(&self, asked: &Request, encoded: &Encoded) -> Request {
        let body: Value = serde_json::from_slice(&encoded.body).unwrap();
        let mut got = match self.protocol {
            Protocol::BedrockConverse => readers::bedrock(&body),
            Protocol::CohereChat => readers::cohere(&body),
            Protocol::OllamaChat => readers::ollama(&body),
            protocol => {
                let dialect = wire::dialect(protocol).unwrap();
                dialect.decode_request(&encoded.body).unwrap_or_else(|error| panic!("{error}: {body}"))
            }
        };
        // The mode that enforces strict tools is not a field that the caller named.
        let mode = canon::Field::extra("toolConfig.functionCallingConfig.mode");
        assert!(
            got.losses.iter().all(|loss| loss.field.name() == mode.name()),
            "what we write we understand: {:?}",
            got.losses
        );
        got.losses = canon::Losses::new();
        got = readers::undone(got, &encoded.decoding);
        if self.protocol == Protocol::Gemini {
            readers::gemini_strictness(&body, asked, &mut got);
        }
        if self.protocol == Protocol::OpenaiResponses && body["store"] == true {
            // For callers of this format the gateway itself stores answers.
            got.extra.push(("store".into(), Json::of(&true)));
        }
        self.without_defaults(asked, &mut got);
        normalized(asked, got)
    }

    /// Removes what the adapter sends although the caller did not request it, because the format requires it.
    fn without_defaults(&self, asked: &Request, got: &mut Request) {
        let is_limited = matches!(self.protocol, Protocol::AnthropicMessages | Protocol::BedrockConverse);
        if is_limited && asked.max_tokens.is_none() {
            got.max_tokens = None;
        }
        if self.protocol == Protocol::OpenaiResponses {
            got.messages.iter_mut().for_each(|message| forget_names(&mut message.parts));
        }
    }

    /// The request without the values that are this model's defaults.
    fn meant(&self, asked: &Request, got: &Request) -> Request {
        let mut meant = asked.clone();
        // A model that does not think by default needs no parameter against thinking.
        let thinks_when_told =
            self.protocol == Protocol::BedrockConverse && self.model.contains("sonnet-4-5");
        let is_silent = !self.thinks || thinks_when_told && got.reasoning.is_unset();
        if is_silent && !meant.reasoning.is_on() {
            meant.reasoning = Default::default();
        }
        meant.messages.iter_mut().for_each(|message| self.shape_thoughts(message));
        // Claude's default temperature is 1.
        let is_claude = self.protocol == Protocol::AnthropicMessages || self.model.contains("claude");
        if is_claude && got.sampling.temperature.is_none() && meant.sampling.temperature == Some(1.0) {
            meant.sampling.temperature = None;
        }
        meant
    }

    /// Joins thinking without a proof where a format has one text for all of it: Ollama's `thinking`,
    /// Cohere's `tool_plan`.
    fn shape_thoughts(&self, message: &mut Message) {
        let is_plain = |part: &Part| {
            let PartKind::Reasoning(thought) = &part.kind else { return false };
            thought.format.is_none() && thought.encrypted.is_none() && part.signature.is_none()
        };
        let says = |part: &Part| matches!(part.kind, PartKind::Text(_) | PartKind::Refusal(_));
        let is_plan = message.tool_calls().next().is_some() && !message.parts.iter().any(says);
        let plain: Vec<Part> = message.parts.iter().filter(|part| is_plain(part)).cloned().collect();
        let text: String = plain
            .iter()
            .map(
                |part| if let PartKind::Reasoning(thought) = &part.kind { thought.text.as_str() } else { "" },
            )
            .collect();
        if plain.is_empty() {
            return;
        }
        let whole = match self.protocol {
            Protocol::CohereChat if is_plan => Part::text(text),
            Protocol::OllamaChat => PartKind::from(Reasoning { text, ..Reasoning::default() }).into(),
            _ => return,
        };
        // The other parts keep their positions.
        let mut whole = Some(whole);
        for part in message.parts.iter_mut().filter(|part| is_plain(part)) {
            *part = whole.take().unwrap_or(Part::text(""));
        }
    }

    /// Every difference is reported, and every report is a difference. A refusal names what it refuses, and
    /// without that part the request is served.
    fn check(&self, mut asked: Request) -> Result<(), String> {
        let encoded = loop {
            match self.encode(&asked) {
                Ok(encoded) => break encoded,
                Err(error) => relent(&mut asked, &error)?,
            }
        };
        let got = self.read(&asked, &encoded);
        let (meant, manner) = (self.meant(&asked, &got), self.manner());
        compare(&facts(&meant, manner), &facts(&got, manner), &encoded.losses, manner)
    }
}

/// Removes the default name of files where the format requires a name.
fn forget_names(parts: &mut [Part]) {
    for part in parts {
        match &mut part.kind {
            PartKind::Media(media) => {
                media.filename.take_if(|name| name.starts_with("document."));
            }
            PartKind::ToolResult(result) => forget_names(&mut result.content),
            _ => {}
        }
    }
}

/// Removes what was refused. An error if the refusal names nothing in the request.
pub fn relent(request: &mut Request, error: &canon::Error) -> Result<(), String> {
    let is_refusal = matches!(error.kind, ErrorKind::UnsupportedFeature) && !error.message.is_empty();
    let param = error.param_name().unwrap_or_default();
    let numbers: Vec<usize> = param.split(['[', ']']).filter_map(|piece| piece.parse().ok()).collect();
    let gave_up = match (param.split('[').next().unwrap_or_default(), &numbers[..]) {
        _ if !is_refusal => false,
        ("n", []) => request.n.take().is_some_and(|count| count > 1),
        ("logprobs", []) => {
            let top = request.top_logprobs.take().is_some_and(|count| count > 0);
            request.logprobs.take() == Some(true) || top
        }
        ("top_logprobs", []) => request.top_logprobs.take().is_some_and(|count| count > 0),
        ("tools", []) => {
            let count = request.tools.len();
            request.tools.retain(|tool| !matches!(tool.kind, ToolKind::Native(_)));
            request.tools.len() < count
        }
        ("tools", [index]) => matches!(request.tools.remove(*index).kind, ToolKind::Native(_)),
        ("messages", [message, rest @ ..]) => describe_media(&mut request.messages[*message], rest.first()),
        _ => false,
    };
    if gave_up { Ok(()) } else { Err(format!("refused for no reason: {error:?}")) }
}

/// Replaces media by text; false if there are none at this place.
fn describe_media(message: &mut Message, position: Option<&usize>) -> bool {
    let mut found = false;
    let mut describe = |part: &mut Part| {
        if matches!(part.kind, PartKind::Media(_)) {
            found = true;
            *part = Part::text("something to see");
        }
    };
    for (index, part) in message.parts.iter_mut().enumerate() {
        match &mut part.kind {
            PartKind::ToolResult(result) => result.content.iter_mut().for_each(&mut describe),
            _ if position.is_none_or(|position| *position == index) => describe(part),
            _ => {}
        }
    }
    found
}

/// The quirks of OpenAI's own API, which takes more than other servers of the format.
fn as_openai() -> Quirks {
    Quirks { takes_custom_tools: true, takes_fields: vec!["*".to_owned()], ..Quirks::default() }
}

/// As a router accepts it, which reads everything that callers of the format write.
fn again(request: &Request) -> canon::Result<(Request, Encoded)> {
    let quirks = Quirks { takes_cache_marks: true, takes_routing_fields: true, ..as_openai() };
    let target = Target { model: "m", facts: &ModelFacts::default(), quirks: &quirks };
    let encoded = wire::adapter(Protocol::OpenaiChat).encode_request(request, target)?;
    let decoded = wire::dialect(Protocol::OpenaiChat).unwrap().decode_request(&encoded.body);
    let decoded = decoded.unwrap_or_else(|error| panic!("{error}"));
    Ok((Request { format: request.format, ..decoded }, encoded))
}

proptest! {
    #![proptest_config(testkit::random::cases(120))]

    #[test]
    fn requests_of_openais_format_survive_unchanged(asked in request(Extent { beyond_openai: false })) {
        let (mut got, encoded) = again(&asked).unwrap();
        // The gateway always requests usage, because it meters answers whose callers do not want to see it.
        got.include_usage = asked.include_usage;
        prop_assert_eq!(&got, &asked);
        prop_assert!(encoded.losses.is_empty(), "{:?}", encoded.losses);
    }

    #[test]
    fn nothing_is_lost_in_silence(asked in request(Extent { beyond_openai: true })) {
        for column in columns() {
            let result = column.check(asked.clone());
            prop_assert!(result.is_ok(), "{:?} {}: {}", column.protocol, column.model, result.unwrap_err());
        }
    }
}

#[test]
fn losses_of_the_dialect_are_reported_by_every_adapter() {
    let body = br#"{"model":"m","messages":[{"role":"user","content":"a"}],"reasoning":{"effort":"low","summary":"auto"}}"#;
    let request = wire::dialect(Protocol::OpenaiChat).unwrap().decode_request(body).unwrap();
    let (facts, quirks) = (ModelFacts::default(), Quirks::default());
    for protocol in Protocol::ALL {
        let target = Target { model: "m", facts: &facts, quirks: &quirks };
        let encoded = wire::adapter(protocol).encode_request(&request, target).unwrap();
        assert!(encoded.losses.iter().any(|loss| loss.field.name() == "reasoning.summary"), "{protocol:?}");
    }
}

#[test]
fn content_without_a_form_in_openais_format_is_refused() {
    let schema =
        |text: &str| ToolKind::Function { parameters: Some(Json::parse(text).unwrap()), strict: None };
    let tool =
        |kind| Tool { name: "f".into(), description: None, kind, cache: None, place: canon::Place::NOWHERE };
    let sound = Media {
        kind: MediaKind::Audio,
        source: Source::Url("https://x.test/a.mp3".into()),
        filename: None,
        detail: None,
    };
    let said = |part| vec![Message::new(Role::User, vec![part])];
    let cases = [
        (said(Part::text("a")), vec![tool(schema(r#"{"maximum":1e999}"#))], "tools[0].function.parameters"),
        (said(PartKind::from(sound).into()), vec![], "messages[0].content[0]"),
    ];
    for (messages, tools, path) in cases {
        let request = Request { model: "m".into(), messages, tools, ..Request::default() };
        let error = again(&request).unwrap_err();
        assert_eq!(error.param_name().as_deref(), Some(path));
    }
}

#[test]
fn a_custom_tool_is_chosen_as_a_custom_tool() {
    let tool = Tool {
        name: "free".into(),
        description: None,
        kind: ToolKind::Custom { format: None },
        cache: None,
        place: canon::Place::NOWHERE,
    };
    let request = Request {
        model: "m".into(),
        messages: vec![Message::text(Role::User, "a")],
        tools: vec![tool],
        tool_choice: Some(ToolChoice::Named("free".into())),
        ..Request::default()
    };
    let (facts, quirks) = (ModelFacts::default(), as_openai());
    let target = Target { model: "m", facts: &facts, quirks: &quirks };
    let encoded = wire::adapter(Protocol::OpenaiChat).encode_request(&request, target).unwrap();
    let body: serde_json::Value = serde_json::from_slice(&encoded.body).unwrap();
    assert_eq!(body["tool_choice"], serde_json::json!({"type": "custom", "custom": {"name": "free"}}));
    assert_eq!(again(&request).unwrap().0, request);
}
