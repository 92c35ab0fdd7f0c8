//! Timeouts, and the interpretation of what arrives.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::{
    Native, Reply, TestGateway, Upstream, advance, advance_seconds, answer, answer_of, chunk, error, events,
    native, open, question, raw, settle, stream_head, streamed, whole, with_held_clock,
};

const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";

fn piece(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

fn document() -> String {
    answer_of(json!({"role": "assistant", "content": "Hello."}), "stop").to_string()
}

fn ask(gateway: &TestGateway, body: &Value) -> JoinHandle<Reply> {
    let (address, body) = (gateway.address, body.to_string());
    tokio::spawn(async move { open(address, &[], body.as_bytes()).await.rest().await })
}

/// Two providers, the first one first.
fn pair(first: &Upstream, second: &Upstream) -> String {
    first.provider("first", "openai-chat")
        + &second.provider("second", "openai-chat")
        + "[models.both]\ntargets = [\"first/a\", \"second/b\"]\npick = \"order\"\n"
}

#[tokio::test]
async fn white_space_keeps_a_whole_answer_alive() {
    with_held_clock(async {
        let mut upstream = Upstream::by_hand().await;
        let config = upstream.provider("one", "openai-chat") + "[timeouts]\nfirst_byte = 5\nidle = 5\n";
        let gateway = TestGateway::start(&config).await;
        let asked = ask(&gateway, &question("one/any"));
        let mut line = upstream.next().await;
        line.send(CHUNKED).await;
        for _ in 0..6 {
            advance_seconds(4).await;
            line.send(piece("\n")).await;
        }
        line.send(piece(&document()) + "0\r\n\r\n").await;
        let reply = asked.await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(upstream.received().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_whole_answer_that_has_begun_is_not_requested_again() {
    for (setting, attempts) in [("", 1), ("repeat_begun = true\n", 2)] {
        with_held_clock(async move {
            let mut first = Upstream::by_hand().await;
            let second = Upstream::playing(vec![answer("Hello.")]).await;
            let gateway =
                TestGateway::start(&(pair(&first, &second) + "[timeouts]\nidle = 5\n" + setting)).await;
            let asked = ask(&gateway, &question("both"));
            let mut line = first.next().await;
            line.send(CHUNKED.to_owned() + &piece("{")).await;
            advance_seconds(5).await;
            let reply = asked.await.unwrap();
            assert_eq!(reply.routing()[0], "first 200 timeout");
            assert_eq!(reply.routing().len(), attempts, "{setting}");
            assert_eq!(reply.status, if attempts == 1 { 504 } else { 200 });
        })
        .await;
    }
}

#[tokio::test]
async fn a_stream_without_content_goes_to_another_provider() {
    with_held_clock(async {
        let mut first = Upstream::by_hand().await;
        let second = Upstream::playing(vec![crate::support::stream_of(&["Hello."])]).await;
        let gateway = TestGateway::start(&(pair(&first, &second) + "[timeouts]\nfirst_token = 9\n")).await;
        let asked = ask(&gateway, &streamed("both"));
        let mut line = first.next().await;
        line.send(
            [stream_head(), chunk(json!({"role": "assistant", "content": ""}), None).into_bytes()].concat(),
        )
        .await;
        advance_seconds(9).await;
        assert_eq!(asked.await.unwrap().content(), "Hello.");
    })
    .await;
}

#[tokio::test]
async fn silence_is_noticed_before_the_first_ping() {
    with_held_clock(async {
        let mut upstream = Upstream::by_hand().await;
        let config = upstream.provider("one", "openai-chat") + "[timeouts]\nidle = 3\n";
        let gateway = TestGateway::start(&config).await;
        let asked = ask(&gateway, &streamed("one/any"));
        let mut line = upstream.next().await;
        line.send([stream_head(), chunk(json!({"content": "Hel"}), None).into_bytes()].concat()).await;
        settle().await;
        advance_seconds(3).await;
        let reply = asked.await.unwrap();
        assert!(reply.text().contains("sent nothing (3 seconds)"), "{}", reply.text());
    })
    .await;
}

#[tokio::test]
async fn one_deadline_holds_for_all_attempts() {
    with_held_clock(async {
        let mut first = Upstream::by_hand().await;
        let mut second = Upstream::by_hand().await;
        let config = pair(&first, &second) + "[timeouts]\nfirst_byte = 6\nrequest = 10\n";
        let gateway = TestGateway::start(&config).await;
        let asked = ask(&gateway, &question("both"));
        let _one = first.next().await;
        advance_seconds(6).await;
        let _two = second.next().await;
        advance_seconds(4).await;
        let reply = asked.await.unwrap();
        assert_eq!(reply.error(), (504, "upstream_error".into(), "timeout".into()), "{}", reply.text());
        assert_eq!(reply.routing(), ["first 0 timeout", "second 0 timeout"]);
        assert!(reply.message().contains("10 seconds"), "{}", reply.message());
    })
    .await;
}

#[tokio::test]
async fn providers_and_aliases_have_timeouts_of_their_own() {
    let own = "[providers.one.timeouts]\nfirst_byte = 3\n";
    let alias = "[models.slow]\ntargets = [\"one/any\"]\ntimeouts = { first_byte = 7 }\n";
    for (model, seconds) in [("one/any", 3), ("slow", 7)] {
        with_held_clock(async move {
            let mut upstream = Upstream::by_hand().await;
            let config =
                upstream.provider("one", "openai-chat") + own + alias + "[routing]\nmax_retries = 0\n";
            let gateway = TestGateway::start(&config).await;
            let asked = ask(&gateway, &question(model));
            let _line = upstream.next().await;
            advance(Duration::from_millis(seconds * 1000 - 100)).await;
            assert!(!asked.is_finished(), "{model}");
            advance(Duration::from_millis(200)).await;
            assert_eq!(asked.await.unwrap().status, 504);
        })
        .await;
    }
}

#[tokio::test]
async fn the_body_decides_and_not_its_content_type() {
    let pieces = [
        chunk(json!({"role": "assistant", "content": "Hel"}), None),
        chunk(json!({"content": "lo."}), None),
        chunk(json!({}), Some("stop")),
        "data: [DONE]\n\n".to_owned(),
    ];
    let stream = pieces.concat();
    let labels = ["application/json", "text/event-stream", "text/plain; charset=utf-8"];
    for label in labels {
        for (body, name) in [
            (stream.clone(), "events"),
            (document(), "document"),
            (format!("\n {}", document()), "space"),
            (format!("\u{feff}{}", document()), "byte order mark"),
        ] {
            let reply = raw("200 OK", &format!("content-type: {label}\r\n"), body);
            let upstream = Upstream::playing(vec![reply]).await;
            let gateway = TestGateway::of(&upstream).await;
            let whole = gateway.chat(&question("one/any")).await;
            assert_eq!(whole.status, 200, "{label}, {name}: {}", whole.text());
            assert_eq!(whole.at("/choices/0/message/content"), "Hello.", "{label}, {name}");
            let streamed = gateway.chat(&streamed("one/any")).await;
            assert_eq!((streamed.content().as_str(), streamed.done()), ("Hello.", 1), "{label}, {name}");
        }
    }
    let _ = events(&[]);
}

/// The same for providers of the other formats.
#[tokio::test]
async fn the_body_decides_in_every_format() {
    for protocol in ["anthropic-messages", "gemini", "openai-responses"] {
        let Native { whole, stream } = native(protocol, None);
        let document = whole.to_string();
        for label in ["application/json", "text/event-stream"] {
            for (body, name) in [(&stream, "events"), (&document, "document")] {
                let reply = raw("200 OK", &format!("content-type: {label}\r\n"), body);
                let upstream = Upstream::playing(vec![reply]).await;
                let gateway = TestGateway::start(&upstream.provider("one", protocol)).await;
                let whole = gateway.chat(&question("one/any")).await;
                assert_eq!(whole.status, 200, "{protocol}, {label}, {name}: {}", whole.text());
                assert_eq!(whole.at("/choices/0/message/content"), "Hello.", "{protocol}, {label}, {name}");
                assert_eq!(whole.at("/choices/0/finish_reason"), "stop", "{protocol}, {label}, {name}");
                assert_eq!(whole.at("/usage/total_tokens"), 15, "{protocol}, {label}, {name}");
                let reply = gateway.chat(&streamed("one/any")).await;
                let seen = (reply.content(), reply.finishes(), reply.done());
                assert_eq!(seen, ("Hello.".to_owned(), vec!["stop".to_owned()], 1), "{}", reply.text());
                let usage = reply.events().pop().unwrap();
                assert_eq!(usage["usage"]["total_tokens"], 15, "{protocol}, {label}, {name}: {usage}");
            }
        }
    }
}

/// Reasoning models think for minutes before the head of a whole answer.
#[tokio::test]
async fn with_the_defaults_a_whole_answer_may_take_minutes() {
    for seconds in [121, 590] {
        with_held_clock(async move {
            let mut upstream = Upstream::by_hand().await;
            let gateway = TestGateway::of(&upstream).await;
            let asked = ask(&gateway, &question("one/any"));
            let mut line = upstream.next().await;
            advance_seconds(seconds).await;
            line.send(answer("Hello.")).await;
            let reply = asked.await.unwrap();
            assert_eq!((reply.status, upstream.received().len()), (200, 1), "{seconds}: {}", reply.text());
        })
        .await;
    }
}

#[tokio::test]
async fn the_wait_is_passed_on_in_seconds() {
    let date = "date: Tue, 14 Nov 2023 22:13:45 GMT\r\n";
    let cases = [
        ("retry-after: Tue, 14 Nov 2023 22:13:50 GMT\r\n", "5"),
        ("retry-after-ms: 3500\r\n", "4"),
        ("x-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 1m2s\r\n", "62"),
        (
            "x-ratelimit-remaining-requests: 5\r\nx-ratelimit-reset-requests: 1m2s\r\nx-ratelimit-remaining-tokens: 0\r\nx-ratelimit-reset-tokens: 6ms\r\n",
            "1",
        ),
    ];
    for (header, seconds) in cases {
        let reply = raw("429 Too Many Requests", &format!("{date}{header}"), "{}");
        let upstream = Upstream::playing(vec![reply]).await;
        let config = upstream.provider("one", "openai-chat") + "[routing]\nmax_retries = 0\n";
        let gateway = TestGateway::start(&config).await;
        let reply = gateway.chat(&question("one/any")).await;
        assert_eq!((reply.status, reply.header("retry-after")), (429, Some(seconds)), "{header}");
    }
}

#[tokio::test]
async fn a_refusal_of_the_gateways_credential_is_not_a_client_error() {
    let account = json!({"error": {"message": "You exceeded your current quota.", "type": "insufficient_quota", "code": "insufficient_quota"}});
    let refusals = [
        (401, error("401 Unauthorized")),
        (402, error("402 Payment Required")),
        (403, error("403 Forbidden")),
        (429, whole("429 Too Many Requests", &account)),
    ];
    for (status, refusal) in refusals {
        let upstream = Upstream::playing(vec![refusal]).await;
        let config = upstream.provider("one", "openai-chat") + "[routing]\nmax_retries = 0\n";
        let gateway = TestGateway::start(&config).await;
        let reply = gateway.chat(&question("one/any")).await;
        let expected = (502, "upstream_error".to_owned(), "upstream_credential".to_owned());
        assert_eq!(reply.error(), expected, "{status}: {}", reply.text());
        assert_eq!(reply.at("/metadata/routing/0/status_code"), status);
    }
}

/// Failures of one caller's requests leave other callers their second provider.
#[tokio::test]
async fn a_healthy_second_provider_serves_whatever_the_retry_budget_says() {
    let first = Upstream::playing(vec![error("500 Internal Server Error")]).await;
    let second = Upstream::playing(vec![answer("Hello.")]).await;
    let budget =
        "[routing.retry]\nbackoff_ms = 0\nbudget_ratio = 0.0\nbudget_per_second = 0.0\nbudget_burst = 0.0\n";
    let gateway = TestGateway::start(&(pair(&first, &second) + budget)).await;
    for _ in 0..3 {
        assert_eq!(gateway.chat(&question("both")).await.status, 200);
    }
}
