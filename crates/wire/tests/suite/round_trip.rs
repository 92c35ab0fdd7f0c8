//! What adapters write, dialects read back: the identity for OpenAI's format, the identity but for the reported losses
//! for the others.

use canon::{Losses, Message, ModelFacts, OutputFormat, PartKind, Quirks, Request, Role, Target};
use proptest::prelude::*;
use wire::Protocol;

use super::generate::{Extent, request};

fn again(protocol: Protocol, request: &Request) -> Result<(Request, Losses), canon::Error> {
    let (facts, quirks) = (ModelFacts::default(), Quirks::default());
    let target = Target { model: &request.model, facts: &facts, quirks: &quirks };
    let encoded = wire::adapter(protocol).encode_request(request, target)?;
    let decoded = wire::dialect(protocol).unwrap().decode_request(&encoded.body);
    let text = String::from_utf8_lossy(&encoded.body);
    Ok((decoded.unwrap_or_else(|error| panic!("{error}: {text}")), encoded.losses))
}

/// Who said which texts, called what with what, and got which results.
fn conversation(request: &Request) -> Vec<String> {
    let mut found = Vec::new();
    for message in &request.messages {
        let role = match message.role {
            Role::Developer => Role::System,
            role => role,
        };
        for part in &message.parts {
            match &part.kind {
                PartKind::Text(text) => found.push(format!("{role:?} says {text}")),
                PartKind::Media(media) => found.push(format!("{role:?} shows {:?}", media.source)),
                PartKind::ToolCall(call) => {
                    let arguments: serde_json::Value =
                        serde_json::from_str(&call.arguments).unwrap_or_default();
                    found.push(format!("calls {} with {arguments}", call.name));
                }
                PartKind::ToolResult(result) => {
                    let heard = Message::new(Role::Tool, result.content.clone()).joined_text();
                    found.push(format!("hears {heard}"));
                }
                _ => {}
            }
        }
    }
    found
}

/// The settings by name, as text.
fn settings(request: &Request) -> Vec<(&'static str, String)> {
    let sampling = &request.sampling;
    vec![
        ("max_tokens", format!("{:?}", request.max_tokens)),
        ("temperature", format!("{:?}", sampling.temperature)),
        ("top_p", format!("{:?}", sampling.top_p)),
        ("top_k", format!("{:?}", sampling.top_k)),
        ("frequency_penalty", format!("{:?}", sampling.frequency_penalty)),
        ("presence_penalty", format!("{:?}", sampling.presence_penalty)),
        ("seed", format!("{:?}", sampling.seed)),
        ("stop", format!("{:?}", request.stop)),
        ("user", format!("{:?}", request.user)),
        ("tool_choice", format!("{:?}", request.tool_choice)),
    ]
}

/// A setting may differ only if a loss names it, or if leaving it out means the same.
fn assert_kept(protocol: Protocol, asked: &Request, got: &Request, losses: &Losses) {
    let lost = |name: &str| {
        losses.iter().any(|loss| loss.field == name || loss.field.starts_with(&format!("{name}.")))
    };
    let tools_left = got.tools.len();
    for ((name, asked), (_, got)) in settings(asked).into_iter().zip(settings(got)) {
        // Tools that must not be called may be left out.
        let is_silenced = name == "tool_choice" && asked == "Some(None)" && tools_left == 0;
        let is_neutral =
            is_silenced || matches!(asked.as_str(), "None" | "Some(0.0)" | "Some(-0.0)" | "Some(Auto)");
        assert!(
            asked == got || lost(name) || is_neutral,
            "{protocol:?} {name}: {asked} became {got}; losses {losses:?}"
        );
    }
    if asked.output != OutputFormat::Text && got.output == OutputFormat::Text {
        assert!(lost("response_format"), "{protocol:?} {:?}: {losses:?}", asked.output);
    }
    if !asked.extra.is_empty() && asked.extra.iter().any(|(_, value)| !matches!(value.as_str(), "{}" | "[]"))
    {
        assert!(lost("x_new") || got.extra == asked.extra, "{protocol:?}: {losses:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn openai_says_everything(asked in request(Extent { everything: true })) {
        let (mut got, losses) = again(Protocol::OpenaiChat, &asked).unwrap();
        // Usage is always asked for: the gateway meters what the caller does not want to see.
        got.include_usage = asked.include_usage;
        prop_assert_eq!(&got, &asked);
        prop_assert!(losses.is_empty(), "{:?}", losses);
    }

    #[test]
    fn other_formats_lose_nothing_in_silence(asked in request(Extent { everything: false })) {
        for protocol in [Protocol::AnthropicMessages, Protocol::Gemini] {
            let (got, losses) = again(protocol, &asked).unwrap_or_else(|error| panic!("{protocol:?}: {error}"));
            let (mut said, mut meant) = (conversation(&got), conversation(&asked));
            // An emulated format adds an instruction of its own.
            if losses.iter().any(|loss| loss.field == "response_format") {
                said.retain(|line| !line.starts_with("System"));
                meant.retain(|line| !line.starts_with("System"));
            }
            prop_assert_eq!(said, meant, "{:?}", protocol);
            assert_kept(protocol, &asked, &got, &losses);
        }
    }
}
