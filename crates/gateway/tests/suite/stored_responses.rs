//! Answers that the gateway keeps for later requests.

use serde_json::{Value, json};
use store::{Store, StoredResponse};

use crate::support::{
    KEY, Reply, TestGateway, Upstream, answer, answer_of, chunk, error, events, raw, stream_head, stream_of,
    whole,
};

/// The database of a gateway: its own file, or PostgreSQL, which the tests share.
struct TestDatabase(Option<String>);

impl TestDatabase {
    async fn start(&self, config: &str) -> TestGateway {
        TestGateway::start(&self.config(config)).await
    }

    fn config(&self, config: &str) -> String {
        let database = self.0.as_ref().map(|url| format!("[database]\nurl = {url:?}\n"));
        database.unwrap_or_default() + config
    }
}

macro_rules! on_both_databases {
    ($($name:ident),* $(,)?) => {
        mod on_sqlite {
            $(
                #[tokio::test]
                async fn $name() {
                    super::$name(&super::TestDatabase(None)).await;
                }
            )*
        }

        /// One test after another, because they share the tables. `LLMGATEWAY_TEST_POSTGRES` names a database whose
        /// tables may be dropped.
        #[tokio::test]
        async fn on_postgres() {
            #[expect(clippy::disallowed_methods, reason = "a setting of test runs, not of the gateway")]
            let url = std::env::var("LLMGATEWAY_TEST_POSTGRES");
            let Ok(url) = url else {
                eprintln!("skipped: LLMGATEWAY_TEST_POSTGRES names no database");
                return;
            };
            let place = TestDatabase(Some(url));
            $($name(&place).await;)*
        }
    };
}

on_both_databases!(
    a_conversation_continues_by_id_at_any_provider,
    input_items_come_in_pages,
    unknown_answers_are_refused_with_openai_s_messages,
    unrequested_and_incomplete_answers_are_not_stored,
    input_items_may_be_given_by_their_ids,
    an_answer_of_another_key_is_sent_to_no_provider,
    a_conversation_and_its_items_are_read_changed_and_deleted,
    answers_add_to_their_conversation,
    a_conversation_may_be_the_whole_input,
    a_provider_of_the_same_format_sees_no_conversation,
    failed_and_broken_answers_add_nothing_to_a_conversation,
    conversations_are_visible_to_their_own_key_only,
);

async fn ask(gateway: &TestGateway, body: Value) -> Reply {
    gateway.post("/v1/responses", body.to_string().as_bytes()).await
}

async fn request(gateway: &TestGateway, line: &str, key: &str) -> Reply {
    let bytes = format!(
        "{line} HTTP/1.1\r\nhost: g\r\nconnection: close\r\nx-api-key: {key}\r\ncontent-length: 0\r\n\r\n"
    );
    gateway.send(bytes.as_bytes()).await
}

fn id_of(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.at("/id").as_str().unwrap().to_owned()
}

fn hello() -> Value {
    json!({"model": "one/m", "input": "Say hello."})
}

/// The last event of a stream.
fn last(reply: &Reply) -> Value {
    reply.events().pop().unwrap_or_else(|| panic!("{}", reply.text()))
}

/// An answer in Anthropic's format, which has nothing of the Responses API.
fn message(text: &str) -> Vec<u8> {
    let body = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": text}], "usage": {"input_tokens": 3, "output_tokens": 2}});
    whole("200 OK", &body)
}

async fn a_conversation_continues_by_id_at_any_provider(place: &TestDatabase) {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let claude = Upstream::playing(vec![message("Hi again.")]).await;
    let config = upstream.provider("one", "openai-chat") + &claude.provider("two", "anthropic-messages");
    let gateway = place.start(&config).await;
    let first =
        ask(&gateway, json!({"model": "one/m", "input": "Say hello.", "instructions": "Be brief."})).await;
    let id = id_of(&first);
    assert!(id.starts_with("resp_"));
    assert_eq!((first.at("/store"), first.at("/previous_response_id")), (json!(true), Value::Null));

    let next = json!({"model": "two/claude", "input": [{"role": "user", "content": "And again."}], "previous_response_id": id});
    let second = ask(&gateway, next).await;
    let second_id = id_of(&second);
    assert_eq!((second.at("/store"), second.at("/previous_response_id")), (json!(true), json!(id)));
    let sent = &claude.bodies()[0];
    assert_eq!(sent["messages"][0]["content"], "Say hello.", "{sent}");
    assert_eq!(sent["messages"][1]["content"], "Hello.", "{sent}");
    assert_eq!(sent["messages"][2]["content"], "And again.", "{sent}");
    assert_eq!(sent.get("system"), None, "instructions apply to one request only");

    // A stream is kept as its last event describes it. Both requests continue from the same answer.
    let stopped = gateway.stop().await;
    drop(upstream);
    let upstream = Upstream::playing(vec![stream_of(&["Bon", "jour."])]).await;
    let config = upstream.provider("one", "openai-chat") + &claude.provider("two", "anthropic-messages");
    let gateway = stopped.start(&place.config(&config)).await;
    let next =
        json!({"model": "one/m", "input": "In French.", "previous_response_id": second_id, "stream": true});
    let third = ask(&gateway, next).await;
    let event = last(&third);
    assert_eq!(event["type"], "response.completed", "{}", third.text());
    let kept = gateway.get(&format!("/v1/responses/{}", event["response"]["id"].as_str().unwrap())).await;
    assert_eq!(kept.json(), event["response"]);
    assert_eq!(upstream.bodies()[0]["messages"].as_array().unwrap().len(), 5);
    assert_eq!(gateway.get(&format!("/v1/responses/{id}")).await.json(), first.json());
    assert_eq!(gateway.metric("llmgateway_stored_responses_total{kind=\"stored\"}").await, Some(1.0));
}

async fn input_items_come_in_pages(place: &TestDatabase) {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = place.start(&upstream.provider("one", "openai-chat")).await;
    let first = id_of(&ask(&gateway, hello()).await);
    let input = json!([{"role": "user", "content": "One."}, {"type": "message", "id": "msg_mine", "role": "user",
        "content": [{"type": "input_text", "text": "Two."}]}]);
    let second =
        ask(&gateway, json!({"model": "one/m", "input": input, "previous_response_id": first})).await;
    let path = format!("/v1/responses/{}/input_items", id_of(&second));
    let texts = |reply: &Reply| -> Vec<String> {
        let items = reply.at("/data").as_array().unwrap().clone();
        items.iter().map(|item| item["content"][0]["text"].as_str().unwrap().to_owned()).collect()
    };
    let all = gateway.get(&path).await;
    assert_eq!(texts(&all), ["Two.", "One.", "Hello.", "Say hello."], "{}", all.text());
    assert_eq!((all.at("/object"), all.at("/has_more")), (json!("list"), json!(false)));
    assert_eq!(all.at("/data/0/id"), "msg_mine");
    assert_eq!(all.at("/data/1/type"), "message");
    assert_eq!(all.at("/data/1/content/0/type"), "input_text");
    let page = gateway.get(&format!("{path}?order=asc&limit=3")).await;
    assert_eq!(texts(&page), ["Say hello.", "Hello.", "One."]);
    assert_eq!((page.at("/has_more"), page.at("/first_id")), (json!(true), page.at("/data/0/id")));
    let after = page.at("/last_id").as_str().unwrap().to_owned();
    let rest = gateway.get(&format!("{path}?order=asc&after={after}")).await;
    assert_eq!((texts(&rest), rest.at("/has_more")), (vec!["Two.".to_owned()], json!(false)));
    for (query, param) in
        [("limit=0", "limit"), ("limit=101", "limit"), ("order=up", "order"), ("after=x", "after")]
    {
        let reply = gateway.get(&format!("{path}?{query}")).await;
        assert_eq!((reply.status, reply.at("/error/param")), (400, json!(param)), "{}", reply.text());
    }
}

async fn unknown_answers_are_refused_with_openai_s_messages(place: &TestDatabase) {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let other = "[auth]\napi_keys = [\"test-key\", \"other-key\"]\n".to_owned()
        + &upstream.provider("one", "openai-chat");
    let gateway = place.start(&other).await;
    let id = id_of(&ask(&gateway, hello()).await);
    let unknown = "resp_00000000000000000000000000000000";
    // Answers of another key are not found.
    let foreign = json!({"model": "one/m", "input": "x", "previous_response_id": id}).to_string();
    let head = format!(
        "POST /v1/responses HTTP/1.1\r\nhost: g\r\nconnection: close\r\nx-api-key: other-key\r\ncontent-length: {}\r\n\r\n",
        foreign.len()
    );
    let stolen = gateway.send([head.as_bytes(), foreign.as_bytes()].concat().as_slice()).await;
    let missing =
        ask(&gateway, json!({"model": "one/m", "input": "x", "previous_response_id": unknown})).await;
    for (reply, id) in [(stolen, id.as_str()), (missing, unknown)] {
        let expected = (400, "invalid_request_error".to_owned(), "previous_response_not_found".to_owned());
        assert_eq!(reply.error(), expected, "{}", reply.text());
        assert_eq!(reply.at("/error/param"), "previous_response_id");
        assert_eq!(reply.message(), format!("Previous response with id '{id}' not found."));
    }
    for (line, key) in [
        (format!("GET /v1/responses/{id}"), "other-key"),
        (format!("DELETE /v1/responses/{id}"), "other-key"),
        (format!("GET /v1/responses/{id}/input_items"), "other-key"),
        (format!("POST /v1/responses/{id}/cancel"), "other-key"),
        (format!("GET /v1/responses/{unknown}"), KEY),
        ("GET /v1/responses/%00".to_owned(), KEY),
        (format!("POST /v1/responses/{id}"), KEY),
        ("POST /v1/responses/compact".to_owned(), KEY),
    ] {
        let reply = request(&gateway, &line, key).await;
        assert_eq!(reply.status, 404, "{line}: {}", reply.text());
    }
    assert_eq!(request(&gateway, &format!("GET /v1/responses/{id}"), "wrong").await.status, 401);
    let cancel = request(&gateway, &format!("POST /v1/responses/{id}/cancel"), KEY).await;
    assert_eq!(cancel.status, 400, "{}", cancel.text());
    assert!(cancel.message().starts_with("Cannot cancel a synchronous response"), "{}", cancel.text());
    let again = request(&gateway, &format!("GET /v1/responses/{id}?stream=true"), KEY).await;
    assert_eq!((again.status, again.at("/error/param")), (400, json!("stream")));

    let deleted = request(&gateway, &format!("DELETE /v1/responses/{id}"), KEY).await;
    assert_eq!(deleted.json(), json!({"id": id, "object": "response", "deleted": true}));
    assert_eq!(request(&gateway, &format!("DELETE /v1/responses/{id}"), KEY).await.status, 404);
    let gone = ask(&gateway, json!({"model": "one/m", "input": "x", "previous_response_id": id})).await;
    assert_eq!(gone.error().2, "previous_response_not_found");
    assert_eq!(upstream.received().len(), 1, "no provider was asked");
}

#[tokio::test]
async fn unsupported_fields_are_refused_by_name() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = TestGateway::of(&upstream).await;
    for (field, value) in
        [("background", json!(true)), ("conversation", json!("conv_1")), ("conversation", json!({"id": "c"}))]
    {
        let mut body = hello();
        body[field] = value;
        let reply = ask(&gateway, body).await;
        assert_eq!((reply.status, reply.at("/error/param")), (400, json!(field)), "{}", reply.text());
    }
    let mut body = hello();
    body["previous_response_id"] = json!(5);
    assert_eq!(ask(&gateway, body).await.at("/error/param"), "previous_response_id");
    assert!(upstream.received().is_empty());
}

async fn unrequested_and_incomplete_answers_are_not_stored(place: &TestDatabase) {
    let cut = raw("200 OK", "content-type: text/event-stream\r\n", chunk(json!({"content": "Hel"}), None));
    let upstream = Upstream::playing(vec![answer("Hello."), cut]).await;
    let gateway = place.start(&upstream.provider("one", "openai-chat")).await;
    let mut body = hello();
    body["store"] = json!(false);
    let reply = ask(&gateway, body).await;
    assert_eq!(reply.at("/store"), false);
    assert_eq!(gateway.get(&format!("/v1/responses/{}", id_of(&reply))).await.status, 404);

    let mut body = hello();
    body["stream"] = json!(true);
    let reply = ask(&gateway, body).await;
    let event = last(&reply);
    assert_eq!(event["type"], "response.failed", "{}", reply.text());
    let id = event["response"]["id"].as_str().unwrap();
    assert_eq!(gateway.get(&format!("/v1/responses/{id}")).await.status, 404);
    assert_eq!(gateway.metric("llmgateway_stored_responses_total{kind=\"stored\"}").await, None);
}

#[tokio::test]
async fn an_answer_that_cannot_be_stored_has_store_false() {
    let upstream = Upstream::playing(vec![answer("Hello."), stream_of(&["Hello."])]).await;
    let gateway = TestGateway::of(&upstream).await;
    std::fs::remove_file(gateway.database.strip_prefix("sqlite:").unwrap()).unwrap();
    let reply = ask(&gateway, hello()).await;
    assert_eq!((reply.status, reply.at("/store")), (200, json!(false)), "{}", reply.text());
    let mut body = hello();
    body["stream"] = json!(true);
    let reply = ask(&gateway, body).await;
    let event = last(&reply);
    assert_eq!((&event["type"], &event["response"]["store"]), (&json!("response.completed"), &json!(false)));
    assert_eq!(gateway.metric("llmgateway_stored_responses_total{kind=\"failed\"}").await, Some(2.0));
    let reply =
        ask(&gateway, json!({"model": "one/m", "input": "x", "previous_response_id": "resp_1"})).await;
    assert_eq!(reply.status, 503, "{}", reply.text());
}

#[tokio::test]
async fn settings_limit_the_stored_answers() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let provider = upstream.provider("one", "openai-chat");
    let gateway = TestGateway::start(&format!("[responses]\nstore = false\n{provider}")).await;
    assert_eq!(ask(&gateway, hello()).await.at("/store"), false);
    let gateway = TestGateway::start(&format!("[responses]\nsize_limit = \"2KiB\"\n{provider}")).await;
    assert_eq!(ask(&gateway, hello()).await.at("/store"), true);
    let long = json!({"model": "one/m", "input": "x".repeat(3000)});
    assert_eq!(ask(&gateway, long).await.at("/store"), false);
    assert_eq!(gateway.metric("llmgateway_stored_responses_total{kind=\"too_large\"}").await, Some(1.0));

    // A conversation that exceeds the body limit.
    let gateway = TestGateway::start(&format!("[server]\nbody_limit = \"4KiB\"\n{provider}")).await;
    let mut id = id_of(&ask(&gateway, json!({"model": "one/m", "input": "x".repeat(3000)})).await);
    let next = json!({"model": "one/m", "input": "y".repeat(3000), "previous_response_id": id});
    let reply = ask(&gateway, next).await;
    assert_eq!(reply.error().0, 413, "{}", reply.text());
    id.push('x');
    assert_eq!(gateway.get(&format!("/v1/responses/{id}")).await.status, 404);
}

async fn input_items_may_be_given_by_their_ids(place: &TestDatabase) {
    let call = json!({"role": "assistant", "content": null, "tool_calls": [{"id": "call_1", "type": "function",
        "function": {"name": "look", "arguments": "{\"at\":1}"}}]});
    let upstream =
        Upstream::playing(vec![whole("200 OK", &answer_of(call, "tool_calls")), answer("Seen.")]).await;
    let gateway = place.start(&upstream.provider("one", "openai-chat")).await;
    let tools = json!([{"type": "function", "name": "look", "parameters": {"type": "object"}}]);
    let first = ask(&gateway, json!({"model": "one/m", "input": "Look.", "tools": tools})).await;
    let item = first.at("/output/0/id");
    assert_eq!(first.at("/output/0/type"), "function_call", "{}", first.text());
    let input = json!([{"role": "user", "content": "Look."}, {"type": "item_reference", "id": item},
        {"type": "function_call_output", "call_id": "call_1", "output": "a bird"}]);
    let second = ask(&gateway, json!({"model": "one/m", "input": input, "tools": tools})).await;
    assert_eq!(second.status, 200, "{}", second.text());
    let sent = &upstream.bodies()[1]["messages"];
    assert_eq!(sent[1]["tool_calls"][0]["function"]["arguments"], "{\"at\":1}", "{sent}");
    let unknown = json!([{"type": "item_reference", "id": "msg_nothing"}]);
    let reply = ask(&gateway, json!({"model": "one/m", "input": unknown})).await;
    assert_eq!((reply.status, reply.at("/error/param")), (400, json!("input[0].id")), "{}", reply.text());
    assert_eq!(reply.message(), "Item with id 'msg_nothing' not found.");
}

#[tokio::test]
async fn an_expired_answer_is_not_found() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = TestGateway::of(&upstream).await;
    let id = id_of(&ask(&gateway, hello()).await);
    let database = gateway.database.clone();
    let store = Store::open(&database).await.unwrap();
    let owner = gateway.snapshot().keys.owners().next().unwrap();
    let row = store.response(&owner, &id, 0).await.unwrap().unwrap();
    let days = (row.expires_at_ms - row.created_at_ms) / 86_400_000;
    assert_eq!(days, 30);
    let over = StoredResponse { id: "resp_over".to_owned(), expires_at_ms: 1, ..row };
    store.put_response(&over, &[], None).await.unwrap();
    assert_eq!(gateway.get("/v1/responses/resp_over").await.status, 404);
    let next = json!({"model": "one/m", "input": "x", "previous_response_id": "resp_over"});
    assert_eq!(ask(&gateway, next).await.error().2, "previous_response_not_found");
    // The next start deletes it at the latest.
    let stopped = gateway.stop().await;
    let gateway = stopped.start(&upstream.provider("one", "openai-chat")).await;
    while store.response(&owner, "resp_over", 0).await.unwrap().is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(gateway.get(&format!("/v1/responses/{id}")).await.status, 200);
    store.close().await;
}

/// An answer of a provider that speaks this format itself.
fn native(id: &str, text: &str) -> Vec<u8> {
    let item = json!({"type": "message", "id": format!("msg_of_{id}"), "role": "assistant", "status": "completed",
        "phase": "final_answer", "content": [{"type": "output_text", "text": text, "annotations": []}]});
    let body = json!({"id": id, "object": "response", "created_at": 1, "status": "completed", "model": "m", "store": false,
        "previous_response_id": null, "output": [item], "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}});
    whole("200 OK", &body)
}

#[tokio::test]
async fn a_provider_of_the_same_format_gets_the_request_unchanged() {
    let upstream = Upstream::playing(vec![
        native("resp_a", "Hello."),
        native("resp_b", "Again."),
        native("resp_c", "Seen."),
        native("resp_d", "Yes."),
    ])
    .await;
    let gateway = TestGateway::start(&upstream.provider("one", "openai-responses")).await;
    let first =
        ask(&gateway, json!({"model": "one/m", "input": "Say hello.", "a_new_field": {"x": 1.0}})).await;
    assert_eq!((id_of(&first).as_str(), first.at("/store")), ("resp_a", json!(true)));
    assert_eq!(first.at("/output/0/phase"), "final_answer");
    let sent = &upstream.bodies()[0];
    let expected = json!({"model": "m", "input": "Say hello.", "a_new_field": {"x": 1.0}, "store": false});
    assert_eq!(sent, &expected, "the provider keeps nothing");
    assert_eq!(gateway.get("/v1/responses/resp_a").await.json(), first.json());

    let next = json!({"model": "one/m", "input": "And again.", "previous_response_id": "resp_a"});
    let second = ask(&gateway, next).await;
    assert_eq!((second.at("/id"), second.at("/previous_response_id")), (json!("resp_b"), json!("resp_a")));
    let sent = &upstream.bodies()[1];
    assert_eq!(sent.get("previous_response_id"), None);
    assert_eq!(sent["input"].as_array().unwrap().len(), 3, "{sent}");
    assert_eq!(sent["input"][1]["id"], "msg_of_resp_a");

    // Items are found by the ids that the provider gave them.
    let input =
        json!([{"type": "item_reference", "id": "msg_of_resp_b"}, {"role": "user", "content": "Seen?"}]);
    assert_eq!(ask(&gateway, json!({"model": "one/m", "input": input})).await.status, 200);
    assert_eq!(upstream.bodies()[2]["input"][0]["content"][0]["text"], "Again.");
    let deleted = request(&gateway, "DELETE /v1/responses/resp_b", KEY).await;
    assert_eq!(deleted.status, 200, "{}", deleted.text());
    // The item was deleted with its answer: only the provider may know it now.
    assert_eq!(ask(&gateway, json!({"model": "one/m", "input": input})).await.status, 200);
    assert_eq!(upstream.bodies()[3]["input"], input);
}

#[tokio::test]
async fn state_of_a_named_provider_is_forwarded_unchanged() {
    let upstream = Upstream::playing(vec![native("resp_x", "Hello."); 3]).await;
    let chat = Upstream::playing(vec![answer("Hello.")]).await;
    let config = "[auth]\napi_keys = [\"test-key\", \"other-key\"]\n".to_owned()
        + &upstream.provider("one", "openai-responses")
        + &chat.provider("two", "openai-chat")
        + "[models.mine]\ntargets = [\"one/m\"]\n";
    let gateway = TestGateway::start(&config).await;
    for (field, value) in [
        ("previous_response_id", json!("resp_theirs")),
        ("conversation", json!({"id": "conv_1"})),
        ("input", json!([{"type": "item_reference", "id": "msg_theirs"}])),
    ] {
        let mut body = json!({"model": "one/m", "input": "And?"});
        body[field] = value;
        let reply = ask(&gateway, body.clone()).await;
        assert_eq!((reply.status, reply.at("/store")), (200, json!(false)), "{}", reply.text());
        body["model"] = json!("m");
        assert_eq!(upstream.bodies().pop().unwrap(), body, "{field}: byte for byte but for the model");
        // A provider that is not named is not asked, nor is one of another format.
        for model in ["mine", "two/m"] {
            body["model"] = json!(model);
            let reply = ask(&gateway, body.clone()).await;
            assert_eq!(reply.status, 400, "{field}: {}", reply.text());
        }
    }
    assert_eq!((upstream.bodies().len(), chat.bodies().len()), (3, 0));
}

async fn an_answer_of_another_key_is_sent_to_no_provider(place: &TestDatabase) {
    let upstream = Upstream::playing(vec![native("resp_a", "Hello.")]).await;
    let config = "[auth]\napi_keys = [\"test-key\", \"other-key\"]\n".to_owned()
        + &upstream.provider("one", "openai-responses");
    let gateway = place.start(&config).await;
    assert_eq!(id_of(&ask(&gateway, hello()).await), "resp_a");
    let body = json!({"model": "one/m", "input": "x", "previous_response_id": "resp_a"}).to_string();
    let head = format!(
        "POST /v1/responses HTTP/1.1\r\nhost: g\r\nconnection: close\r\nx-api-key: other-key\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let reply = gateway.send(head.as_bytes()).await;
    assert_eq!((reply.status, reply.error().2.as_str()), (400, "previous_response_not_found"));
    assert_eq!(upstream.bodies().len(), 1, "its provider is not asked either");
}

async fn made(gateway: &TestGateway, body: Value) -> String {
    let reply = gateway.post("/v1/conversations", body.to_string().as_bytes()).await;
    assert_eq!((reply.status, reply.at("/object")), (200, json!("conversation")), "{}", reply.text());
    reply.at("/id").as_str().unwrap().to_owned()
}

/// The texts of a conversation's items, the first one first.
async fn texts(gateway: &TestGateway, id: &str) -> Vec<String> {
    let reply = gateway.get(&format!("/v1/conversations/{id}/items?order=asc&limit=100")).await;
    assert_eq!((reply.status, reply.at("/object")), (200, json!("list")), "{}", reply.text());
    let data = reply.at("/data");
    let text = |item: &Value| item["content"][0]["text"].as_str().unwrap_or_default().to_owned();
    data.as_array().unwrap().iter().map(text).collect()
}

fn input_item(text: &str) -> Value {
    json!({"type": "message", "role": "user", "content": text})
}

async fn a_conversation_and_its_items_are_read_changed_and_deleted(place: &TestDatabase) {
    let upstream = Upstream::playing(vec![]).await;
    let gateway = place.start(&upstream.provider("one", "openai-chat")).await;
    let empty = gateway.post("/v1/conversations", b"").await;
    assert_eq!((empty.status, empty.at("/metadata")), (200, json!({})), "{}", empty.text());
    let id =
        made(&gateway, json!({"metadata": {"topic": "é"}, "items": [input_item("one"), input_item("two")]}))
            .await;
    assert!(id.starts_with("conv_"));
    let path = format!("/v1/conversations/{id}");
    let found = gateway.get(&path).await;
    assert_eq!((found.at("/id"), found.at("/metadata/topic")), (json!(id), json!("é")));
    let described = gateway.post(&path, br#"{"metadata":{"a":"b"}}"#).await;
    assert_eq!((described.status, described.at("/metadata")), (200, json!({"a": "b"})));
    let added = gateway
        .post(&format!("{path}/items"), json!({"items": [input_item("three")]}).to_string().as_bytes())
        .await;
    assert_eq!((added.status, added.at("/data/0/content/0/text")), (200, json!("three")), "{}", added.text());
    assert_eq!(texts(&gateway, &id).await, ["one", "two", "three"]);
    let page = gateway.get(&format!("{path}/items?limit=2")).await;
    assert_eq!((page.at("/data/0/content/0/text"), page.at("/has_more")), (json!("three"), json!(true)));
    let item = page.at("/data/1/id").as_str().unwrap().to_owned();
    let rest = gateway.get(&format!("{path}/items?limit=2&after={item}")).await;
    assert_eq!((rest.at("/data/0/content/0/text"), rest.at("/has_more")), (json!("one"), json!(false)));
    let one = gateway.get(&format!("{path}/items/{item}")).await;
    assert_eq!((one.at("/id"), one.at("/content/0/text")), (json!(item), json!("two")));
    let left = request(&gateway, &format!("DELETE {path}/items/{item}"), KEY).await;
    assert_eq!((left.status, left.at("/id")), (200, json!(id)), "{}", left.text());
    assert_eq!(texts(&gateway, &id).await, ["one", "three"]);
    assert_eq!(gateway.get(&format!("{path}/items/{item}")).await.status, 404);
    let deleted = request(&gateway, &format!("DELETE {path}"), KEY).await;
    assert_eq!(deleted.json(), json!({"id": id, "object": "conversation.deleted", "deleted": true}));
    for path in [path.clone(), format!("{path}/items"), format!("{path}/items/{item}")] {
        let gone = gateway.get(&path).await;
        assert_eq!(gone.status, 404, "{}", gone.text());
    }
    assert!(upstream.received().is_empty());
}

async fn answers_add_to_their_conversation(place: &TestDatabase) {
    let upstream = Upstream::playing(vec![answer("Hello."), stream_of(&["Bon", "jour."])]).await;
    let claude = Upstream::playing(vec![message("Hi again.")]).await;
    let config = upstream.provider("one", "openai-chat") + &claude.provider("two", "anthropic-messages");
    let gateway = place.start(&config).await;
    let id = made(&gateway, json!({"items": [input_item("Be kind.")]})).await;
    let first = ask(&gateway, json!({"model": "one/m", "input": "Say hello.", "conversation": id})).await;
    assert_eq!((first.status, first.at("/conversation")), (200, json!({"id": id})), "{}", first.text());
    assert_eq!(first.at("/store"), true);
    assert_eq!(texts(&gateway, &id).await, ["Be kind.", "Say hello.", "Hello."]);
    let next = json!({"model": "two/claude", "input": "And again.", "conversation": {"id": id}});
    assert_eq!(ask(&gateway, next).await.status, 200);
    let sent = claude.bodies()[0]["messages"].to_string();
    for text in ["Be kind.", "Say hello.", "Hello.", "And again."] {
        assert!(sent.contains(text), "{text}: {sent}");
    }
    let streamed = json!({"model": "one/m", "input": "In French.", "conversation": id, "stream": true});
    let event = last(&ask(&gateway, streamed).await);
    assert_eq!(event["response"]["conversation"], json!({"id": id}), "{event}");
    let all = ["Be kind.", "Say hello.", "Hello.", "And again.", "Hi again.", "In French.", "Bonjour."];
    assert_eq!(texts(&gateway, &id).await, all);
    // A request may refer to an item of the conversation by its id.
    let items = gateway.get(&format!("/v1/conversations/{id}/items?order=asc")).await;
    assert_eq!(items.at("/data/2/id").as_str().map(str::is_empty), Some(false));
    let both =
        json!({"model": "one/m", "input": "x", "conversation": id, "previous_response_id": id_of(&first)});
    let refused = ask(&gateway, both).await;
    assert_eq!((refused.status, refused.at("/error/param")), (400, json!("previous_response_id")));
    let unkept =
        ask(&gateway, json!({"model": "one/m", "input": "x", "conversation": id, "store": false})).await;
    assert_eq!((unkept.status, unkept.at("/error/param")), (400, json!("conversation")), "{}", unkept.text());
}

async fn a_conversation_may_be_the_whole_input(place: &TestDatabase) {
    let upstream = Upstream::playing(vec![answer("Hello, Bo.")]).await;
    let gateway = place.start(&upstream.provider("one", "openai-chat")).await;
    let item = json!({"role": "user", "content": "I am Bo."});
    let id = made(&gateway, json!({"items": [item]})).await;
    let first = ask(&gateway, json!({"model": "one/m", "conversation": id})).await;
    assert_eq!(first.status, 200, "{}", first.text());
    let sent: Value = serde_json::from_slice(&upstream.received()[0].body).unwrap();
    assert_eq!(sent["messages"].as_array().map(Vec::len), Some(1), "{sent}");
    assert!(sent.to_string().contains("I am Bo."), "{sent}");
    let next = ask(&gateway, json!({"model": "one/m", "previous_response_id": id_of(&first)})).await;
    assert_eq!(next.status, 200, "{}", next.text());
    let empty = made(&gateway, json!({})).await;
    let refused = ask(&gateway, json!({"model": "one/m", "conversation": empty})).await;
    assert_eq!((refused.status, refused.at("/error/param")), (400, json!("input")), "{}", refused.text());
}

async fn a_provider_of_the_same_format_sees_no_conversation(place: &TestDatabase) {
    let unique = uuid::Uuid::new_v4().simple().to_string();
    let upstream = Upstream::playing(vec![native(&format!("resp_{unique}"), "Hello.")]).await;
    let gateway = place.start(&upstream.provider("one", "openai-responses")).await;
    let id = made(&gateway, json!({"items": [input_item("Begin.")]})).await;
    let body =
        json!({"model": "one/m", "input": [input_item("Go on.")], "conversation": {"id": id}, "new": [1]});
    let reply = ask(&gateway, body).await;
    assert_eq!((reply.status, reply.at("/conversation")), (200, json!({"id": id})), "{}", reply.text());
    let sent = &upstream.bodies()[0];
    assert_eq!((sent.get("conversation"), &sent["store"], &sent["new"]), (None, &json!(false), &json!([1])));
    assert_eq!(sent["input"].as_array().unwrap().len(), 2, "{sent}");
    assert_eq!(texts(&gateway, &id).await, ["Begin.", "Go on.", "Hello."]);
}

async fn failed_and_broken_answers_add_nothing_to_a_conversation(place: &TestDatabase) {
    let cut = [stream_head(), events(&[chunk(json!({"content": "Half"}), None)])].concat();
    let upstream = Upstream::playing(vec![
        error("400 Bad Request"),
        cut,
        whole("200 OK", &json!({"nonsense": true})),
        answer("Whole."),
    ])
    .await;
    let config = upstream.provider("one", "openai-chat") + "[routing]\nmax_retries = 0\n";
    let gateway = place.start(&config).await;
    let id = made(&gateway, json!({"items": [input_item("Begin.")]})).await;
    let body =
        |stream: bool| json!({"model": "one/m", "input": "Go on.", "conversation": id, "stream": stream});
    assert_eq!(ask(&gateway, body(false)).await.status, 400);
    assert_eq!(last(&ask(&gateway, body(true)).await)["type"], "response.failed");
    assert_eq!(ask(&gateway, body(false)).await.status, 502);
    assert_eq!(texts(&gateway, &id).await, ["Begin."]);
    assert_eq!(ask(&gateway, body(false)).await.status, 200);
    assert_eq!(texts(&gateway, &id).await, ["Begin.", "Go on.", "Whole."]);
    assert_eq!(upstream.bodies().pop().unwrap()["messages"].as_array().unwrap().len(), 2);
}

async fn conversations_are_visible_to_their_own_key_only(place: &TestDatabase) {
    let upstream = Upstream::playing(vec![]).await;
    let config = "[auth]\napi_keys = [\"test-key\", \"other-key\"]\n".to_owned()
        + &upstream.provider("one", "openai-chat");
    let gateway = place.start(&config).await;
    let id = made(&gateway, json!({"items": [input_item("mine")]})).await;
    let item = gateway.get(&format!("/v1/conversations/{id}/items")).await.at("/data/0/id");
    let item = item.as_str().unwrap();
    for line in [
        format!("GET /v1/conversations/{id}"),
        format!("DELETE /v1/conversations/{id}"),
        format!("GET /v1/conversations/{id}/items"),
        format!("GET /v1/conversations/{id}/items/{item}"),
        format!("DELETE /v1/conversations/{id}/items/{item}"),
    ] {
        assert_eq!(request(&gateway, &line, "other-key").await.status, 404, "{line}");
        assert_eq!(request(&gateway, &line, "no-key").await.status, 401, "{line}");
    }
    assert_eq!(texts(&gateway, &id).await, ["mine"]);
    let other = json!({"model": "one/m", "input": "x", "conversation": id}).to_string();
    let head = format!(
        "POST /v1/responses HTTP/1.1\r\nhost: g\r\nconnection: close\r\nx-api-key: other-key\r\ncontent-length: {}\r\n\r\n{other}",
        other.len()
    );
    let refused = gateway.send(head.as_bytes()).await;
    assert_eq!((refused.status, refused.at("/error/param")), (400, json!("conversation")));
    let path = format!("/v1/conversations/{id}");
    for (path, body, param) in [
        ("/v1/conversations", json!({"items": 5}), "items"),
        ("/v1/conversations", json!({"items": ["x"]}), "items[0]"),
        ("/v1/conversations", json!({"items": [{"role": "user"}]}), "items[0]"),
        ("/v1/conversations", json!({"items": [{"type": "item_reference", "id": "x"}]}), "items[0]"),
        ("/v1/conversations", json!({"items": vec![input_item("x"); 21]}), "items"),
        ("/v1/conversations", json!({"metadata": {"a": 1}}), "metadata"),
        (&path, json!({}), "metadata"),
        (&format!("{path}/items"), json!({}), "items"),
    ] {
        let reply = gateway.post(path, body.to_string().as_bytes()).await;
        assert_eq!((reply.status, reply.at("/error/param")), (400, json!(param)), "{}", reply.text());
    }
    assert_eq!(gateway.post("/v1/conversations", b"{").await.status, 400);
    assert_eq!(gateway.post(&format!("{path}/nonsense"), b"{}").await.status, 404);
    assert_eq!(texts(&gateway, &id).await, ["mine"]);
    assert!(upstream.received().is_empty());
}
