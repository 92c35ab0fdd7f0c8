//! Requests of a provider's own API that pass unchanged: the facts in their paths, and the metering of their
//! answers. Nothing is changed, and only the data for metering is buffered.

mod address;
mod output;
mod picker;
mod realtime;
mod tap;

use http::Method;
use percent_encoding::percent_decode_str;

use crate::Protocol;

pub use address::lead_here;
pub use output::BatchOutput;
pub use realtime::Realtime;
pub use tap::tap;

/// How the answer of a request is metered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metered {
    /// A conversation in this format.
    Conversation(Protocol),
    /// Vectors, in OpenAI's form.
    Embeddings,
    /// Turns of a conversation over a WebSocket.
    Turns,
}

/// The facts in a request's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NativeForm {
    /// How its answer is metered; none where that is unknown.
    pub metered: Option<Metered>,
    /// The model, where it is in the path.
    pub model: Option<String>,
    /// Whether the answer is streamed, where the path says so.
    pub streams: Option<bool>,
}

impl NativeForm {
    /// For a request at this path of a provider.
    pub fn of(method: &Method, path: &str) -> Self {
        if *method != Method::POST {
            return Self { metered: None, model: None, streams: None };
        }
        let path = path.trim_end_matches('/');
        by_method_of_model(path).or_else(|| of_bedrock(path)).unwrap_or_else(|| by_end(path))
    }
}

/// `…/models/MODEL:method`, Google's form, also for other vendors' models.
fn by_method_of_model(path: &str) -> Option<NativeForm> {
    let (_, rest) = path.rsplit_once("/models/")?;
    let (model, method) = rest.rsplit_once(':')?;
    let by_publisher = if path.contains("/publishers/anthropic/") {
        Protocol::AnthropicMessages
    } else {
        Protocol::OpenaiChat
    };
    let (protocol, streams) = match method {
        "generateContent" => (Some(Protocol::Gemini), false),
        "streamGenerateContent" => (Some(Protocol::Gemini), true),
        // Vertex uses this name for predictions of all kinds; with other vendors' models they are
        // conversations.
        "rawPredict" if !path.contains("/publishers/google/") => (Some(by_publisher), false),
        "streamRawPredict" if !path.contains("/publishers/google/") => (Some(by_publisher), true),
        _ => (None, false),
    };
    Some(NativeForm {
        metered: protocol.map(Metered::Conversation),
        model: unescaped(model),
        streams: protocol.map(|_| streams),
    })
}

/// `/model/MODEL/method`
fn of_bedrock(path: &str) -> Option<NativeForm> {
    let (model, method) = path.strip_prefix("/model/")?.rsplit_once('/')?;
    let model = unescaped(model)?;
    let native = model.contains("anthropic.claude").then_some(Protocol::AnthropicMessages);
    let (protocol, streams) = match method {
        "converse" => (Some(Protocol::BedrockConverse), false),
        "converse-stream" => (Some(Protocol::BedrockConverse), true),
        "invoke" => (native, false),
        "invoke-with-response-stream" => (native, true),
        _ => (None, false),
    };
    Some(NativeForm {
        metered: protocol.map(Metered::Conversation),
        model: Some(model),
        streams: protocol.map(|_| streams),
    })
}

fn by_end(path: &str) -> NativeForm {
    const ENDS: [(&str, Metered); 7] = [
        ("/chat/completions", Metered::Conversation(Protocol::OpenaiChat)),
        ("/completions", Metered::Conversation(Protocol::OpenaiCompletions)),
        ("/responses", Metered::Conversation(Protocol::OpenaiResponses)),
        ("/v1/messages", Metered::Conversation(Protocol::AnthropicMessages)),
        ("/v2/chat", Metered::Conversation(Protocol::CohereChat)),
        ("/api/chat", Metered::Conversation(Protocol::OllamaChat)),
        ("/embeddings", Metered::Embeddings),
    ];
    let metered = ENDS.iter().find(|(end, _)| path.ends_with(end)).map(|(_, metered)| *metered);
    let deployment = path.split_once("/deployments/").and_then(|(_, rest)| rest.split('/').next());
    NativeForm { metered, model: deployment.and_then(unescaped), streams: None }
}

/// The model in a JSON body, or in the beginning of one; the last one of duplicates, as most servers read it.
pub fn model_of(body: &[u8]) -> Option<String> {
    let mut picker = picker::Picker::new(&["model"]);
    picker.push(body);
    serde_json::from_slice(picker.found("model")?).ok()
}

fn unescaped(part: &str) -> Option<String> {
    let text = percent_decode_str(part).decode_utf8().ok()?.into_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str) -> (Option<Metered>, Option<String>, Option<bool>) {
        let NativeForm { metered, model, streams } = NativeForm::of(&Method::POST, path);
        (metered, model, streams)
    }

    #[test]
    fn formats_are_read_from_paths() {
        use Protocol::{AnthropicMessages, BedrockConverse, Gemini, OpenaiChat, OpenaiResponses};
        let named = |protocol, model: &str, streams| {
            (Some(Metered::Conversation(protocol)), Some(model.to_owned()), Some(streams))
        };
        let plain = |protocol| (Some(Metered::Conversation(protocol)), None, None);
        assert_eq!(of("/v1/chat/completions"), plain(OpenaiChat));
        assert_eq!(of("/openai/v1/responses/"), plain(OpenaiResponses));
        assert_eq!(of("/v1/messages"), plain(AnthropicMessages));
        assert_eq!(of("/v1/embeddings"), (Some(Metered::Embeddings), None, None));
        assert_eq!(
            of("/openai/deployments/my%20own/chat/completions"),
            (Some(Metered::Conversation(OpenaiChat)), Some("my own".to_owned()), None)
        );
        let gemini = "/v1beta/models/gemini-2.5-flash";
        assert_eq!(of(&format!("{gemini}:generateContent")), named(Gemini, "gemini-2.5-flash", false));
        assert_eq!(of(&format!("{gemini}:streamGenerateContent")), named(Gemini, "gemini-2.5-flash", true));
        assert_eq!(of(&format!("{gemini}:embedContent")), (None, Some("gemini-2.5-flash".to_owned()), None));
        let vertex = "/v1/projects/p/locations/l/publishers";
        assert_eq!(
            of(&format!("{vertex}/anthropic/models/claude-sonnet-4-5@20250929:streamRawPredict")),
            named(AnthropicMessages, "claude-sonnet-4-5@20250929", true)
        );
        assert_eq!(
            of("/model/eu.anthropic.claude-sonnet-4-5-v1%3A0/converse-stream"),
            named(BedrockConverse, "eu.anthropic.claude-sonnet-4-5-v1:0", true)
        );
        assert_eq!(
            of("/model/anthropic.claude-x/invoke"),
            named(AnthropicMessages, "anthropic.claude-x", false)
        );
        assert_eq!(of("/model/amazon.titan/invoke"), (None, Some("amazon.titan".to_owned()), None));
        assert_eq!(of("/v1/messages/batches"), (None, None, None));
        assert_eq!(of("/v1/files"), (None, None, None));
        assert_eq!(NativeForm::of(&Method::GET, "/v1/responses").metered, None);
    }
}
