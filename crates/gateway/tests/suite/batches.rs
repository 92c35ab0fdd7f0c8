//! Files and batches: the ids that callers get, their owners, and the cost of a batch once its output is read.

use canon::{Pico, Usage};
use serde_json::{Value, json};

use crate::support::{KEY, Reply, TestGateway, Upstream, raw, send, whole};

const BOUNDARY: &str = "b0undary";
/// 2026-11-01 in seconds.
const MADE_AT: u64 = 1_793_491_200;

fn config(providers: &str, policy: &str) -> String {
    format!(
        "{providers}[projects.a]\n{policy}\n[[projects.a.keys]]\nname = \"a\"\nkey = \"key-of-a\"\n\
         [projects.b]\n[[projects.b.keys]]\nname = \"b\"\nkey = \"key-of-b\"\n"
    )
}

async fn ask(gateway: &TestGateway, key: &str, line: &str, headers: &str, body: &[u8]) -> Reply {
    let head = format!(
        "{line} HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {key}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    send(gateway.address, &[head.as_bytes(), body].concat()).await
}

async fn get(gateway: &TestGateway, line: &str) -> Reply {
    ask(gateway, "key-of-a", line, "", b"").await
}

async fn post(gateway: &TestGateway, path: &str, body: &Value) -> Reply {
    let headers = "content-type: application/json\r\n";
    ask(gateway, "key-of-a", &format!("POST {path}"), headers, body.to_string().as_bytes()).await
}

fn form(fields: &[(&str, &str)], content: &str) -> Vec<u8> {
    let mut out = String::new();
    for (name, value) in fields {
        out += &format!("--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    }
    out += &format!(
        "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"in.jsonl\"\r\ncontent-type: application/jsonl\r\n\r\n{content}\r\n--{BOUNDARY}--\r\n"
    );
    out.into_bytes()
}

async fn upload(gateway: &TestGateway, key: &str, path: &str, form: &[u8]) -> Reply {
    let headers = format!("content-type: multipart/form-data; boundary={BOUNDARY}\r\n");
    ask(gateway, key, &format!("POST {path}"), &headers, form).await
}

fn file(id: &str, name: &str) -> Value {
    json!({"id": id, "object": "file", "bytes": 3, "created_at": MADE_AT, "filename": name, "purpose": "batch", "status": "processed"})
}

fn batch(id: &str, output: Option<&str>) -> Value {
    json!({"id": id, "object": "batch", "endpoint": "/v1/chat/completions", "input_file_id": "file-in", "completion_window": "24h",
        "status": "completed", "output_file_id": output, "error_file_id": null, "created_at": MADE_AT, "metadata": {"own": "1", "llmgateway": "mark"}})
}

fn output() -> String {
    let line = |tokens: u64| {
        json!({"id": "batch_req_1", "custom_id": "a", "error": null, "response": {"status_code": 200, "body": {
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": tokens, "completion_tokens": 5, "total_tokens": tokens + 5}
        }}})
        .to_string()
    };
    format!("{}\n{}\n", line(10), line(20))
}

fn id(reply: &Reply, pointer: &str) -> String {
    reply.at(pointer).as_str().unwrap_or_else(|| panic!("{}", reply.text())).to_owned()
}

#[tokio::test]
async fn a_file_is_visible_to_its_own_project_only() {
    let upstream = Upstream::playing(vec![
        whole("200 OK", &file("file-in", "in.jsonl")),
        whole("200 OK", &file("file-in", "in.jsonl")),
        raw("200 OK", "content-type: application/octet-stream\r\n", b"{}\n\xff"),
        whole("200 OK", &json!({"id": "file-in", "object": "file", "deleted": true})),
    ])
    .await;
    let gateway = TestGateway::start(&config(&upstream.known("openai"), "")).await;
    let sent = form(&[("purpose", "batch"), ("provider", "openai")], "{}");
    let reply = upload(&gateway, "key-of-a", "/v1/files", &sent).await;
    assert_eq!((reply.status, reply.at("/filename")), (200, json!("in.jsonl")), "{}", reply.text());
    let sealed = id(&reply, "/id");
    assert!(sealed.starts_with("file-") && sealed != "file-in", "{sealed}");
    let heard = &upstream.received()[0];
    assert!(heard.head.starts_with("POST /v1/files HTTP/1.1"), "{}", heard.head);
    assert_eq!(heard.header("authorization"), Some("Bearer openai-key"));
    let body = String::from_utf8(heard.body.clone()).unwrap();
    // A mark of the owner precedes the file name. The gateway's own field is not sent.
    let name = body.split("filename=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(name.ends_with("-in.jsonl") && name.len() == 25, "{name}");
    assert!(body.contains("name=\"purpose\"\r\n\r\nbatch\r\n") && !body.contains("provider"), "{body}");

    let about = get(&gateway, &format!("GET /v1/files/{sealed}")).await;
    assert_eq!((about.status, id(&about, "/id")), (200, sealed.clone()));
    let content = get(&gateway, &format!("GET /v1/files/{sealed}/content")).await;
    assert_eq!((content.status, content.body.as_slice()), (200, b"{}\n\xff".as_slice()));
    for key in ["key-of-b", KEY] {
        for line in ["GET /v1/files/ID", "GET /v1/files/ID/content", "DELETE /v1/files/ID"] {
            let reply = ask(&gateway, key, &line.replace("ID", &sealed), "", b"").await;
            assert_eq!(reply.status, 404, "{key} {line}: {}", reply.text());
        }
    }
    for forged in ["file-in", "file-x", &sealed[..sealed.len() - 1], &format!("{sealed}A"), "..%2Fmodels"] {
        let reply = get(&gateway, &format!("GET /v1/files/{forged}")).await;
        assert_eq!(reply.status, 404, "{forged}: {}", reply.text());
    }
    let deleted = get(&gateway, &format!("DELETE /v1/files/{sealed}")).await;
    assert_eq!((deleted.at("/deleted"), id(&deleted, "/id")), (json!(true), sealed));
    let paths: Vec<String> =
        upstream.received().iter().map(|heard| heard.head.lines().next().unwrap().to_owned()).collect();
    assert_eq!(
        paths[1..],
        [
            "GET /v1/files/file-in HTTP/1.1",
            "GET /v1/files/file-in/content HTTP/1.1",
            "DELETE /v1/files/file-in HTTP/1.1"
        ]
    );
    let records = gateway.records().await;
    assert!(records.iter().all(|record| record.operation.as_deref() == Some("files")));
    assert!(records.iter().all(|record| record.cost.is_some_and(|cost| cost.total == Pico::ZERO)));
}

#[tokio::test]
async fn a_file_in_parts_has_sealed_ids_and_becomes_a_file() {
    let begun = |status: &str, file: Value| {
        json!({"id": "upload_1", "object": "upload", "bytes": 3, "created_at": MADE_AT, "filename": "m-in.jsonl", "purpose": "batch",
            "status": status, "expires_at": MADE_AT + 3600, "file": file})
    };
    let part =
        json!({"id": "part_1", "object": "upload.part", "created_at": MADE_AT, "upload_id": "upload_1"});
    let upstream = Upstream::playing(vec![
        whole("200 OK", &begun("pending", Value::Null)),
        whole("200 OK", &part),
        whole("200 OK", &begun("completed", file("file-in", "in.jsonl"))),
        whole("200 OK", &begun("cancelled", Value::Null)),
    ])
    .await;
    let gateway = TestGateway::start(&config(&upstream.known("openai"), "")).await;
    let asked = json!({"filename": "in.jsonl", "purpose": "batch", "bytes": 3, "mime_type": "application/jsonl", "provider": "openai"});
    let reply = post(&gateway, "/v1/uploads", &asked).await;
    assert_eq!((reply.status, reply.at("/status")), (200, json!("pending")), "{}", reply.text());
    let sealed = id(&reply, "/id");
    assert!(sealed.starts_with("upload_") && sealed != "upload_1", "{sealed}");
    let reply =
        upload(&gateway, "key-of-a", &format!("/v1/uploads/{sealed}/parts"), &form(&[], "{}\n")).await;
    assert_eq!((reply.status, reply.at("/upload_id")), (200, json!(sealed)), "{}", reply.text());
    let sealed_part = id(&reply, "/id");
    assert!(sealed_part.starts_with("part_") && sealed_part != "part_1", "{sealed_part}");
    let complete = format!("/v1/uploads/{sealed}/complete");
    let reply = post(&gateway, &complete, &json!({"part_ids": [sealed_part], "md5": "x"})).await;
    assert_eq!((reply.status, id(&reply, "/id")), (200, sealed.clone()), "{}", reply.text());
    assert!(id(&reply, "/file/id").starts_with("file-") && id(&reply, "/file/id") != "file-in");
    let reply = post(&gateway, &format!("/v1/uploads/{sealed}/cancel"), &json!({})).await;
    assert_eq!((reply.status, reply.at("/status")), (200, json!("cancelled")), "{}", reply.text());

    let heard = upstream.received();
    let lines: Vec<&str> = heard.iter().map(|heard| heard.head.lines().next().unwrap()).collect();
    let expected = [
        "POST /v1/uploads HTTP/1.1",
        "POST /v1/uploads/upload_1/parts HTTP/1.1",
        "POST /v1/uploads/upload_1/complete HTTP/1.1",
        "POST /v1/uploads/upload_1/cancel HTTP/1.1",
    ];
    assert_eq!(lines, expected);
    let sent = |at: usize| serde_json::from_slice::<Value>(&heard[at].body).unwrap();
    let name = sent(0)["filename"].as_str().unwrap().to_owned();
    assert!(name.ends_with("-in.jsonl") && name.len() == 25 && sent(0).get("provider").is_none(), "{name}");
    assert_eq!(sent(2), json!({"part_ids": ["part_1"], "md5": "x"}));

    // Of another project, of another kind, or of nobody.
    let head = "content-type: application/json\r\n";
    let body = json!({"part_ids": []}).to_string();
    let reply = ask(&gateway, "key-of-b", &format!("POST {complete}"), head, body.as_bytes()).await;
    assert_eq!(reply.status, 404, "{}", reply.text());
    for (path, body, status, param) in [
        (complete.as_str(), json!({"part_ids": ["part_1"]}), 404, "part_ids"),
        (complete.as_str(), json!({"part_ids": [sealed]}), 404, "part_ids"),
        (complete.as_str(), json!({}), 400, "part_ids"),
        ("/v1/uploads/upload_1/complete", json!({"part_ids": []}), 404, "id"),
        ("/v1/uploads", json!({"purpose": "batch"}), 400, "filename"),
        ("/v1/uploads", json!({"filename": "a", "provider": "groq"}), 400, "provider"),
    ] {
        let reply = post(&gateway, path, &body).await;
        assert_eq!(
            (reply.status, reply.at("/error/param")),
            (status, json!(param)),
            "{path}: {}",
            reply.text()
        );
    }
    assert_eq!(get(&gateway, &format!("GET /v1/files/{sealed}")).await.status, 404);
    assert_eq!(upstream.received().len(), 4);
}

#[tokio::test]
async fn a_list_shows_only_files_of_the_project() {
    let mut upstream = Upstream::by_hand().await;
    let gateway = TestGateway::start(&config(&upstream.known("openai"), "")).await;
    // The file name as the provider received it.
    let plain = form(&[("purpose", "batch")], "{}");
    let (reply, ()) = tokio::join!(upload(&gateway, "key-of-a", "/v1/files", &plain), async {
        upstream.next().await.send(whole("200 OK", &file("file-1", "x"))).await;
    });
    assert_eq!(reply.status, 200);
    let body = String::from_utf8(upstream.received()[0].body.clone()).unwrap();
    let name = body.split("filename=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let all = json!({"object": "list", "has_more": false, "data": [
        file("file-4", &name), file("file-3", "in.jsonl"), file("file-2", "0123456789abcdef-in.jsonl"), file("file-1", &name)
    ]});
    let (reply, ()) = tokio::join!(get(&gateway, "GET /v1/files?limit=1&purpose=batch"), async {
        upstream.next().await.send(whole("200 OK", &all)).await;
    });
    assert_eq!(
        (reply.at("/has_more"), reply.at("/data/0/filename"), reply.at("/data/1")),
        (json!(true), json!("in.jsonl"), Value::Null)
    );
    let last = id(&reply, "/last_id");
    assert_eq!(last, id(&reply, "/data/0/id"));
    let line = format!("GET /v1/files?after={last}");
    let (reply, ()) = tokio::join!(get(&gateway, &line), async {
        upstream.next().await.send(whole("200 OK", &all)).await;
    });
    assert_eq!(reply.at("/data").as_array().unwrap().len(), 2);
    let heads: Vec<String> =
        upstream.received().iter().map(|heard| heard.head.lines().next().unwrap().to_owned()).collect();
    assert_eq!(
        heads[1..],
        [
            "GET /v1/files?purpose=batch&limit=10000 HTTP/1.1",
            "GET /v1/files?after=file-4&limit=10000 HTTP/1.1"
        ]
    );
    let (reply, ()) = tokio::join!(ask(&gateway, "key-of-b", "GET /v1/files", "", b""), async {
        upstream.next().await.send(whole("200 OK", &all)).await;
    });
    assert_eq!(reply.at("/data"), json!([]));
}

#[tokio::test]
async fn a_batch_is_charged_once_however_often_its_output_is_read() {
    let upstream = Upstream::playing(vec![
        whole("200 OK", &file("file-in", "in.jsonl")),
        whole("200 OK", &batch("batch_1", None)),
        whole("200 OK", &batch("batch_1", Some("file-out"))),
        raw("200 OK", "content-type: application/octet-stream\r\n", output()),
    ])
    .await;
    let providers = upstream.known("openai");
    let gateway = TestGateway::start(&config(&providers, "")).await;
    let input =
        id(&upload(&gateway, "key-of-a", "/v1/files", &form(&[("purpose", "batch")], "{}")).await, "/id");
    let asked =
        json!({"input_file_id": input, "endpoint": "/v1/chat/completions", "completion_window": "24h"});
    let created = post(&gateway, "/v1/batches", &asked).await;
    assert_eq!((created.status, created.at("/metadata")), (200, json!({"own": "1"})), "{}", created.text());
    let sent: Value = serde_json::from_slice(&upstream.received()[1].body).unwrap();
    assert_eq!(sent["input_file_id"], "file-in");
    assert_eq!(sent["metadata"]["llmgateway"].as_str().unwrap().len(), 16);
    let sealed = id(&created, "/id");
    assert!(sealed.starts_with("batch_"), "{sealed}");
    let done = get(&gateway, &format!("GET /v1/batches/{sealed}")).await;
    assert_eq!(id(&done, "/id"), sealed);
    let out = id(&done, "/output_file_id");
    for _ in 0..2 {
        let read = get(&gateway, &format!("GET /v1/files/{out}/content")).await;
        assert_eq!((read.status, read.text()), (200, output()));
    }
    let reads = upstream
        .received()
        .iter()
        .filter(|heard| heard.head.starts_with("GET /v1/files/file-out/content "))
        .count();
    assert_eq!(reads, 3, "once for the record, and twice for the caller");
    // Another process reads the batch from the database.
    let gateway = gateway.stop().await.start(&config(&providers, "")).await;
    let read = get(&gateway, &format!("GET /v1/files/{out}/content")).await;
    assert_eq!((read.status, read.text()), (200, output()));
    assert_eq!(upstream.received().len(), 7);
    let records = gateway.records().await;
    let charged: Vec<_> = records.iter().filter(|record| record.usage.is_some()).collect();
    assert_eq!(charged.len(), 1, "{records:#?}");
    let record = charged[0];
    assert_eq!(
        (record.operation.as_deref(), record.used_model.as_deref()),
        (Some("batches"), Some("gpt-4o-mini"))
    );
    assert_eq!(record.started_at_ms, MADE_AT as i64 * 1000);
    assert_eq!(record.usage, Some(Usage { input: 30, output: 10, ..Usage::default() }));
    assert_eq!(record.cost.unwrap().total, Pico((30 * 150_000 + 10 * 600_000) / 2));
}

#[tokio::test]
async fn a_batch_with_unknown_models_needs_a_policy_that_allows_it() {
    for (policy, status) in [
        ("", 200),
        ("budgets = [{ usd = \"1\", per = \"day\" }]", 403),
        ("budgets = [{ usd = \"1\", per = \"day\" }]\nunpriced = \"allow\"", 200),
        ("models = [\"gpt-4o-mini\"]", 403),
        ("deny = [\"gpt-4o\"]", 403),
    ] {
        let upstream = Upstream::playing(vec![
            whole("200 OK", &file("file-in", "in.jsonl")),
            whole("200 OK", &batch("batch_1", None)),
        ])
        .await;
        let gateway = TestGateway::start(&config(&upstream.known("openai"), policy)).await;
        let reply = upload(&gateway, "key-of-a", "/v1/files", &form(&[("purpose", "batch")], "{}")).await;
        assert_eq!(reply.status, 200, "{policy}: {}", reply.text());
        let asked = json!({"input_file_id": id(&reply, "/id"), "endpoint": "/v1/chat/completions", "completion_window": "24h"});
        assert_eq!(post(&gateway, "/v1/batches", &asked).await.status, status, "{policy}");
    }
    let upstream = Upstream::playing(vec![whole("200 OK", &file("file-in", "in.jsonl"))]).await;
    let gateway =
        TestGateway::start(&config(&upstream.known("openai"), "deny_providers = [\"openai\"]")).await;
    assert_eq!(
        upload(&gateway, "key-of-a", "/v1/files", &form(&[("purpose", "batch")], "{}")).await.status,
        403
    );
    for (body, param) in [(json!({}), "input_file_id"), (json!({"input_file_id": 1}), "input_file_id")] {
        let reply = post(&gateway, "/v1/batches", &body).await;
        assert_eq!((reply.status, reply.at("/error/param")), (400, json!(param)));
    }
    assert_eq!(post(&gateway, "/v1/batches", &json!({"input_file_id": "file-in"})).await.status, 404);
}

#[tokio::test]
async fn the_provider_of_a_file_must_be_named_if_there_are_several() {
    let openai = Upstream::playing(vec![whole("200 OK", &file("file-o", "in.jsonl"))]).await;
    let groq = Upstream::playing(vec![whole("200 OK", &file("file-g", "in.jsonl"))]).await;
    let gateway = TestGateway::start(&config(&(openai.known("openai") + &groq.known("groq")), "")).await;
    let plain = form(&[("purpose", "batch")], "{}");
    let reply = upload(&gateway, "key-of-a", "/v1/files", &plain).await;
    assert_eq!((reply.status, reply.at("/error/param")), (400, json!("provider")), "{}", reply.text());
    assert!(reply.text().contains("groq, openai"));
    assert_eq!(upload(&gateway, "key-of-a", "/v1/files?provider=groq", &plain).await.status, 200);
    assert_eq!(upload(&gateway, "key-of-a", "/v1/files?provider=nobody", &plain).await.status, 400);
    let named = form(&[("purpose", "batch"), ("provider", "openai")], "{}");
    assert_eq!(upload(&gateway, "key-of-a", "/v1/files", &named).await.status, 200);
    assert_eq!((openai.received().len(), groq.received().len()), (1, 1));
}

#[tokio::test]
async fn batches_of_messages_have_anthropic_s_format() {
    let made = |status: &str| {
        json!({"id": "msgbatch_1", "type": "message_batch", "processing_status": status, "created_at": "2026-11-01T00:00:00.123Z",
            "request_counts": {"processing": 0, "succeeded": 1, "errored": 0, "canceled": 0, "expired": 0},
            "results_url": "https://api.anthropic.com/v1/messages/batches/msgbatch_1/results"})
    };
    let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5-20251001",
        "content": [{"type": "text", "text": "Hi."}], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 10, "output_tokens": 4}});
    let results =
        json!({"custom_id": "a", "result": {"type": "succeeded", "message": message}}).to_string() + "\n";
    let upstream = Upstream::playing(vec![
        whole("200 OK", &made("in_progress")),
        whole("200 OK", &made("ended")),
        raw("200 OK", "content-type: application/x-jsonl\r\n", &results),
    ])
    .await;
    let policy = "models = [\"claude-haiku-*\"]\nbudgets = [{ usd = \"1\", per = \"day\" }]";
    let gateway = TestGateway::start(&config(&upstream.known("anthropic"), policy)).await;
    let asked = |model: &str| json!({"requests": [{"custom_id": "a", "params": {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi."}]}}]});
    let refused = post(&gateway, "/v1/messages/batches", &asked("claude-opus-4-5")).await;
    assert_eq!((refused.status, refused.at("/type")), (403, json!("error")), "{}", refused.text());
    let created = post(&gateway, "/v1/messages/batches", &asked("claude-haiku-4-5")).await;
    assert_eq!(created.status, 200, "{}", created.text());
    let sealed = id(&created, "/id");
    assert!(sealed.starts_with("msgbatch_") && sealed != "msgbatch_1");
    assert_eq!(created.at("/results_url"), json!(format!("/v1/messages/batches/{sealed}/results")));
    let heard = &upstream.received()[0];
    assert!(heard.head.starts_with("POST /v1/messages/batches HTTP/1.1"), "{}", heard.head);
    assert_eq!(
        (heard.header("x-api-key"), heard.header("anthropic-version")),
        (Some("anthropic-key"), Some("2023-06-01"))
    );
    assert_eq!(serde_json::from_slice::<Value>(&heard.body).unwrap(), asked("claude-haiku-4-5"));
    assert_eq!(get(&gateway, &format!("GET /v1/messages/batches/{sealed}")).await.status, 200);
    for _ in 0..2 {
        let read = get(&gateway, &format!("GET /v1/messages/batches/{sealed}/results")).await;
        assert_eq!((read.status, read.text()), (200, results.clone()));
    }
    let other = ask(&gateway, "key-of-b", &format!("GET /v1/messages/batches/{sealed}"), "", b"").await;
    assert_eq!((other.status, other.at("/error/type")), (404, json!("not_found_error")));
    assert_eq!(get(&gateway, "GET /v1/messages/batches").await.status, 400);
    let records = gateway.records().await;
    let charged: Vec<_> = records.iter().filter(|record| record.usage.is_some()).collect();
    assert_eq!(charged.len(), 1, "{records:#?}");
    // Half of 1 and 5 USD per million tokens.
    assert_eq!(charged[0].cost.unwrap().total, Pico((10 * 1_000_000 + 4 * 5_000_000) / 2));
}
