//! Guardrails on requests and answers, as callers and providers see them.

use serde_json::{Value, json};

use crate::support::{
    Reply, TestGateway, Upstream, answer, answer_of, chunk, events, question, raw, stream_of, streamed, whole,
};

const MODEL: &str = "openai/gpt-4o-mini";

const RULES: &str = r#"
[guardrails.email]
action = "redact"
on = ["input"]
patterns = ['[a-z0-9.]{1,64}@[a-z0-9-]{1,63}\.[a-z]{2,10}']
[guardrails.secret]
on = ["input", "output"]
patterns = ['sk-[a-z0-9]{8}']
[guardrails.names]
action = "redact"
on = ["output"]
words = ["Falcon", "blue moon", "straße"]
placeholder = "PROJECT"
"#;

/// A configuration with these rules, a guarded project, and a provider of each format.
fn config(upstream: &Upstream, rules: &str, names: &str) -> String {
    format!(
        "{}{}{}{}{rules}\n[projects.a]\nguardrails = [{names}]\n[[projects.a.keys]]\nname = \"ci\"\nkey = \"guarded-key\"\n",
        upstream.known("openai"),
        upstream.provider("claude", "anthropic-messages"),
        upstream.provider("responder", "openai-responses"),
        upstream.provider("gem", "gemini"),
    )
}

async fn start(upstream: &Upstream) -> TestGateway {
    TestGateway::start(&config(upstream, RULES, "\"email\", \"secret\", \"names\"")).await
}

async fn post(gateway: &TestGateway, path: &str, body: &Value) -> Reply {
    let head = "authorization: Bearer guarded-key\r\nx-api-key: guarded-key\r\n";
    gateway.post_with(path, head, body.to_string().as_bytes()).await
}

async fn ask(gateway: &TestGateway, body: &Value) -> Reply {
    gateway.chat_with(&[("authorization", "Bearer guarded-key")], body).await
}

fn saying(text: &str) -> Value {
    let mut body = question(MODEL);
    body["messages"][0]["content"] = json!(text);
    body
}

fn did(reply: &Value) -> Vec<String> {
    let list = reply["guardrails"].as_array().cloned().unwrap_or_default();
    let one = |it: &Value| {
        format!("{} {} {} {}", it["guardrail"], it["on"], it["action"], it["count"]).replace('"', "")
    };
    list.iter().map(one).collect()
}

#[tokio::test]
async fn redacted_text_never_reaches_the_provider_and_is_restored_for_the_caller() {
    let upstream =
        Upstream::playing(vec![answer("I wrote to [EMAIL_1], not [EMAIL_2] or [EMAIL_9] [x].")]).await;
    let gateway = start(&upstream).await;
    let mut body = saying("Mail ann@x.org and BOB@y.org, then ann@x.org again.");
    body["messages"][0]["name"] = json!("ann");
    let reply = ask(&gateway, &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(
        upstream.bodies()[0]["messages"][0]["content"],
        "Mail [EMAIL_1] and [EMAIL_2], then [EMAIL_1] again."
    );
    assert_eq!(
        reply.at("/choices/0/message/content"),
        "I wrote to ann@x.org, not BOB@y.org or [EMAIL_9] [x]."
    );
    assert_eq!(did(&reply.at("/metadata")), ["email input redacted 3"]);
    assert_eq!(
        gateway
            .metric("llmgateway_guardrails_total{guardrail=\"email\",on=\"input\",action=\"redacted\"}")
            .await,
        Some(3.0)
    );
    // Requests of other projects are not checked.
    assert_eq!(gateway.chat(&body).await.status, 200);
    assert_eq!(upstream.bodies()[1]["messages"][0]["content"], body["messages"][0]["content"]);
    let record = &gateway.records().await[0];
    assert_eq!((record.guardrails[0].action.as_ref(), record.guardrails[0].count), ("redacted", 3));
    assert!(!format!("{record:?}").contains("ann@"), "{record:?}");
}

#[tokio::test]
async fn placeholders_in_the_request_are_not_reused() {
    let upstream = Upstream::playing(vec![answer("[EMAIL_1] [EMAIL_2]")]).await;
    let gateway = start(&upstream).await;
    let reply = ask(&gateway, &saying("Explain [EMAIL_1] to ann@x.org.")).await;
    assert_eq!(upstream.bodies()[0]["messages"][0]["content"], "Explain [EMAIL_1] to [EMAIL_2].");
    assert_eq!(reply.at("/choices/0/message/content"), "[EMAIL_1] ann@x.org");
}

#[tokio::test]
async fn a_refusal_has_the_callers_format_and_reaches_no_provider() {
    let upstream = Upstream::playing(vec![answer("no")]).await;
    let gateway = start(&upstream).await;
    let text = "my key is sk-abcd1234";
    let cases = [
        ("/v1/chat/completions", saying(text), "messages[0].content"),
        (
            "/v1/messages",
            json!({"model": MODEL, "max_tokens": 9, "system": [{"type": "text", "text": text}],
                "messages": [{"role": "user", "content": "hi"}]}),
            "system[0].text",
        ),
        ("/v1/responses", json!({"model": MODEL, "input": text}), "input"),
        (
            "/v1beta/models/openai/gpt-4o-mini:generateContent",
            json!({"contents": [{"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"id": text}}}]}]}),
            "",
        ),
        ("/v1/completions", json!({"model": MODEL, "prompt": ["a", text]}), "prompt[1]"),
        (
            "/v1/embeddings",
            json!({"model": "openai/text-embedding-3-small", "input": ["a", text]}),
            "input[1]",
        ),
        ("/v1/moderations", json!({"model": "openai/omni-moderation-latest", "input": text}), "input"),
        ("/v1/images/generations", json!({"model": "openai/gpt-image-1", "prompt": text}), "prompt"),
        ("/v1/audio/speech", json!({"model": "openai/tts-1", "voice": "alloy", "input": text}), "input"),
        (
            "/v1/messages/count_tokens",
            json!({"model": MODEL, "messages": [{"role": "user", "content": text}]}),
            "",
        ),
    ];
    for (path, body, place) in cases {
        let reply = post(&gateway, path, &body).await;
        let words = reply.text();
        assert_eq!(reply.status, 400, "{path}: {words}");
        assert!(words.contains("The guardrail") && words.contains("secret"), "{path}: {words}");
        assert!(words.contains(place) && !words.contains("abcd1234"), "{path}: {words}");
        if path.ends_with("completions") {
            assert_eq!(reply.at("/error/code"), "content_policy_violation", "{path}");
        }
    }
    assert!(upstream.received().is_empty());
    let records = gateway.records().await;
    assert_eq!(records.len(), 10);
    for record in records {
        assert_eq!(record.error_kind.as_deref(), Some("content_policy_violation"));
        assert_eq!(record.guardrails[0].action, "denied");
        assert_eq!(record.cost.map(|cost| cost.total), Some(canon::Pico::ZERO));
    }
}

/// Every way to cut a text in two.
fn cuts(text: &str) -> Vec<[&str; 2]> {
    let places = text.char_indices().map(|(at, _)| at);
    places.map(|at| text.split_at(at)).map(|(left, right)| [left, right]).collect()
}

#[tokio::test]
async fn a_stream_is_filtered_like_a_whole_answer_at_every_split() {
    let said = "It is [EMAIL_1]; Falcon and falconry, BLUE MOON, STRASSE. Straße [EMAIL_";
    let seen = "It is ann@x.org; [PROJECT] and falconry, [PROJECT], [PROJECT]. [PROJECT] [EMAIL_";
    let mut replies = vec![answer(said)];
    replies.extend(cuts(said).iter().map(|pieces| stream_of(pieces)));
    let letters: Vec<String> = said.chars().map(String::from).collect();
    replies.push(stream_of(&letters.iter().map(String::as_str).collect::<Vec<_>>()));
    let count = replies.len();
    let upstream = Upstream::playing(replies).await;
    let gateway = start(&upstream).await;
    let body = saying("Mail ann@x.org.");
    assert_eq!(ask(&gateway, &body).await.at("/choices/0/message/content"), seen);
    for number in 1..count {
        let mut body = body.clone();
        body["stream"] = json!(true);
        let reply = ask(&gateway, &body).await;
        assert_eq!(reply.content(), seen, "{number}");
        assert_eq!((reply.done(), reply.finishes()), (1, vec!["stop".to_owned()]));
    }
}

#[tokio::test]
async fn an_answer_that_is_refused_is_an_error_and_its_cost_is_charged() {
    let text = ["a word, then sk-ab", "cd12", "34 and more words that nobody sees"];
    let long = "many words before it. ".repeat(8);
    let late = [long.as_str(), "sk-abcd", "1234"];
    let upstream = Upstream::playing(vec![answer(&text.concat()), stream_of(&text), stream_of(&late)]).await;
    let gateway = start(&upstream).await;
    let whole = ask(&gateway, &question(MODEL)).await;
    assert_eq!((whole.status, whole.at("/error/code")), (400, json!("content_policy_violation")));
    assert_eq!(did(&whole.at("/metadata")), ["secret output denied 1"]);
    // The filter had released nothing, so the stream has not begun.
    let early = ask(&gateway, &streamed(MODEL)).await;
    assert_eq!((early.status, early.at("/error/code")), (400, json!("content_policy_violation")));
    let broken = ask(&gateway, &streamed(MODEL)).await;
    assert_eq!((broken.status, broken.done()), (200, 0));
    let end = broken.events().pop().unwrap();
    assert_eq!(end["error"]["code"], "content_policy_violation", "{}", broken.text());
    assert!(!broken.text().contains("sk-a") && broken.text().contains("many words"), "{}", broken.text());
    let records = gateway.records().await;
    assert_eq!(records.len(), 3);
    for record in &records {
        assert_eq!(record.error_kind.as_deref(), Some("content_policy_violation"));
        assert!(record.cost.is_some_and(|cost| cost.total > canon::Pico::ZERO), "{record:?}");
        assert_eq!(record.cost.map(|cost| cost.total), record.upstream_cost, "{record:?}");
        assert_eq!(record.attempts.len(), 1);
    }
}

#[tokio::test]
async fn arguments_of_calls_are_checked_inside_their_json() {
    let arguments = r#"{"to": "[EMAIL_1]", "note": "F\u0061lcon \"[EMAIL_2]\"", "n": 1.50}"#;
    let call = |arguments: &str| {
        json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "mail", "arguments": arguments}}]})
    };
    let delta = |arguments: &str| {
        chunk(json!({"tool_calls": [{"index": 0, "function": {"arguments": arguments}}]}), None)
    };
    let (left, right) = arguments.split_at(15);
    let stream = events(&[
        chunk(
            json!({"role": "assistant", "tool_calls": [{"index": 0, "id": "c1", "type": "function",
            "function": {"name": "mail", "arguments": ""}}]}),
            None,
        ),
        delta(left),
        delta(right),
        chunk(json!({}), Some("tool_calls")),
        "data: [DONE]\n\n".to_owned(),
    ]);
    let upstream =
        Upstream::playing(vec![whole("200 OK", &answer_of(call(arguments), "tool_calls")), stream]).await;
    let gateway = start(&upstream).await;
    let mut body = saying("Mail ann@x.org and \"quote\\\"@x.org.");
    body["messages"].as_array_mut().unwrap().push(call(r#"{"to": "ann\u0040x.org"}"#));
    body["messages"]
        .as_array_mut()
        .unwrap()
        .push(json!({"role": "tool", "tool_call_id": "c1", "content": "b@y.org"}));
    let expected = r#"{"to": "ann@x.org", "note": "[PROJECT] \"b@y.org\"", "n": 1.50}"#;
    let reply = ask(&gateway, &body).await;
    assert_eq!(reply.at("/choices/0/message/tool_calls/0/function/arguments"), expected, "{}", reply.text());
    let sent = &upstream.bodies()[0]["messages"];
    assert_eq!(sent[1]["tool_calls"][0]["function"]["arguments"], r#"{"to": "[EMAIL_1]"}"#);
    body["stream"] = json!(true);
    let reply = ask(&gateway, &body).await;
    let said: String = reply
        .events()
        .iter()
        .filter_map(|event| {
            event.pointer("/choices/0/delta/tool_calls/0/function/arguments")?.as_str().map(str::to_owned)
        })
        .collect();
    assert_eq!(said, expected, "{}", reply.text());
}

#[tokio::test]
async fn equal_formats_are_checked_like_others() {
    let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "c", "stop_reason": "end_turn",
        "stop_sequence": null, "content": [{"type": "thinking", "thinking": "Falcon [EMAIL_1]", "signature": "s"},
        {"type": "text", "text": "Falcon for [EMAIL_1]"}], "usage": {"input_tokens": 3, "output_tokens": 5}});
    let response = json!({"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m",
        "output": [{"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": "Falcon for [EMAIL_1]", "annotations": []}]}],
        "usage": {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}});
    let candidate = json!({"candidates": [{"content": {"role": "model", "parts": [{"text": "Falcon for [EMAIL_1]"}]},
        "finishReason": "STOP", "index": 0}], "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 5, "totalTokenCount": 8}});
    let upstream =
        Upstream::playing([&message, &response, &candidate].map(|it| whole("200 OK", it)).to_vec()).await;
    let gateway = start(&upstream).await;
    let seen = "[PROJECT] for ann@x.org";
    let body = json!({"model": "claude/c", "max_tokens": 9, "messages": [{"role": "user", "content": "To ann@x.org"}]});
    let reply = post(&gateway, "/v1/messages", &body).await;
    assert_eq!(reply.at("/content/1/text"), seen, "{}", reply.text());
    assert_eq!(reply.at("/content/0/thinking"), "[PROJECT] ann@x.org");
    let body = json!({"model": "responder/m", "input": "To ann@x.org", "instructions": "For ann@x.org"});
    let reply = post(&gateway, "/v1/responses", &body).await;
    assert_eq!(reply.at("/output/0/content/0/text"), seen, "{}", reply.text());
    // A stored answer has the texts that the caller wrote and saw.
    let id = reply.at("/id").as_str().unwrap().to_owned();
    let head = format!(
        "GET /v1/responses/{id} HTTP/1.1\r\nhost: g\r\nx-api-key: guarded-key\r\nconnection: close\r\n\r\n"
    );
    let kept = gateway.send(head.as_bytes()).await;
    assert_eq!(kept.at("/output/0/content/0/text"), seen, "{}", kept.text());
    assert_eq!(upstream.bodies()[1]["instructions"], "For [EMAIL_1]");
    let body = json!({"contents": [{"role": "user", "parts": [{"text": "To ann@x.org"}]}]});
    let reply = post(&gateway, "/v1beta/models/gem/g:generateContent", &body).await;
    assert_eq!(reply.at("/candidates/0/content/parts/0/text"), seen, "{}", reply.text());
}

fn asking(upstream: &Upstream, fields: &str) -> String {
    format!(
        "[guardrails.ask]\naction = \"check\"\nurl = \"{}/check?token=canary\"\n{fields}\n",
        upstream.url()
    )
}

#[tokio::test]
async fn an_external_check_decides_about_requests_and_answers() {
    let flagged =
        |is: bool| whole("200 OK", &json!({"id": "m", "results": [{"flagged": is, "categories": {}}]}));
    let checker = Upstream::playing(vec![flagged(false), flagged(true), flagged(false), flagged(true)]).await;
    let upstream = Upstream::playing(vec![answer("fine"), answer("bad words")]).await;
    let rules = asking(&checker, "on = [\"input\", \"output\"]\nkey = \"k1\"\nmodel = \"m1\"");
    let gateway = TestGateway::start(&config(&upstream, &rules, "\"ask\"")).await;
    let reply = ask(&gateway, &saying("hello")).await;
    assert_eq!(
        (reply.status, reply.at("/error/code")),
        (400, json!("content_policy_violation")),
        "the answer is"
    );
    assert_eq!(did(&reply.at("/metadata")), ["ask output denied 1"]);
    assert_eq!(checker.bodies()[0], json!({"input": ["hello"], "model": "m1"}));
    assert_eq!(checker.bodies()[1], json!({"input": ["fine"], "model": "m1"}));
    assert_eq!(checker.received()[0].header("authorization"), Some("Bearer k1"));
    // A stream waits for the verdict of the check.
    let pieces: Vec<String> = (0..400).map(|number| format!("word {number} ")).collect();
    let stream = stream_of(&pieces.iter().map(String::as_str).collect::<Vec<_>>());
    let allow = |is: bool| whole("200 OK", &json!({"allow": is, "reason": "It is rude."}));
    let checker = Upstream::playing(vec![allow(true), allow(true), allow(false), allow(true)]).await;
    let upstream = Upstream::playing(vec![stream.clone(), stream]).await;
    let rules = asking(&checker, "on = [\"output\"]\nform = \"webhook\"");
    let gateway = TestGateway::start(&config(&upstream, &rules, "\"ask\"")).await;
    let reply = ask(&gateway, &streamed(MODEL)).await;
    let text = reply.text();
    let asked = checker.bodies();
    assert!(asked.len() >= 2 && asked[0]["on"] == "output" && asked[0]["project"] == "a", "{asked:?}");
    let first = asked[0]["texts"][0].as_str().unwrap();
    let second = asked[1]["texts"][0].as_str().unwrap();
    assert!(first.ends_with(&second[..256]), "the end of the checked text is sent again");
    if asked.len() > 2 {
        assert!(text.contains("The guardrail \\\"ask\\\" refuses the answer: It is rude."), "{text}");
    }
    assert!(text.contains("word 1 ") || reply.content().contains("word 1 "));
}

#[tokio::test]
async fn a_check_that_does_not_answer_refuses_or_passes_as_its_rule_says() {
    let garbage = [
        raw("200 OK", "content-type: application/json\r\n", "{\"results\": []}"),
        raw("200 OK", "content-type: application/json\r\n", "no"),
        raw("500 Broken", "", "canary"),
        raw(
            "200 OK",
            "content-type: application/json\r\n",
            format!("{{\"results\":\"{}\"}}", "x".repeat(300 << 10)),
        ),
    ];
    for (policy, status) in [("closed", 503), ("open", 200)] {
        let checker = Upstream::playing(garbage.to_vec()).await;
        let upstream = Upstream::playing(vec![answer("fine")]).await;
        let rules = asking(&checker, &format!("on_error = \"{policy}\"\nkey = \"canary\""));
        let gateway = TestGateway::start(&config(&upstream, &rules, "\"ask\"")).await;
        for _ in &garbage {
            let reply = ask(&gateway, &saying("hello")).await;
            assert_eq!(reply.status, status, "{}", reply.text());
            assert!(!reply.text().contains("canary") && !reply.text().contains("token="), "{}", reply.text());
            if status == 200 {
                assert_eq!(did(&reply.at("/metadata")), ["ask input unchecked 1"]);
            }
        }
    }
    // One check refuses connections, the other never answers: the time limit of the rule holds.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = Upstream::playing(vec![answer("fine")]).await;
    let url = format!("http://{}", silent.local_addr().unwrap());
    let rules = format!("[guardrails.ask]\naction = \"check\"\nurl = \"{url}\"\ntimeout_seconds = 0.05\n");
    let gateway = TestGateway::start(&config(&upstream, &rules, "\"ask\"")).await;
    let reply = ask(&gateway, &saying("hello")).await;
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert!(reply.message().contains("\"ask\""), "{}", reply.text());
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn a_policy_of_the_database_may_not_name_a_rule_that_is_gone() {
    let upstream = Upstream::playing(vec![answer("fine")]).await;
    let gateway = start(&upstream).await;
    let snapshot = gateway.snapshot();
    let error = snapshot.guardrails.guard(["gone"].into_iter(), "a", "r").err().unwrap();
    assert_eq!(error.status(), 503);
    assert!(error.message.contains("[guardrails.gone]"), "{error}");
}

#[tokio::test]
async fn explain_shows_a_request_after_guardrails() {
    let upstream = Upstream::playing(vec![]).await;
    let rules =
        format!("[auth]\nadmin_keys = [\"root\"]\n{}", config(&upstream, RULES, "\"email\", \"secret\""));
    let gateway = TestGateway::start(&rules).await;
    let explain = async |body: &Value| {
        let head = "authorization: Bearer root\r\n";
        gateway.post_with("/admin/v1/explain?project=a", head, body.to_string().as_bytes()).await
    };
    let reply = explain(&saying("Mail ann@x.org and bob@x.org")).await;
    assert_eq!(
        reply.at("/request/body/messages/0/content"),
        "Mail [EMAIL_1] and [EMAIL_2]",
        "{}",
        reply.text()
    );
    assert_eq!(
        reply.at("/guardrails"),
        json!([{"guardrail": "email", "on": ["input"], "action": "redact", "found": 2},
            {"guardrail": "secret", "on": ["input", "output"], "action": "deny", "found": 0}])
    );
    let reply = explain(&saying("sk-abcd1234")).await;
    assert_eq!(
        (reply.status, reply.at("/error/code")),
        (400, json!("content_policy_violation")),
        "{}",
        reply.text()
    );
    assert_eq!(gateway.metric("llmgateway_guardrails_total").await, None, "nothing is counted");
}

#[tokio::test]
async fn long_conversations_and_hostile_texts_are_searched_in_bounded_time() {
    let upstream = Upstream::playing(vec![answer("fine")]).await;
    let rules = "[guardrails.hard]\npatterns = ['(a|a){1,60}(a|aa){1,60}b', '(x{1,9}){1,9}y']\n\
                 [guardrails.all]\naction = \"redact\"\npatterns = ['[0-9]']\nplaceholder = \"N\"\n";
    let gateway = TestGateway::start(&config(&upstream, rules, "\"hard\", \"all\"")).await;
    let long = format!("{}{}", "a".repeat(200_000), "x".repeat(100_000));
    let numbers = "0 1 2 3 4 5 6 7 8 9 ".repeat(5_000);
    let mut body = saying(&long);
    body["messages"].as_array_mut().unwrap().push(json!({"role": "user", "content": numbers}));
    let reply = ask(&gateway, &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(did(&reply.at("/metadata")), ["all input redacted 50000"]);
}

#[tokio::test]
async fn cached_answers_are_checked_and_have_the_placeholders_of_the_current_request() {
    let upstream = Upstream::playing(vec![answer("To [EMAIL_1] about Falcon."), answer("Not again.")]).await;
    let gateway = start(&upstream).await;
    let ask = async |text: &str| {
        let headers = [("authorization", "Bearer guarded-key"), ("x-llmgateway-cache", "60")];
        gateway.chat_with(&headers, &saying(text)).await
    };
    let first = ask("Mail ann@x.org").await;
    let second = ask("Mail bob@x.org").await;
    assert_eq!(first.at("/choices/0/message/content"), "To ann@x.org about [PROJECT].");
    assert_eq!(second.at("/choices/0/message/content"), "To bob@x.org about [PROJECT].");
    assert_eq!(second.at("/metadata/cache"), "hit", "{}", second.text());
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn passthrough_is_refused_to_guarded_projects() {
    let upstream = Upstream::playing(vec![answer("fine")]).await;
    let config = config(&upstream, RULES, "\"email\"")
        .replace("name = \"ci\"", "name = \"ci\"\nroles = [\"inference\", \"passthrough\"]");
    let gateway = TestGateway::start(&config).await;
    let reply = post(&gateway, "/p/openai/v1/chat/completions", &saying("Mail ann@x.org")).await;
    assert_eq!(reply.status, 403, "{}", reply.text());
    assert!(reply.message().contains("Guardrails"), "{}", reply.text());
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn odd_spellings_hide_nothing() {
    let upstream = Upstream::playing(vec![answer("Fine.")]).await;
    let gateway = start(&upstream).await;
    let chat = |content: &str| {
        format!(r#"{{"model":"{MODEL}","messages":[{{"role":"user","content":{content}}}]}}"#)
    };
    let bodies = [
        chat(r#""\ud83d sk-abcd1234""#),
        chat(r#""\ud83dsk-abcd1234\udc00""#),
        chat(r#""s\u006b-abcd1234""#),
        chat(r#"[{"type":"text","text":"sk-abcd1234"}]"#),
        chat(r#""fine","content":"sk-abcd1234""#),
        chat(r#""sk-abcd1234","content":"fine""#),
        chat(r#""fine"}],"messages":[{"role":"user","c\u006fntent":"sk-abcd1234""#),
        chat(r#"[{"type":"text","text":"fine","cache_control":{"type":"ephemeral"},"text":"sk-abcd1234"}]"#),
    ];
    for body in bodies {
        let reply = gateway
            .post_with("/v1/chat/completions", "authorization: Bearer guarded-key\r\n", body.as_bytes())
            .await;
        assert_eq!(reply.status, 400, "{body}: {}", reply.text());
    }
    let document = json!({"model": "claude/m", "max_tokens": 5, "messages": [{"role": "user", "content": [
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "sk-abcd1234"}}]}]});
    assert_eq!(post(&gateway, "/v1/messages", &document).await.status, 400);
    let escaped = document.to_string().replace(r#""type":"text""#, r#""type":"t\u0065xt""#);
    let reply =
        gateway.post_with("/v1/messages", "authorization: Bearer guarded-key\r\n", escaped.as_bytes()).await;
    assert_eq!(reply.status, 400, "{escaped}: {}", reply.text());
    assert_eq!(upstream.received().len(), 0);
}
