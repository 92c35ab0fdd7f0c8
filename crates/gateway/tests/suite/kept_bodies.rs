//! Bodies and headers that are kept for administrators: which, for whom, and what is masked.

use std::time::Duration;

use serde_json::{Value, json};

use crate::console::Browser;
use crate::support::{Reply, TestGateway, Upstream, answer, question, raw, stream_of, streamed};

const MODEL: &str = "openai/gpt-4o-mini";
const PROVIDER_KEY: &str = "sk-of-the-provider-0123456789";

/// A gateway with an administrator, a viewer, and callers of projects that keep more or less.
async fn start(upstream: &Upstream, more: &str) -> TestGateway {
    let config = format!(
        r#"
[auth]
api_keys = ["caller-key-0123456789"]
admin_keys = ["root"]
[providers.openai]
base_url = "{}/v1"
api_key = "{PROVIDER_KEY}"
[projects.watch]
keys = [{{ name = "see", key = "viewer-key", roles = ["viewer"] }}]
[routing]
max_retries = 0
{more}"#,
        upstream.url()
    );
    TestGateway::start(&config).await
}

async fn ask(gateway: &TestGateway, key: &str, body: &Value) -> Reply {
    let head = format!("authorization: Bearer {key}\r\ncookie: session=mine\r\nx-trace: plain\r\n");
    gateway.post_with("/v1/chat/completions", &head, body.to_string().as_bytes()).await
}

async fn read(gateway: &TestGateway, key: &str, id: &str) -> Value {
    let text = format!(
        "GET /admin/v1/requests/{id} HTTP/1.1\r\nhost: g\r\nx-api-key: {key}\r\nconnection: close\r\n\r\n"
    );
    gateway.send(text.as_bytes()).await.json()
}

fn id_of(reply: &Reply) -> String {
    reply.header("x-request-id").unwrap().to_owned()
}

/// The record of a request, once it is in the database. Records and bodies get there by different tasks.
async fn recorded(gateway: &TestGateway, id: &str) -> Value {
    for _ in 0..400 {
        let object = read(gateway, "root", id).await;
        if object["object"] == "request" && gateway.bodies_are_written() {
            return read(gateway, "root", id).await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{id} is not recorded");
}

#[tokio::test]
async fn nothing_is_kept_by_default_and_the_page_names_the_setting() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = start(&upstream, "").await;
    let id = id_of(&ask(&gateway, "caller-key-0123456789", &question(MODEL)).await);
    let object = recorded(&gateway, &id).await;
    assert_eq!(object.get("bodies"), Some(&Value::Null));
    let page = Browser::with(&gateway, "root").await.get(&format!("/ui/requests/{id}")).await.text();
    assert!(
        page.contains("The gateway keeps no bodies") && page.contains("bodies = &quot;none&quot;"),
        "{page}"
    );
}

#[tokio::test]
async fn all_of_a_request_is_kept_without_secrets() {
    let refusal = format!(r#"{{"error": {{"message": "Incorrect API key provided: {PROVIDER_KEY}"}}}}"#);
    let upstream = Upstream::playing(vec![
        stream_of(&["Hel", "lo."]),
        raw("401 Unauthorized", "content-type: application/json\r\n", refusal),
    ])
    .await;
    let gateway = start(&upstream, "[bodies]\nkeep = \"all\"\nredact = [\"user\"]\n").await;
    let mut body = streamed(MODEL);
    body["user"] = json!("jane");
    body["messages"][0]["content"] = json!("My key is caller-key-0123456789, <b>");
    let id = id_of(&ask(&gateway, "caller-key-0123456789", &body).await);
    let bodies = recorded(&gateway, &id).await["bodies"].clone();
    let kept = bodies.to_string();
    for secret in ["caller-key", PROVIDER_KEY, "session=mine", "jane"] {
        assert!(!kept.contains(secret), "{secret}: {kept}");
    }
    let has =
        |list: &Value, name: &str, value: &str| list.as_array().unwrap().contains(&json!([name, value]));
    assert!(has(&bodies["request"]["headers"], "x-trace", "plain"), "{kept}");
    assert!(has(&bodies["request"]["headers"], "authorization", "***"), "{kept}");
    assert!(bodies["request"]["body"]["text"].as_str().unwrap().contains("My key is ***, <b>"), "{kept}");
    assert!(bodies["attempts"][0]["body"]["text"].as_str().unwrap().contains("gpt-4o-mini"), "{kept}");
    assert!(has(&bodies["attempts"][0]["headers"], "authorization", "***"), "{kept}");
    assert_eq!(
        (&bodies["attempts"][0]["status"], &bodies["attempts"][0]["provider"]),
        (&json!(200), &json!("openai"))
    );
    let answer = bodies["answer"]["text"].as_str().unwrap();
    assert!(answer.contains("Hel") && answer.ends_with("data: [DONE]\n\n"), "{kept}");

    let failed = ask(&gateway, "caller-key-0123456789", &question(MODEL)).await;
    let bodies = recorded(&gateway, &id_of(&failed)).await["bodies"].clone();
    let error = &bodies["attempts"][0];
    assert_eq!(error["status"], 401);
    assert!(error["error"]["text"].as_str().unwrap().contains("Incorrect API key provided: ***"), "{bodies}");
    assert!(bodies["answer"]["text"].as_str().unwrap().contains("error"), "{bodies}");

    let path = format!("/ui/requests/{id}");
    let page = Browser::with(&gateway, "root").await.get(&path).await.text();
    for shown in
        ["As received", "As sent, attempt 1 at openai", "Answer to the caller", "My key is ***, &lt;b&gt;"]
    {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    let page = Browser::with(&gateway, "viewer-key").await.get(&path).await.text();
    assert!(page.contains("Only administrators see bodies") && !page.contains("My key is"), "{page}");
    assert_eq!(read(&gateway, "viewer-key", &id).await.get("bodies"), None);
}

#[tokio::test]
async fn a_project_decides_for_itself_and_a_key_keeps_less() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let policies = r#"
[bodies]
keep = "errors"
[projects.more]
bodies = "all"
keys = [{ name = "a", key = "all-key" }, { name = "b", key = "none-key", bodies = "none" }]
[projects.less]
bodies = "none"
keys = [{ name = "a", key = "less-key", bodies = "all" }]
"#;
    let gateway = start(&upstream, policies).await;
    let wrong = json!({"model": "nobody/has-this", "messages": []});
    let cases = [
        ("caller-key-0123456789", [false, true]),
        ("all-key", [true, true]),
        ("none-key", [false, false]),
        ("less-key", [false, false]),
    ];
    for (key, expected) in cases {
        for (body, expected) in [question(MODEL), wrong.clone()].iter().zip(expected) {
            let id = id_of(&ask(&gateway, key, body).await);
            let object = recorded(&gateway, &id).await;
            assert_eq!(object["bodies"].is_object(), expected, "{key}: {object}");
        }
    }
}

#[tokio::test]
async fn what_a_guardrail_replaced_or_refused_is_nowhere() {
    let upstream = Upstream::playing(vec![answer("I wrote to [EMAIL_1].")]).await;
    let rules = r#"
[bodies]
keep = "all"
[guardrails.email]
action = "redact"
on = ["input"]
patterns = ['[a-z0-9.]{1,64}@[a-z0-9-]{1,63}\.[a-z]{2,10}']
[guardrails.secret]
patterns = ['forbidden-[a-z]{8}']
[projects.a]
guardrails = ["email", "secret"]
keys = [{ name = "ci", key = "guarded-key" }]
"#;
    let gateway = start(&upstream, rules).await;
    let mut body = question(MODEL);
    body["messages"][0]["content"] = json!("Mail ann@x.org.");
    let reply = ask(&gateway, "guarded-key", &body).await;
    assert!(reply.text().contains("I wrote to ann@x.org."), "{}", reply.text());
    let bodies = recorded(&gateway, &id_of(&reply)).await["bodies"].clone();
    assert!(!bodies.to_string().contains("ann@x"), "{bodies}");
    assert!(bodies["request"]["body"]["text"].as_str().unwrap().contains("Mail [EMAIL_1]."), "{bodies}");
    assert_eq!(bodies["answer"], Value::Null);
    assert!(bodies["answer_withheld"].as_str().unwrap().contains("guardrail"), "{bodies}");

    body["messages"][0]["content"] = json!("This is forbidden-textword.");
    let reply = ask(&gateway, "guarded-key", &body).await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    let bodies = recorded(&gateway, &id_of(&reply)).await["bodies"].clone();
    assert!(bodies.is_object() && !bodies.to_string().contains("forbidden-"), "{bodies}");
    assert_eq!(bodies["request"]["body"], Value::Null);
}

#[tokio::test]
async fn a_long_body_is_cut_and_says_so() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = start(&upstream, "[bodies]\nkeep = \"all\"\nsize_limit = \"1KiB\"\n").await;
    let mut body = question(MODEL);
    body["messages"][0]["content"] = json!("long ".repeat(1000));
    let id = id_of(&ask(&gateway, "caller-key-0123456789", &body).await);
    let bodies = recorded(&gateway, &id).await["bodies"].clone();
    let received = &bodies["request"]["body"];
    assert_eq!(received["text"].as_str().unwrap().len(), 1024);
    assert_eq!((&received["is_cut"], &received["bytes"]), (&json!(true), &json!(body.to_string().len())));
    let page = Browser::with(&gateway, "root").await.get(&format!("/ui/requests/{id}")).await.text();
    assert!(page.contains("Truncated: the whole body has"), "{page}");
}

#[tokio::test]
async fn embeddings_are_kept_too_and_bad_settings_are_refused() {
    let vector = json!({"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}], "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}});
    let upstream =
        Upstream::playing(vec![raw("200 OK", "content-type: application/json\r\n", vector.to_string())])
            .await;
    let gateway = start(&upstream, "[bodies]\nkeep = \"all\"\n").await;
    let body = json!({"model": "openai/text-embedding-3-small", "input": "embed this"});
    let head = "authorization: Bearer caller-key-0123456789\r\n";
    let reply = gateway.post_with("/v1/embeddings", head, body.to_string().as_bytes()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let bodies = recorded(&gateway, &id_of(&reply)).await["bodies"].clone();
    for part in [&bodies["request"]["body"], &bodies["attempts"][0]["body"]] {
        assert!(part["text"].as_str().unwrap().contains("embed this"), "{bodies}");
    }
    assert!(bodies["answer"]["text"].as_str().unwrap().contains("embedding"), "{bodies}");

    let folder = tempfile::tempdir().unwrap();
    let wrong = "[bodies]\nkeep = \"al\"\n[projects.a]\nbodies = \"some\"\n";
    std::fs::write(folder.path().join("llmgateway.toml"), wrong).unwrap();
    let (code, _, said) = crate::commands::run(folder.path(), &["check"], &[]);
    assert!(code == 1 && said.contains("bodies.keep") && said.contains("projects.a"), "{said}");
    let wrong = "[bodies]\nkeep_days = 0\nsize_limit = \"1GiB\"\n";
    std::fs::write(folder.path().join("llmgateway.toml"), wrong).unwrap();
    let (code, _, said) = crate::commands::run(folder.path(), &["check"], &[]);
    assert!(code == 1 && said.contains("bodies.keep_days") && said.contains("bodies.size_limit"), "{said}");
}
