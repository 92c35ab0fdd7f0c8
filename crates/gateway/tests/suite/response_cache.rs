//! Cached answers to equal requests.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use mock::{Mock, Options};
use serde_json::{Value, json};

use crate::support::{
    Reply, TestGateway, Upstream, answer, answer_of, chunk, error, events, question, settle, stream_of,
    streamed, whole,
};

const MODEL: &str = "openai/gpt-4o-mini";

/// A configuration with two projects of these policies, with one key each.
fn config(upstream: &Upstream, one: &str, other: &str) -> String {
    let project = |id: &str, policy: &str| {
        format!("[projects.{id}]\n{policy}\n[[projects.{id}.keys]]\nname = \"k\"\nkey = \"key-{id}\"\n")
    };
    format!("{}{}{}", upstream.known("openai"), project("a", one), project("b", other))
}

const CACHED: &str = "cache = { seconds = 600 }";

async fn ask(gateway: &TestGateway, project: &str, body: &Value) -> Reply {
    ask_with(gateway, project, &[], body).await
}

async fn ask_with(gateway: &TestGateway, project: &str, headers: &[(&str, &str)], body: &Value) -> Reply {
    let bearer = format!("Bearer key-{project}");
    let mut all = vec![("authorization", bearer.as_str())];
    all.extend(headers);
    gateway.chat_with(&all, body).await
}

fn used(reply: &Reply) -> Option<&str> {
    reply.header("x-llmgateway-cache")
}

#[tokio::test]
async fn an_equal_request_gets_the_answer_at_no_cost() {
    let upstream = Upstream::playing(vec![answer("Hello."), answer("Other.")]).await;
    let gateway = TestGateway::start(&config(&upstream, CACHED, "")).await;
    let first = ask(&gateway, "a", &question(MODEL)).await;
    assert_eq!((first.status, used(&first), first.at("/metadata/cache")), (200, Some("miss"), json!("miss")));
    // White space and the order of members make no difference.
    let body = format!(
        "{{ \"messages\" : [ {{\"role\":\"user\",\"content\":\"Say hello.\"}} ],\n\"model\":\"{MODEL}\" }}"
    );
    let again =
        gateway.post_with("/v1/chat/completions", "authorization: Bearer key-a\r\n", body.as_bytes()).await;
    assert_eq!((again.status, used(&again), again.at("/metadata/cache")), (200, Some("hit"), json!("hit")));
    assert_eq!(again.at("/choices"), first.at("/choices"));
    assert_eq!(again.at("/usage/prompt_tokens"), first.at("/usage/prompt_tokens"));
    assert_eq!((again.at("/usage/cost_usd_total"), again.at("/metadata/routing")), (json!(0), json!([])));
    assert_eq!(again.header("x-llmgateway-cost-usd"), Some("0"));
    assert_eq!(again.at("/metadata/used_provider"), json!("openai"));
    assert_ne!(again.at("/id"), first.at("/id"));
    let other = json!({"model": MODEL, "messages": [{"role": "user", "content": "Say  hello."}]});
    let other = ask(&gateway, "a", &other).await;
    assert_eq!(other.at("/choices/0/message/content"), json!("Other."));
    assert_eq!(upstream.received().len(), 2);
    assert_eq!(gateway.metric("llmgateway_response_cache_total{kind=\"hit\"}").await, Some(1.0));
    assert_eq!(gateway.metric("llmgateway_response_cache_total{kind=\"stored\"}").await, Some(2.0));
    assert!(gateway.metric("llmgateway_response_cache_bytes").await.unwrap() > 100.0);
    let records = gateway.records().await;
    let said: Vec<_> = records
        .iter()
        .map(|record| (record.cache.as_deref(), record.cost.unwrap().total.0 > 0, record.attempts.len()))
        .collect();
    assert_eq!(said.iter().filter(|said| **said == (Some("hit"), false, 0)).count(), 1, "{said:?}");
    assert_eq!(said.iter().filter(|said| **said == (Some("miss"), true, 1)).count(), 2, "{said:?}");
    let hit = records.iter().find(|record| record.cache.as_deref() == Some("hit")).unwrap();
    assert_eq!((hit.used_provider.as_deref(), hit.upstream_cost.unwrap().0), (Some("openai"), 0));
}

#[tokio::test]
async fn a_cached_stream_answers_a_whole_request_and_vice_versa() {
    for first_streams in [true, false] {
        let reply = if first_streams { stream_of(&["Hel", "lo."]) } else { answer("Hello.") };
        let upstream = Upstream::playing(vec![reply, error("500 Internal Server Error")]).await;
        let gateway = TestGateway::start(&config(&upstream, CACHED, "")).await;
        let (whole, stream) = (question(MODEL), streamed(MODEL));
        let order = if first_streams { [&stream, &whole, &stream] } else { [&whole, &stream, &whole] };
        let mut ids = BTreeSet::new();
        for (index, body) in order.into_iter().enumerate() {
            let reply = ask(&gateway, "a", body).await;
            assert_eq!((reply.status, used(&reply)), (200, Some(if index == 0 { "miss" } else { "hit" })));
            if body["stream"] == true {
                assert_eq!((reply.content(), reply.done()), ("Hello.".to_owned(), 1));
                assert_eq!(reply.finishes(), ["stop"]);
                ids.insert(reply.events()[0]["id"].clone().to_string());
            } else {
                assert_eq!(reply.at("/choices/0/message/content"), json!("Hello."));
                ids.insert(reply.at("/id").to_string());
            }
        }
        assert_eq!((upstream.received().len(), ids.len()), (1, 3), "{ids:?}");
    }
}

#[tokio::test]
async fn no_project_gets_cached_answers_of_another() {
    let upstream = Upstream::playing(vec![answer("for a"), answer("for b")]).await;
    let gateway = TestGateway::start(&config(&upstream, CACHED, CACHED)).await;
    for (project, text, what) in
        [("a", "for a", "miss"), ("b", "for b", "miss"), ("a", "for a", "hit"), ("b", "for b", "hit")]
    {
        let reply = ask(&gateway, project, &question(MODEL)).await;
        let content = reply.at("/choices/0/message/content");
        assert_eq!((content, used(&reply)), (json!(text), Some(what)), "{project}");
    }
    // A header that names the other project changes nothing: the key decides whose request it is.
    let reply = ask_with(&gateway, "b", &[("x-llmgateway-project", "a")], &question(MODEL)).await;
    assert_eq!(reply.at("/choices/0/message/content"), json!("for b"));
}

#[tokio::test]
async fn a_purge_forgets_the_answers_of_one_project() {
    let upstream = Upstream::playing(vec![answer("One."), answer("Other."), answer("New.")]).await;
    let config = format!("{}[auth]\nadmin_keys = [\"root\"]\n", config(&upstream, CACHED, CACHED));
    let gateway = TestGateway::start(&config).await;
    let content = async |project: &str| {
        let reply = ask(&gateway, project, &question(MODEL)).await;
        (reply.at("/choices/0/message/content"), used(&reply).unwrap().to_owned())
    };
    let answered = |text: &str, used: &str| (json!(text), used.to_owned());
    assert_eq!(
        (content("a").await, content("b").await),
        (answered("One.", "miss"), answered("Other.", "miss"))
    );
    let purge = async |project: &str| {
        let head = format!(
            "DELETE /admin/v1/cache/{project} HTTP/1.1\r\nhost: g\r\nx-api-key: root\r\nconnection: close\r\n\r\n"
        );
        gateway.send(head.as_bytes()).await
    };
    assert_eq!(purge("nobody").await.status, 404);
    let purged = purge("a").await;
    assert_eq!((purged.status, purged.at("/deleted"), purged.at("/id")), (200, json!(true), json!("a")));
    assert_eq!((content("a").await, content("a").await), (answered("New.", "miss"), answered("New.", "hit")));
    assert_eq!(content("b").await, answered("Other.", "hit"));
    let entries = gateway.api.store.audit_before(i64::MAX, 9).await.unwrap();
    let entry = (entries[0].action.as_str(), entries[0].target.as_str(), entries.len());
    assert_eq!(entry, ("project.purge_cache", "project:a", 1));
}

#[tokio::test]
async fn a_header_chooses_the_cache_and_the_maximum_age() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = TestGateway::start(&config(&upstream, "", "cache = { seconds = 0 }")).await;
    let asked = |project: &'static str, headers: &'static [(&'static str, &'static str)]| {
        let gateway = &gateway;
        async move { ask_with(gateway, project, headers, &question(MODEL)).await }
    };
    let minute = &[("x-llmgateway-cache", "60")];
    assert_eq!(used(&asked("a", &[]).await), None, "the request does not ask for the cache");
    assert_eq!(used(&asked("a", minute).await), Some("miss"));
    assert_eq!(used(&asked("a", minute).await), Some("hit"));
    assert_eq!(used(&asked("a", &[("x-llmgateway-cache", "0")]).await), None);
    assert_eq!(used(&asked("a", &[("x-llmgateway-cache", "60"), ("x-no-cache", "true")]).await), None);
    assert_eq!(used(&asked("b", minute).await), None, "the policy forbids it");
    assert_eq!(upstream.received().len(), 5);
    for wrong in ["yes", "-1", "", "1.5", "2592001", "99999999999999999999"] {
        let reply = ask_with(&gateway, "a", &[("x-llmgateway-cache", wrong)], &question(MODEL)).await;
        assert_eq!((reply.status, reply.at("/error/param")), (400, json!("x-llmgateway-cache")), "{wrong}");
    }
    let twice = &[("x-llmgateway-cache", "60"), ("x-llmgateway-cache", "61")];
    assert_eq!(asked("a", twice).await.status, 400);
}

#[tokio::test]
async fn errors_broken_streams_and_refusals_are_not_cached() {
    let broken = events(&[chunk(json!({"content": "Hel"}), None)]);
    let filtered =
        whole("200 OK", &answer_of(json!({"role": "assistant", "content": "No."}), "content_filter"));
    let cases: [(&str, Vec<u8>, Value); 3] = [
        ("an error", error("400 Bad Request"), question(MODEL)),
        ("a stream that breaks", broken, streamed(MODEL)),
        ("a refusal", filtered, question(MODEL)),
    ];
    for (what, reply, body) in cases {
        let upstream = Upstream::playing(vec![reply, stream_of(&["Good."])]).await;
        let gateway = TestGateway::start(&config(&upstream, CACHED, "")).await;
        ask(&gateway, "a", &body).await;
        let next = ask(&gateway, "a", &streamed(MODEL)).await;
        assert_eq!((next.content(), used(&next)), ("Good.".to_owned(), Some("miss")), "{what}");
        assert_eq!(used(&ask(&gateway, "a", &body).await), Some("hit"), "{what}");
    }
}

#[tokio::test]
async fn an_answer_whose_caller_hung_up_is_not_cached() {
    let mut upstream = Upstream::by_hand().await;
    let gateway = TestGateway::start(&config(&upstream, CACHED, "")).await;
    let headers = [("authorization", "Bearer key-a")];
    let open = tokio::spawn({
        let address = gateway.address;
        async move { crate::support::open(address, &headers, streamed(MODEL).to_string().as_bytes()).await }
    });
    let mut line = upstream.next().await;
    line.send(events(&[chunk(json!({"content": "Hel"}), None)])).await;
    let mut open = open.await.unwrap();
    assert!(open.piece().await.is_some());
    drop(open);
    line.hung_up().await;
    let again = tokio::spawn({
        let address = gateway.address;
        async move {
            crate::support::chat(
                address,
                &[("authorization", "Bearer key-a")],
                streamed(MODEL).to_string().as_bytes(),
            )
            .await
        }
    });
    let mut line = upstream.next().await;
    line.send(stream_of(&["Good."])).await;
    drop(line);
    assert_eq!(again.await.unwrap().content(), "Good.");
}

#[tokio::test]
async fn large_answers_are_not_cached_and_a_cache_without_memory_keeps_nothing() {
    for settings in ["answer_limit = \"1KiB\"", "memory = \"0\""] {
        let upstream = Upstream::playing(vec![answer(&"long ".repeat(400))]).await;
        let config = format!("{}[cache]\n{settings}\n", config(&upstream, CACHED, ""));
        let gateway = TestGateway::start(&config).await;
        for _ in 0..2 {
            let reply = ask(&gateway, "a", &question(MODEL)).await;
            assert_eq!((reply.status, used(&reply)), (200, Some("miss")), "{settings}");
        }
    }
}

fn start_equal(gateway: &Arc<TestGateway>, many: usize) -> Vec<tokio::task::JoinHandle<Reply>> {
    (0..many)
        .map(|index| {
            let gateway = gateway.clone();
            let body = if index % 2 == 0 { question(MODEL) } else { streamed(MODEL) };
            tokio::spawn(async move { ask(&gateway, "a", &body).await })
        })
        .collect()
}

fn text_of(reply: &Reply) -> String {
    if reply.header("content-type").unwrap_or_default().starts_with("text/event-stream") {
        reply.content()
    } else {
        reply.at("/choices/0/message/content").as_str().unwrap_or_default().to_owned()
    }
}

#[tokio::test]
async fn concurrent_equal_requests_are_sent_once() {
    let mut upstream = Upstream::by_hand().await;
    let gateway = Arc::new(TestGateway::start(&config(&upstream, CACHED, "")).await);
    let asked = start_equal(&gateway, 6);
    let mut line = upstream.next().await;
    settle().await;
    line.send(answer("Once.")).await;
    let mut hits = 0;
    for asked in asked {
        let reply = asked.await.unwrap();
        assert_eq!((reply.status, text_of(&reply).as_str()), (200, "Once."));
        hits += usize::from(used(&reply) == Some("hit"));
    }
    assert_eq!((upstream.received().len(), hits), (1, 5));
}

#[tokio::test]
async fn a_waiting_request_is_sent_when_the_first_one_fails_or_is_cancelled() {
    let mut upstream = Upstream::by_hand().await;
    let gateway = Arc::new(TestGateway::start(&config(&upstream, CACHED, "")).await);
    let first = tokio::spawn({
        let gateway = gateway.clone();
        async move { ask(&gateway, "a", &question(MODEL)).await }
    });
    let line = upstream.next().await;
    let others = start_equal(&gateway, 3);
    settle().await;
    first.abort();
    line.hung_up().await;
    let mut line = upstream.next().await;
    settle().await;
    line.send(error("400 Bad Request")).await;
    let mut line = upstream.next().await;
    settle().await;
    line.send(answer("At last.")).await;
    let mut statuses = Vec::new();
    for asked in others {
        statuses.push(asked.await.unwrap().status);
    }
    statuses.sort_unstable();
    assert_eq!((statuses, upstream.received().len()), (vec![200, 200, 400], 3));
}

#[tokio::test]
async fn a_policy_may_send_concurrent_equal_requests_separately() {
    let mut upstream = Upstream::by_hand().await;
    let policy = "cache = { seconds = 600, share = false }";
    let gateway = Arc::new(TestGateway::start(&config(&upstream, policy, "")).await);
    let asked = start_equal(&gateway, 3);
    for _ in 0..3 {
        upstream.next().await.send(stream_of(&["Own."])).await;
    }
    for asked in asked {
        assert_eq!(text_of(&asked.await.unwrap()), "Own.");
    }
}

#[tokio::test]
async fn a_cached_answer_counts_as_a_request_and_uses_no_money_or_tokens() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    // One answer uses 15 tokens and reserves up to 107, and costs 4.2 millionths of a dollar.
    let policy = format!(
        "{CACHED}\nbudgets = [{{ usd = \"0.000065\", per = \"day\" }}]\n\
         limits = [{{ requests = 4, per = \"day\" }}, {{ tokens = 120, per = \"day\" }}]"
    );
    let gateway = TestGateway::start(&config(&upstream, &policy, "")).await;
    let mut body = question(MODEL);
    body["max_tokens"] = json!(100);
    for what in ["miss", "hit", "hit"] {
        let reply = ask(&gateway, "a", &body).await;
        assert_eq!((reply.status, used(&reply)), (200, Some(what)), "{}", reply.text());
    }
    let mut other = body.clone();
    other["messages"][0]["content"] = json!("Say something else.");
    let refused = ask(&gateway, "a", &other).await;
    assert!([402, 429].contains(&refused.status), "what is new needs room: {}", refused.text());
    assert_eq!(ask(&gateway, "a", &body).await.status, 200);
    let refused = ask(&gateway, "a", &body).await;
    assert_eq!(refused.status, 429, "a cached answer counts as a request: {}", refused.text());
}

#[tokio::test]
async fn cached_answers_are_served_while_their_provider_is_away() {
    let upstream = Upstream::playing(vec![answer("Hello."), error("500 Internal Server Error")]).await;
    let gateway = TestGateway::start(&config(&upstream, CACHED, "")).await;
    assert_eq!(ask(&gateway, "a", &question(MODEL)).await.status, 200);
    for index in 0..12 {
        let other = json!({"model": MODEL, "messages": [{"role": "user", "content": index.to_string()}]});
        assert!(ask(&gateway, "a", &other).await.status >= 500);
    }
    let reply = ask(&gateway, "a", &question(MODEL)).await;
    assert_eq!((reply.status, used(&reply)), (200, Some("hit")));
}

#[tokio::test]
async fn provider_preferences_hold_for_cached_answers() {
    let (one, other) =
        (Upstream::playing(vec![answer("one")]).await, Upstream::playing(vec![answer("other")]).await);
    let config = format!(
        "{}{}[models.both]\ntargets = [\"one/m\", \"other/m\"]\n[projects.a]\n{CACHED}\n\
         [[projects.a.keys]]\nname = \"k\"\nkey = \"key-a\"\n",
        one.provider("one", "openai-chat"),
        other.provider("other", "openai-chat"),
    );
    let gateway = TestGateway::start(&config).await;
    let to = |only: &str| {
        let mut body = question("both");
        body["provider"] = json!({"only": [only]});
        body
    };
    for (only, what) in [("one", "miss"), ("other", "miss"), ("one", "hit"), ("other", "hit")] {
        let reply = ask(&gateway, "a", &to(only)).await;
        assert_eq!((reply.at("/choices/0/message/content"), used(&reply)), (json!(only), Some(what)));
    }
    // A caller without a preference gets either of them.
    assert_eq!(used(&ask(&gateway, "a", &question("both")).await), Some("hit"));
}

const SPOKEN: [&str; 6] = [
    "openai/gpt-4o-mini",
    "anthropic/claude-sonnet-4-5",
    "google-ai-studio/gemini-2.5-flash",
    "aws-bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "cohere/command-a-03-2025",
    "local/gpt-oss:20b",
];

async fn with_mock() -> (Mock, TestGateway) {
    let mock = mock::start(SocketAddr::from(([127, 0, 0, 1], 0)), Options::default()).await.unwrap();
    let at = mock.address();
    let mut config = format!(
        "[providers.aws-bedrock]\nbase_url = \"http://{at}/aws-bedrock\"\naccess_key_id = \"A\"\nsecret_access_key = \"s\"\n\
         [providers.local]\nprotocol = \"ollama-chat\"\nbase_url = \"http://{at}/local\"\n\
         [providers.openai]\nbase_url = \"http://{at}/openai/v1\"\napi_key = \"k\"\n\
         [projects.a]\n{CACHED}\n[[projects.a.keys]]\nname = \"k\"\nkey = \"key-a\"\n"
    );
    for id in ["anthropic", "google-ai-studio", "cohere"] {
        config += &format!("[providers.{id}]\nbase_url = \"http://{at}/{id}\"\napi_key = \"k\"\n");
    }
    let gateway = TestGateway::start(&config).await;
    (mock, gateway)
}

/// The path and the body of a question in each dialect.
fn spoken(model: &str, stream: bool) -> [(String, Value); 4] {
    let turn = json!([{"role": "user", "content": "Say hello."}]);
    let method = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
    [
        ("/v1/chat/completions".into(), json!({"model": model, "stream": stream, "messages": turn})),
        (
            "/v1/messages".into(),
            json!({"model": model, "stream": stream, "max_tokens": 64, "messages": turn}),
        ),
        ("/v1/responses".into(), json!({"model": model, "stream": stream, "input": "Say hello."})),
        (
            format!("/v1beta/models/{model}:{method}"),
            json!({"contents": [{"role": "user", "parts": [{"text": "Say hello."}]}]}),
        ),
    ]
}

/// The text and the id of an answer in any dialect.
fn text_and_id(reply: &Reply, stream: bool) -> (String, String) {
    let events = if stream { reply.events() } else { vec![reply.json()] };
    let mut text = String::new();
    let mut id = None;
    for event in &events {
        let places = if stream {
            ["/choices/0/delta/content", "/delta/text", "/delta", "/candidates/0/content/parts/0/text"]
        } else {
            [
                "/choices/0/message/content",
                "/content/0/text",
                "/output/0/content/0/text",
                "/candidates/0/content/parts/0/text",
            ]
        };
        let piece = places.iter().find_map(|place| event.pointer(place)?.as_str());
        text += piece.unwrap_or_default();
        let ids = ["/message/id", "/response/id", "/responseId", "/id"];
        id = id.or_else(|| ids.iter().find_map(|place| event.pointer(place)?.as_str().map(str::to_owned)));
    }
    (text, id.unwrap_or_default())
}

#[tokio::test]
async fn a_cached_answer_serves_every_format_streamed_and_whole() {
    let (_mock, gateway) = with_mock().await;
    let head = "authorization: Bearer key-a\r\ncontent-type: application/json\r\n";
    for model in SPOKEN {
        for speech in 0..4 {
            let mut ids = BTreeSet::new();
            let mut texts = BTreeSet::new();
            for (round, stream) in [false, true, false, true].into_iter().enumerate() {
                let (path, body) = &spoken(model, stream)[speech];
                let reply = gateway.post_with(path, head, body.to_string().as_bytes()).await;
                // The first answer may come from an equal request in another format.
                let is_expected = round == 0 || used(&reply) == Some("hit");
                assert!(reply.status == 200 && is_expected, "{model} {path} {round}: {}", reply.text());
                let (text, id) = text_and_id(&reply, stream);
                assert!(!text.is_empty() && !id.is_empty(), "{model} {path}: {}", reply.text());
                texts.insert(text);
                ids.insert(id);
            }
            assert_eq!((texts.len(), ids.len()), (1, 4), "{model} {speech}: {texts:?} {ids:?}");
        }
    }
}

#[tokio::test]
async fn a_conversation_continues_from_a_cached_answer() {
    let (_mock, gateway) = with_mock().await;
    let head = "authorization: Bearer key-a\r\ncontent-type: application/json\r\n";
    let ask = |body: Value| {
        let gateway = &gateway;
        async move { gateway.post_with("/v1/responses", head, body.to_string().as_bytes()).await }
    };
    let mut ids = BTreeSet::new();
    for _ in 0..2 {
        let reply = ask(json!({"model": MODEL, "input": "Say hello."})).await;
        let id = reply.at("/id").as_str().unwrap().to_owned();
        let next =
            ask(json!({"model": MODEL, "input": format!("And {id}?"), "previous_response_id": id})).await;
        assert_eq!(next.status, 200, "{}", next.text());
        ids.insert(id);
    }
    assert_eq!(ids.len(), 2);
}

#[tokio::test]
async fn tool_calls_and_structured_answers_are_cached() {
    let (_mock, gateway) = with_mock().await;
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": false});
    for model in SPOKEN {
        let with_tools = json!({"model": model, "messages": [{"role": "user", "content": "Weather in Oslo?"}], "tool_choice": "required",
            "tools": [{"type": "function", "function": {"name": "weather", "parameters": schema}}]});
        let shaped = json!({"model": model, "messages": [{"role": "user", "content": "A city?"}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "c", "strict": true, "schema": schema}}});
        for body in [with_tools, shaped] {
            let (first, again) = (ask(&gateway, "a", &body).await, ask(&gateway, "a", &body).await);
            assert_eq!(
                (first.status, again.status, used(&again)),
                (200, 200, Some("hit")),
                "{model}: {}",
                first.text()
            );
            let message = |reply: &Reply| {
                let mut message = reply.at("/choices/0/message");
                // The gateway makes new ids for each answer.
                if let Some(calls) = message["tool_calls"].as_array_mut() {
                    calls.iter_mut().for_each(|call| call["id"] = Value::Null);
                }
                message
            };
            assert_eq!(message(&first), message(&again), "{model}");
        }
    }
}

#[tokio::test]
async fn parts_of_one_request_are_cached_separately() {
    let upstream = Upstream::playing(vec![answer("one"), answer("two")]).await;
    let gateway = TestGateway::start(&config(&upstream, CACHED, "")).await;
    let body = json!({"model": MODEL, "prompt": ["Say.", "Say."], "max_tokens": 5});
    let reply = gateway
        .post_with("/v1/completions", "authorization: Bearer key-a\r\n", body.to_string().as_bytes())
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(upstream.received().len(), 2, "{}", reply.text());
}
