//! No secret leaves the gateway: the keys are canaries, and all output is searched for them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateway::cli::banner;
use gateway::cli::caller_key::CallerKey;
use gateway::cli::style::Style;
use gateway::pipeline::explain::explain;
use serde_json::json;

use crate::support::{
    Reply, TestGateway, Upstream, answer, chunk, error, events, logged, open, question, raw, start_log,
    stream_head, stream_of, streamed,
};

const CALLER: &str = "canary-caller-5f2c";
const PROVIDER: &str = "canary-provider-9a31";
const SECOND: &str = "canary-second-77d0";

fn config(upstream: &Upstream) -> String {
    format!(
        "[auth]\napi_keys = [\"{CALLER}\"]\nadmin_keys = [\"{CALLER}-admin\"]\n\
         [providers.openai]\nbase_url = \"http://{address}/v1\"\napi_keys = [\"{PROVIDER}\", \"{SECOND}\"]\n\
         [providers.anthropic]\nbase_url = \"http://{address}\"\napi_key = \"{PROVIDER}\"\n\
         [providers.aws-bedrock]\nbase_url = \"http://{address}\"\naccess_key_id = \"AKIATEST\"\nsecret_access_key = \"{SECOND}\"\n",
        address = upstream.address
    )
}

#[tokio::test]
async fn no_key_is_ever_shown() {
    start_log();
    // This provider does not quote the key that it refuses. The tests below have providers that do.
    let told = json!({"error": {"message": "Incorrect API key provided.", "type": "invalid_request_error"}});
    let upstream = Upstream::playing(vec![
        answer("Hello."),
        stream_of(&["Hello."]),
        raw("401 Unauthorized", "content-type: application/json\r\n", told.to_string()),
        error("429 Too Many Requests"),
        error("500 Internal Server Error"),
        events(&[]),
        raw("307 Temporary Redirect", "location: http://127.0.0.1:1/\r\n", ""),
        raw("200 OK", "content-type: text/html\r\n", "<html></html>"),
    ])
    .await;
    let gateway = TestGateway::start(&config(&upstream)).await;
    let bearer = format!("Bearer {CALLER}");
    let known = [("authorization", bearer.as_str()), ("x-request-id", "searched")];
    let mut said = String::new();
    let models =
        ["openai/gpt-4o-mini", "anthropic/claude-sonnet-4-5", "aws-bedrock/amazon.nova-lite-v1:0", "nobody"];
    for _ in 0..3 {
        for model in models {
            for body in [question(model), streamed(model)] {
                said += &shown(&gateway.chat_with(&known, &body).await);
            }
        }
    }
    said +=
        &shown(&gateway.chat_with(&[("authorization", &format!("Bearer {CALLER}x"))], &question("x")).await);
    said +=
        &shown(&gateway.chat_with(&[("authorization", &format!("Bearer {PROVIDER}"))], &question("x")).await);
    for path in ["/metrics", "/v1/models", "/v1/routing", "/health", "/ready", "/nothing"] {
        for key in [CALLER.to_owned(), format!("{CALLER}-admin")] {
            let request = format!("GET {path} HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {key}\r\n\r\n");
            said += &gateway.send(request.as_bytes()).await.text();
        }
    }
    said += &outside_of_requests(&gateway).await;
    // The canaries were really sent.
    assert!(upstream.received().iter().any(|heard| heard.head.contains(PROVIDER)));
    assert!(upstream.received().iter().any(|heard| heard.head.contains("Credential=AKIATEST")));
    said += &format!("{:#?}", gateway.records().await);
    let logged = logged();
    assert!(logged.contains("request_id=\"searched\""), "nothing was logged");
    for (what, text) in [("said", &said), ("logged", &logged)] {
        if let Some(at) = text.find("canary-") {
            panic!("{what}: …{}", &text[at.saturating_sub(200)..(at + 60).min(text.len())]);
        }
    }
}

/// Everything that a caller sees of an answer.
fn shown(reply: &Reply) -> String {
    format!("{:?}{}", reply.headers, reply.text())
}

/// The banner, the explanation, and what the settings print.
async fn outside_of_requests(gateway: &TestGateway) -> String {
    let snapshot = gateway.snapshot();
    let providers: Vec<_> = snapshot.providers.values().map(|provider| provider.settings.clone()).collect();
    let mut text = banner::providers(&providers, Style::PLAIN) + &banner::summary(&providers, Style::PLAIN);
    let at = banner::Listening { address: gateway.address, tls: false };
    let example = banner::Example::find(&gateway.api, true).await;
    text += &banner::banner(at, &CallerKey::InConfiguration, &example, None, Style::PLAIN);
    for model in ["openai/gpt-4o-mini", "anthropic/claude-sonnet-4-5", "aws-bedrock/amazon.nova-lite-v1:0"] {
        let body = question(model).to_string();
        let explanation = explain(&snapshot, &body.into(), routing::Timestamp(0)).unwrap();
        text += &format!("{explanation}{}", explanation.as_json());
    }
    text + &format!("{:?}", providers.iter().map(|provider| &provider.keys).collect::<Vec<_>>())
}

#[tokio::test]
async fn a_key_that_the_provider_quotes_is_masked_by_its_value() {
    const KEY: &str = "d3adb33f00112233445566778899aabb";
    start_log();
    let quoted = |text: &str| json!({"error": {"message": text, "type": KEY, "code": KEY}}).to_string();
    let encoded = STANDARD.encode(format!("user:{KEY}"));
    let upstream = Upstream::playing(vec![
        raw("401 Unauthorized", "content-type: application/json\r\n", quoted(&format!("No: {KEY}"))),
        raw("500 Oops", "content-type: text/plain\r\n", format!("Basic {encoded} failed")),
        raw("400 Bad Request", "content-type: application/json\r\n", quoted(&format!("?key={KEY}&x"))),
    ])
    .await;
    let config = format!(
        "[providers.one]\nprotocol = \"openai-chat\"\nbase_url = \"http://{}/v1\"\napi_key = \"{KEY}\"\n\
         [routing]\nmax_retries = 0\n[routing.health]\ncredential_seconds = 0\n",
        upstream.address
    );
    let gateway = TestGateway::start(&config).await;
    let known = [("x-request-id", "masked-by-value")];
    let mut said = String::new();
    for _ in 0..3 {
        said += &gateway.chat_with(&known, &question("one/m")).await.text();
    }
    assert!(said.contains("***"), "{said}");
    said += &format!("{:#?}", gateway.records().await);
    let logged = logged();
    assert!(logged.contains("masked-by-value"), "nothing was logged");
    for text in [&said, &logged] {
        let found = ["d3adb33f0011", &encoded[8..30]].iter().find_map(|secret| text.find(secret));
        assert_eq!(found.map(|at| &text[at.saturating_sub(80)..]), None);
    }
}

#[tokio::test]
async fn a_key_that_is_quoted_within_a_stream_is_masked() {
    const KEY: &str = "d3adb33f99887766554433221100ffee";
    start_log();
    let mut upstream = Upstream::by_hand().await;
    let config = format!(
        "[providers.one]\nprotocol = \"openai-chat\"\nbase_url = \"http://{}/v1\"\napi_key = \"{KEY}\"\n",
        upstream.address
    );
    let gateway = TestGateway::start(&config).await;
    let (address, body) = (gateway.address, streamed("one/any").to_string());
    let asked = tokio::spawn(async move { open(address, &[], body.as_bytes()).await });
    let mut line = upstream.next().await;
    line.send([stream_head(), chunk(json!({"content": "Hello."}), None).into_bytes()].concat()).await;
    let mut reply = asked.await.unwrap();
    assert!(reply.piece().await.unwrap().contains("Hello."));
    line.send(format!("data: {}\n\n", json!({"error": {"message": format!("The key {KEY} expired.")}})))
        .await;
    drop(line);
    let said = reply.rest().await.text() + &format!("{:#?}", gateway.records().await);
    assert!(said.contains("The key *** expired."), "{said}");
    assert!(!said.contains("d3adb33f9988") && !logged().contains("d3adb33f9988"));
}
