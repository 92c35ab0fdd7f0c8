//! Retry and fallback, seen from outside.

use serde_json::{Value, json};

use crate::support::{
    Reply, TestGateway, Upstream, advance_seconds, answer, chunk, error, events, nothing, open, question,
    raw, stream_of, streamed, with_held_clock,
};

/// Two providers behind one name, the first one first.
fn pair(first: &Upstream, second: &Upstream) -> String {
    format!(
        "{}{}[models.both]\ntargets = [\"first/a\", \"second/b\"]\npick = \"order\"\n",
        first.provider("first", "openai-chat"),
        second.provider("second", "openai-chat"),
    )
}

fn sorted_providers(reply: &Reply) -> (Value, Value) {
    (reply.at("/metadata/used_provider"), reply.at("/metadata/used_model"))
}

#[tokio::test]
async fn a_misconfigured_provider_is_a_failed_attempt_and_another_one_serves() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    // The request to the first provider cannot be built: its region is invalid.
    let config = format!(
        "[providers.google-vertex]\nproject = \"p\"\nregion = \"not a region\"\naccess_token = \"t\"\n{}\
         [models.pair]\ntargets = [\"google-vertex/gemini-2.5-flash\", \"second/m\"]\npick = \"order\"\n",
        upstream.provider("second", "openai-chat")
    );
    let gateway = TestGateway::start(&config).await;
    let reply = gateway.chat(&question("pair")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.routing(), ["google-vertex 0 upstream_error", "second 200"]);
    let alone = gateway.chat(&question("google-vertex/gemini-2.5-flash")).await;
    assert_eq!((alone.status, alone.at("/error/type")), (502, json!("upstream_error")), "{}", alone.text());
}

#[tokio::test]
async fn the_second_provider_answers_where_the_first_fails() {
    let cut =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{\"id\":".to_vec();
    let cases = [
        ("first 401 upstream_credential", error("401 Unauthorized")),
        ("first 402 quota", error("402 Payment Required")),
        ("first 404 not_found", error("404 Not Found")),
        ("first 429 rate_limit", error("429 Too Many Requests")),
        ("first 500 upstream_error", error("500 Internal Server Error")),
        ("first 503 overloaded", error("503 Service Unavailable")),
        ("first 200 upstream_error", cut),
        ("first 200 upstream_error", raw("200 OK", "content-type: application/json\r\n", "")),
    ];
    for (attempt, failure) in cases {
        let first = Upstream::playing(vec![failure]).await;
        let second = Upstream::playing(vec![answer("Hello.")]).await;
        let gateway = TestGateway::start(&pair(&first, &second)).await;
        let reply = gateway.chat(&question("both")).await;
        assert_eq!(reply.status, 200, "{attempt}: {}", reply.text());
        assert_eq!(reply.routing(), [attempt, "second 200"]);
        assert_eq!(sorted_providers(&reply), (json!("second"), json!("b")));
        assert_eq!(reply.at("/metadata/requested_provider"), Value::Null);
        assert_eq!(second.bodies()[0]["model"], "b");
        assert_eq!(gateway.record().await.attempts.len(), 2);
    }
}

#[tokio::test]
async fn a_bare_model_goes_to_another_of_its_providers() {
    let first = Upstream::playing(vec![error("500 Internal Server Error")]).await;
    let second = Upstream::playing(vec![answer("Hello.")]).await;
    let config = format!("{}{}", first.known("openai"), second.known("openrouter"));
    let gateway = TestGateway::start(&(config + "priority = 0.1\n")).await;
    let reply = gateway.chat(&question("gpt-4o-mini")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.routing(), ["openai 500 upstream_error", "openrouter 200"]);
}

#[tokio::test]
async fn a_stream_can_fall_back_until_its_first_content() {
    let role = chunk(json!({"role": "assistant", "content": ""}), None);
    let failures = [
        error("429 Too Many Requests"),
        events(&[]),
        events(std::slice::from_ref(&role)),
        events(&[role, "data: {\"error\": {\"message\": \"no\"}}\n\n".to_owned()]),
    ];
    for failure in failures {
        let first = Upstream::playing(vec![failure]).await;
        let second = Upstream::playing(vec![stream_of(&["Hello."])]).await;
        let gateway = TestGateway::start(&pair(&first, &second)).await;
        let reply = gateway.chat(&streamed("both")).await;
        crate::contract::assert_sound(&reply);
        assert_eq!(reply.content(), "Hello.");
        let last = reply.events().pop().unwrap();
        assert_eq!(last["metadata"]["routing"].as_array().unwrap().len(), 2, "{last}");
        assert_eq!(last["metadata"]["used_provider"], "second");
    }
}

#[tokio::test]
async fn after_a_silent_provider_another_one_serves() {
    with_held_clock(async {
        let first = Upstream::playing(vec![nothing()]).await;
        let second = Upstream::playing(vec![stream_of(&["Hello."])]).await;
        let gateway = TestGateway::start(&(pair(&first, &second) + "[timeouts]\nfirst_byte = 9\n")).await;
        let address = gateway.address;
        let body = streamed("both").to_string();
        let asked = tokio::spawn(async move { open(address, &[], body.as_bytes()).await });
        while first.received().is_empty() {
            tokio::task::yield_now().await;
        }
        advance_seconds(9).await;
        let reply = asked.await.unwrap().rest().await;
        assert_eq!(reply.content(), "Hello.");
        let last = reply.events().pop().unwrap();
        assert_eq!(last["metadata"]["routing"][0]["error_type"], "timeout", "{last}");
    })
    .await;
}

#[tokio::test]
async fn a_pinned_provider_is_never_replaced() {
    let first = Upstream::playing(vec![error("500 Internal Server Error")]).await;
    let second = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = TestGateway::start(&pair(&first, &second)).await;
    let reply = gateway.chat(&question("first/a")).await;
    assert_eq!(reply.status, 500);
    assert!(reply.routing().iter().all(|attempt| attempt == "first 500 upstream_error"), "{}", reply.text());
    assert_eq!(reply.routing().len(), 3, "the first attempt and max_retries");
    assert!(second.received().is_empty());
}

#[tokio::test]
async fn a_pool_of_keys_is_used_when_one_is_refused() {
    for failure in ["401 Unauthorized", "429 Too Many Requests"] {
        let upstream = Upstream::playing(vec![error(failure), answer("Hello.")]).await;
        let section = upstream.provider("one", "openai-chat");
        let config = section.replace("api_key = \"one-key\"", "api_keys = [\"key-a\", \"key-b\"]");
        let gateway = TestGateway::start(&config).await;
        let reply = gateway.chat(&question("one/any")).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.routing().len(), 2);
        let heard = upstream.received();
        let mut keys: Vec<&str> = heard.iter().map(|heard| heard.header("authorization").unwrap()).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["Bearer key-a", "Bearer key-b"]);
    }
}

#[tokio::test]
async fn without_fallback_only_one_provider_is_asked() {
    let first = Upstream::playing(vec![error("500 Internal Server Error")]).await;
    let second = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = TestGateway::start(&pair(&first, &second)).await;
    let reply = gateway.chat_with(&[("x-no-fallback", "true")], &question("both")).await;
    assert_eq!((reply.status, reply.routing().len()), (500, 1), "{}", reply.text());
    assert!(second.received().is_empty());
}

#[tokio::test]
async fn client_errors_are_not_retried() {
    for failure in ["400 Bad Request", "413 Payload Too Large", "422 Unprocessable Entity"] {
        let first = Upstream::playing(vec![error(failure)]).await;
        let second = Upstream::playing(vec![answer("Hello.")]).await;
        let gateway = TestGateway::start(&pair(&first, &second)).await;
        let reply = gateway.chat(&question("both")).await;
        assert_eq!(
            (reply.status, reply.routing().len()),
            (failure[..3].parse().unwrap(), 1),
            "{}",
            reply.text()
        );
        assert_eq!(reply.message(), format!("status {failure}"));
        assert!(second.received().is_empty());
    }
}

#[tokio::test]
async fn when_all_fail_the_error_lists_every_attempt() {
    let first = Upstream::playing(vec![error("500 Internal Server Error")]).await;
    let second = Upstream::playing(vec![error("429 Too Many Requests")]).await;
    let gateway = TestGateway::start(&(pair(&first, &second) + "[routing]\nmax_retries = 1\n")).await;
    let reply = gateway.chat(&question("both")).await;
    assert_eq!(reply.status, 429);
    assert_eq!(reply.routing(), ["first 500 upstream_error", "second 429 rate_limit"]);
    let record = gateway.record().await;
    assert_eq!((record.attempts.len(), record.error_kind.as_deref()), (2, Some("rate_limit")));
}

#[tokio::test]
async fn retries_of_all_requests_together_are_limited() {
    let upstream = Upstream::playing(vec![error("500 Internal Server Error")]).await;
    let config = upstream.provider("one", "openai-chat")
        + "[routing.retry]\nbackoff_ms = 0\nbudget_ratio = 0.0\nbudget_per_second = 0.0\nbudget_burst = 3.0\n";
    let gateway = TestGateway::start(&config).await;
    for _ in 0..10 {
        gateway.chat(&question("one/any")).await;
    }
    assert!(upstream.received().len() <= 10 + 3, "{}", upstream.received().len());
}

/// A provider that cannot be called as it is configured.
#[tokio::test]
async fn a_misconfigured_first_provider_ends_no_request() {
    // A TLS server with a certificate that nobody has signed, and one that does not speak TLS.
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls");
    let tls = format!("[server.tls]\ncert = {:?}\nkey = {:?}\n", data.join("one.pem"), data.join("one.key"));
    let untrusted = TestGateway::start(&tls).await;
    let port = untrusted.address.port();
    let closing = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = closing.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = closing.accept().await {
            drop(socket);
        }
    });
    let tokens = Upstream::playing(vec![error("401 Unauthorized")]).await;
    let own = |url: &str| {
        format!("[providers.bad]\nprotocol = \"openai-chat\"\nbase_url = \"{url}\"\napi_key = \"k\"\n")
    };
    let entra = |authority: &str| {
        format!(
            "[providers.azure]\nbase_url = \"{}\"\nauthority_host = \"{authority}\"\ntenant_id = \"t\"\n\
             client_id = \"c\"\nclient_secret = \"s\"\n",
            tokens.url()
        )
    };
    let cases = [
        ("no address listens", "bad/m", own("http://127.0.0.1:1/v1")),
        ("an untrusted certificate", "bad/m", own(&format!("https://localhost:{port}/v1"))),
        ("a certificate of another name", "bad/m", own(&format!("https://127.0.0.1:{port}/v1"))),
        ("no TLS", "bad/m", own(&format!("https://{closed}/v1"))),
        ("a proxy that is not there", "bad/m", own("http://p.test/v1") + "proxy = \"http://127.0.0.1:1\"\n"),
        ("no token", "azure/gpt-4o", entra(&tokens.url())),
        ("no token server", "azure/gpt-4o", entra("http://127.0.0.1:1")),
        ("no resource", "azure/gpt-4o", "[providers.azure]\napi_key = \"k\"\n".to_owned()),
        ("no region", "aws-bedrock/m", "[providers.aws-bedrock]\napi_key = \"k\"\n".to_owned()),
        (
            "no project",
            "google-vertex/gemini-2.5-pro",
            "[providers.google-vertex]\naccess_token = \"t\"\n".to_owned(),
        ),
        ("no key", "openai/gpt-4o", "[providers.openai]\nenabled = true\n".to_owned()),
    ];
    for (name, target, section) in cases {
        let good = Upstream::playing(vec![answer("Hello.")]).await;
        let config = format!(
            "{section}{}[models.pair]\ntargets = [\"{target}\", \"good/m\"]\npick = \"order\"\n",
            good.provider("good", "openai-chat")
        );
        let gateway = TestGateway::start(&config).await;
        let mut listed = question(target);
        listed["models"] = json!(["good/m"]);
        for body in [question("pair"), listed] {
            let reply = gateway.chat(&body).await;
            assert_eq!(reply.status, 200, "{name}: {}", reply.text());
            assert_eq!(reply.at("/metadata/used_provider"), "good", "{name}: {}", reply.text());
        }
    }
}
