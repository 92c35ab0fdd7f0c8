//! Every provider of the catalog, played by the mock in its own format: text, streams, tools, images, thinking, structured
//! output, usage, errors, streams that break, and callers that hang up. A provider counts as added when it passes here.

use std::net::SocketAddr;
use std::sync::Arc;

use canon::{Feature, Operation};
use catalog::{Catalog, ProviderRow, Serving};
use mock::{Mock, Options};
use serde_json::{Value, json};
use wire::Protocol;
use wire::providers::CallStyle;

use crate::contract::assert_sound;
use crate::support::{Reply, TestGateway, at, question, streamed};

/// A provider under test, with the known facts about its models.
struct Subject {
    row: Arc<ProviderRow>,
    servings: Vec<Arc<Serving>>,
}

impl Subject {
    /// A model with this feature; any name if no model of the provider is known. None if the catalog knows that no model
    /// has it.
    fn model(&self, feature: Option<Feature>) -> Option<String> {
        let id = &self.row.id;
        let fits = |serving: &&Arc<Serving>| feature.is_none_or(|feature| serving.facts.allows(feature));
        if feature.is_some_and(|feature| self.row.lacks.iter().any(|lacked| lacked == feature)) {
            return None;
        }
        match self.servings.iter().find(fits) {
            Some(serving) => Some(format!("{id}/{}", serving.upstream_id)),
            None if self.servings.is_empty() => Some(format!("{id}/test-model")),
            None => None,
        }
    }

    /// The least capable chat model; none if no model of the provider is known.
    fn plainest(&self) -> Option<String> {
        let serving = self.servings.iter().rfind(|serving| !serving.facts.completions_only)?;
        Some(format!("{}/{}", self.row.id, serving.upstream_id))
    }

    fn fault(&self, fault: &str) -> String {
        format!("{}/{fault}", self.row.id)
    }

    /// Its section of the configuration, with plausible values for required settings.
    fn section(&self, mock: SocketAddr) -> String {
        let row = &self.row;
        let version = if row.calling == CallStyle::Compatible && row.protocol == Protocol::OpenaiChat {
            "/v1"
        } else {
            ""
        };
        let mut section =
            format!("[providers.{}]\nbase_url = \"http://{mock}/{}{version}\"\n", row.id, row.id);
        let has = |name: &str| row.settings.contains_key(name);
        if has("access_token") {
            section += "access_token = \"test-token\"\n";
        } else if has("access_key_id") {
            section += "access_key_id = \"AKIATEST\"\nsecret_access_key = \"test-secret\"\n";
        } else {
            section += "api_key = \"test-provider-key\"\n";
        }
        for name in row.settings.iter().filter(|(_, setting)| setting.required).map(|(name, _)| name) {
            section += &format!("{name} = \"test-{name}\"\n");
        }
        section
    }
}

fn subjects() -> Vec<Subject> {
    let catalog = Catalog::embedded().unwrap();
    let subject = |row: &Arc<ProviderRow>| {
        let all = catalog.models().flat_map(|model| &model.servings);
        let all = all.filter(|serving| serving.operations.has(Operation::Chat));
        let mut servings: Vec<_> = all.filter(|serving| serving.provider == row.id).cloned().collect();
        // The most capable model first.
        servings.sort_by_key(|serving| {
            std::cmp::Reverse(serving.facts.features.map(|features| features.iter().count()))
        });
        Subject { row: row.clone(), servings }
    };
    catalog.providers().filter(|row| !row.operations.no_chat).map(subject).collect()
}

/// A mock, a gateway whose providers all lead to it, and the providers.
async fn all() -> (Mock, TestGateway, Vec<Subject>) {
    let mock = mock::start(SocketAddr::from(([127, 0, 0, 1], 0)), Options::plain()).await.unwrap();
    let subjects = subjects();
    let mut config: String = subjects.iter().map(|subject| subject.section(mock.address())).collect();
    config += "[routing]\nmax_retries = 0\n";
    (mock, TestGateway::start(&config).await, subjects)
}

/// Collects findings, so that one run shows all of them.
#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    fn check(&mut self, good: bool, provider: &Subject, what: &str, reply: &Reply) {
        if !good {
            let text: String = reply.text().chars().take(600).collect();
            self.0.push(format!("{}: {what}: {} {text}", provider.row.id, reply.status));
        }
    }
}

impl Drop for Findings {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.0.is_empty(), "{} findings\n{}", self.0.len(), self.0.join("\n"));
        }
    }
}

fn capital(model: &str) -> Value {
    let mut body = question(model);
    body["messages"][0]["content"] = json!("What is the capital of France?");
    body
}

fn as_stream(mut body: Value) -> Value {
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    body
}

/// The parts of a whole answer and of a stream that the tests compare.
fn usage_of(reply: &Reply) -> Value {
    if reply.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream")) {
        reply.events().pop().map(|last| last["usage"].clone()).unwrap_or_default()
    } else {
        reply.at("/usage")
    }
}

fn counts(usage: &Value) -> bool {
    let number = |name: &str| usage[name].as_u64().unwrap_or(0);
    number("prompt_tokens") > 0
        && number("completion_tokens") > 0
        && number("total_tokens") == number("prompt_tokens") + number("completion_tokens")
}

#[tokio::test]
async fn text_and_usage() {
    let (_mock, gateway, subjects) = all().await;
    let mut findings = Findings::default();
    for subject in &subjects {
        let reply = gateway.chat(&capital(&subject.model(None).unwrap())).await;
        let content = reply.at("/choices/0/message/content").to_string();
        let good = reply.status == 200
            && content.contains("Paris")
            && reply.at("/choices/0/finish_reason") == "stop";
        findings.check(good, subject, "text", &reply);
        findings.check(counts(&usage_of(&reply)), subject, "usage", &reply);
        findings.check(
            reply.at("/metadata/used_provider") == subject.row.id.as_str(),
            subject,
            "metadata",
            &reply,
        );
    }
}

#[tokio::test]
async fn streams() {
    let (_mock, gateway, subjects) = all().await;
    let mut findings = Findings::default();
    for subject in &subjects {
        let reply = gateway.chat(&as_stream(capital(&subject.model(None).unwrap()))).await;
        findings.check(reply.status == 200 && reply.done() == 1, subject, "stream", &reply);
        if reply.status == 200 {
            assert_sound(&reply);
            findings.check(reply.content().contains("Paris"), subject, "stream's text", &reply);
            findings.check(counts(&usage_of(&reply)), subject, "stream's usage", &reply);
        }
    }
}

fn weather(model: &str) -> Value {
    let mut body = question(model);
    body["messages"][0]["content"] = json!("What is the weather in Paris?");
    body["tools"] = json!([{"type": "function", "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    }}]);
    body
}

#[tokio::test]
async fn tools() {
    let (_mock, gateway, subjects) = all().await;
    let mut findings = Findings::default();
    for subject in &subjects {
        let Some(model) = subject.model(Some(Feature::Tools)) else { continue };
        let mut body = weather(&model);
        let reply = gateway.chat(&body).await;
        let call = reply.at("/choices/0/message/tool_calls/0");
        let arguments: Value =
            serde_json::from_str(at(&call, "/function/arguments").as_str().unwrap_or("")).unwrap_or_default();
        let named = at(&call, "/function/name") == "get_weather" && call["id"].is_string();
        let good =
            named && arguments["city"].is_string() && reply.at("/choices/0/finish_reason") == "tool_calls";
        findings.check(good, subject, "tool call", &reply);
        if !good {
            continue;
        }
        let stream = gateway.chat(&as_stream(body.clone())).await;
        findings.check(stream.finishes() == ["tool_calls"], subject, "streamed tool call", &stream);
        if stream.status == 200 {
            assert_sound(&stream);
        }
        // The next turn: the calls and their results.
        let messages = body["messages"].as_array_mut().unwrap();
        messages.push(reply.at("/choices/0/message"));
        messages.push(json!({"role": "tool", "tool_call_id": call["id"], "content": "{\"sky\": \"clear\"}"}));
        let reply = gateway.chat(&body).await;
        let content = reply.at("/choices/0/message/content").to_string();
        findings.check(content.contains("clear"), subject, "tool result", &reply);
    }
}

/// A PNG of one pixel.
const PIXEL: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

#[tokio::test]
async fn images() {
    let (_mock, gateway, subjects) = all().await;
    let mut findings = Findings::default();
    for subject in &subjects {
        let Some(model) = subject.model(Some(Feature::Vision)) else { continue };
        let mut body = question(&model);
        body["messages"][0]["content"] = json!([
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": PIXEL}}
        ]);
        let reply = gateway.chat(&body).await;
        let content = reply.at("/choices/0/message/content").to_string();
        findings.check(content.contains("1 image"), subject, "image", &reply);
    }
}

#[tokio::test]
async fn thinking() {
    let (_mock, gateway, subjects) = all().await;
    let mut findings = Findings::default();
    for subject in &subjects {
        let reasons = |serving: &&Arc<Serving>| serving.facts.reasoning.is_some();
        let Some(serving) = subject.servings.iter().find(reasons) else { continue };
        let mut body = capital(&format!("{}/{}", subject.row.id, serving.upstream_id));
        body["reasoning_effort"] = json!("high");
        let reply = gateway.chat(&body).await;
        let message = reply.at("/choices/0/message");
        findings.check(reply.status == 200 && message["content"].is_string(), subject, "thinking", &reply);
        let shown = message["reasoning"].is_string();
        findings.check(message["reasoning"] == message["reasoning_content"], subject, "both names", &reply);
        let counted = reply.at("/usage/reasoning_tokens").as_u64().unwrap_or(0) > 0;
        let told = !reply.at("/metadata/losses").as_array().unwrap_or(&Vec::new()).is_empty();
        findings.check(
            shown || counted || told,
            subject,
            "thinking is shown, counted, or reported as lost",
            &reply,
        );
        let stream = gateway.chat(&as_stream(body)).await;
        findings.check(stream.done() == 1, subject, "streamed thinking", &stream);
        let has = |event: &Value| at(event, "/choices/0/delta/reasoning").is_string();
        findings.check(
            stream.events().iter().any(has) == shown,
            subject,
            "the same thinking in the stream",
            &stream,
        );
    }
}

#[tokio::test]
async fn structured_output() {
    let (_mock, gateway, subjects) = all().await;
    let mut findings = Findings::default();
    let schema = json!({
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
        "additionalProperties": false
    });
    let formats = [
        (
            json!({"type": "json_schema", "json_schema": {"name": "answer", "strict": true, "schema": schema}}),
            true,
        ),
        (json!({"type": "json_object"}), false),
    ];
    for subject in &subjects {
        // The most capable and the least capable model: the gateway emulates what is not native.
        let models = [subject.model(Some(Feature::JsonSchema)), subject.plainest()];
        for model in models.into_iter().flatten() {
            for (format, has_schema) in &formats {
                let mut body = capital(&model);
                body["response_format"] = format.clone();
                for body in [body.clone(), as_stream(body)] {
                    let reply = gateway.chat(&body).await;
                    let stream = body["stream"] == true;
                    let content = if stream {
                        reply.content()
                    } else {
                        reply.at("/choices/0/message/content").as_str().unwrap_or_default().to_owned()
                    };
                    let answer: Value = serde_json::from_str(&content).unwrap_or_default();
                    let good = if *has_schema { answer["city"].is_string() } else { answer.is_object() };
                    findings.check(good, subject, &format!("{model} {}", format["type"]), &reply);
                    let finish = if stream {
                        reply.finishes()
                    } else {
                        vec![reply.at("/choices/0/finish_reason").as_str().unwrap_or("").to_owned()]
                    };
                    findings.check(finish == ["stop"], subject, "finish reason of structured output", &reply);
                }
            }
        }
    }
}

#[tokio::test]
async fn errors() {
    let (_mock, gateway, subjects) = all().await;
    let mut findings = Findings::default();
    for subject in &subjects {
        for (fault, statuses) in [
            ("fault-400", [400, 400]),
            ("fault-500", [500, 502]),
            ("fault-429", [429, 429]),
            ("fault-401", [502, 502]),
        ] {
            for body in [question(&subject.fault(fault)), streamed(&subject.fault(fault))] {
                let reply = gateway.chat(&body).await;
                findings.check(statuses.contains(&reply.status), subject, fault, &reply);
                findings.check(!reply.message().is_empty(), subject, "message", &reply);
                findings.check(
                    reply.at("/metadata/routing/0/provider").is_string(),
                    subject,
                    "attempts",
                    &reply,
                );
                let wait = reply.header("retry-after");
                findings.check(fault != "fault-429" || wait == Some("7"), subject, "retry-after", &reply);
            }
        }
        for fault in ["fault-html", "fault-empty", "fault-garbage", "fault-200-error", "fault-cut-1"] {
            let reply = gateway.chat(&question(&subject.fault(fault))).await;
            findings.check((500..600).contains(&reply.status), subject, fault, &reply);
        }
    }
}

#[tokio::test]
async fn streams_that_break() {
    let (_mock, gateway, subjects) = all().await;
    let mut findings = Findings::default();
    for subject in &subjects {
        for fault in ["fault-cut-2", "fault-stream-error-2", "fault-garbage", "fault-html", "fault-empty"] {
            let reply = gateway.chat(&streamed(&subject.fault(fault))).await;
            findings.check(reply.done() == 0 && reply.finishes().is_empty(), subject, fault, &reply);
            let is_error = match reply.status {
                200 => reply.events().last().is_some_and(|last| last["error"].is_object()),
                status => (500..600).contains(&status),
            };
            findings.check(is_error, subject, fault, &reply);
        }
    }
    assert!(gateway.records().await.iter().all(|record| record.cost == Some(canon::Cost::default())));
}

#[tokio::test]
async fn streams_whose_caller_hangs_up() {
    let (_mock, gateway, subjects) = all().await;
    let mut expected = 0;
    for subject in &subjects {
        // Formats begin with different numbers of frames before the first text.
        let mut reply = gateway.open(&streamed(&subject.fault("fault-hang-4"))).await;
        if reply.status == 200 {
            reply.piece().await.unwrap();
            drop(reply);
            expected += 1;
        }
    }
    assert_eq!(expected, subjects.len());
    let records = gateway.records().await;
    let left = records.iter().filter(|record| record.canceled && record.usage.is_some()).count();
    assert_eq!(left, expected, "{records:#?}");
}
