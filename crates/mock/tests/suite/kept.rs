//! Files, uploads, batches and WebSockets, in the recorded shapes.

use mock::Mock;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Answer, get, plain, post, send};

/// Sends a form with these texts and a file.
async fn form(mock: &Mock, path: &str, fields: &[(&str, &str)], (name, content): (&str, &str)) -> Answer {
    let mut body = String::new();
    for (name, value) in fields {
        body += &format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    }
    body += &format!(
        "--b\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"a.jsonl\"\r\n\r\n{content}\r\n--b--\r\n"
    );
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: mock\r\ncontent-type: multipart/form-data; boundary=b\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    send(mock, &format!("{head}{body}")).await
}

fn line(custom_id: &str, text: &str) -> String {
    let body = json!({"model": "gpt-5.4-mini", "messages": [{"role": "user", "content": text}]});
    json!({"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}).to_string()
}

#[tokio::test]
async fn a_batch_goes_from_its_file_to_its_output() {
    let mock = plain().await;
    let content = format!("{}\n{}\n", line("a", "the capital of France?"), line("b", "count to 3"));
    let file = form(&mock, "/v1/files", &[("purpose", "batch")], ("file", &content)).await.json();
    assert_eq!(file["bytes"], content.len());
    let wish = json!({
        "input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"
    });
    let batch = post(&mock, "/v1/batches", &wish).await.json();
    let path = format!("/v1/batches/{}", batch["id"].as_str().unwrap());
    let mut states = vec![batch["status"].clone()];
    let mut last = Value::Null;
    for _ in 0..3 {
        last = get(&mock, &path).await.json();
        states.push(last["status"].clone());
    }
    assert_eq!(states, ["validating", "in_progress", "completed", "completed"]);
    assert_eq!(last["request_counts"], json!({"total": 2, "completed": 2, "failed": 0}));
    assert!(last["usage"]["total_tokens"].as_u64().unwrap() > 0);
    let output = format!("/v1/files/{}/content", last["output_file_id"].as_str().unwrap());
    let output = get(&mock, &output).await.text();
    assert_eq!(output.lines().count(), 2);
    assert!(output.lines().next().unwrap().contains("Paris"));
    // A file is not visible at another provider.
    assert_eq!(get(&mock, &format!("/groq{path}")).await.status, 404);
}

#[tokio::test]
async fn a_bad_file_or_batch_is_refused() {
    let mock = plain().await;
    let wrong = form(&mock, "/v1/files", &[("purpose", "party")], ("file", "x")).await;
    assert_eq!((wrong.status, wrong.json()["error"]["param"].as_str()), (400, Some("purpose")));
    let file = form(&mock, "/v1/files", &[("purpose", "vision")], ("file", "x")).await.json();
    let wish =
        |id: &Value| json!({"input_file_id": id, "endpoint": "/v1/responses", "completion_window": "24h"});
    assert_eq!(post(&mock, "/v1/batches", &wish(&file["id"])).await.status, 400);
    assert_eq!(post(&mock, "/v1/batches", &wish(&json!("file-none"))).await.status, 404);
    let file = form(&mock, "/v1/files", &[("purpose", "batch")], ("file", &line("a", "hi"))).await.json();
    let batch = post(&mock, "/v1/batches", &wish(&file["id"])).await.json();
    let failed = get(&mock, &format!("/v1/batches/{}", batch["id"].as_str().unwrap())).await.json();
    assert_eq!(
        (&failed["status"], &failed["errors"]["data"][0]["code"]),
        (&json!("failed"), &json!("mismatched_url"))
    );
}

#[tokio::test]
async fn parts_become_a_file() {
    let mock = plain().await;
    let wish = json!({"filename": "a", "bytes": 6, "mime_type": "text/plain", "purpose": "user_data"});
    let upload = post(&mock, "/v1/uploads", &wish).await.json();
    let path = format!("/v1/uploads/{}", upload["id"].as_str().unwrap());
    let mut ids = Vec::new();
    for part in ["abc", "def"] {
        let part = form(&mock, &format!("{path}/parts"), &[], ("data", part)).await.json();
        ids.push(part["id"].clone());
    }
    let wrong = post(&mock, &format!("{path}/complete"), &json!({"part_ids": &ids[..1]})).await;
    assert_eq!(wrong.status, 400);
    // The caller chooses the order.
    ids.reverse();
    let done = post(&mock, &format!("{path}/complete"), &json!({ "part_ids": ids })).await.json();
    assert_eq!(done["status"], "completed");
    let content = format!("/v1/files/{}/content", done["file"]["id"].as_str().unwrap());
    assert_eq!(get(&mock, &content).await.text(), "defabc");
}

#[tokio::test]
async fn message_batches_have_anthropics_format() {
    let mock = plain().await;
    let request = |id: &str, count: usize| {
        let messages = vec![json!({"role": "user", "content": "the capital of France?"}); count];
        json!({"custom_id": id, "params": {"model": "claude-haiku-4-5", "max_tokens": 50, "messages": messages}})
    };
    let wish = json!({"requests": [request("a", 1), request("b", 0)]});
    let batch = post(&mock, "/v1/messages/batches", &wish).await.json();
    assert_eq!(
        (&batch["type"], &batch["processing_status"]),
        (&json!("message_batch"), &json!("in_progress"))
    );
    let path = format!("/v1/messages/batches/{}", batch["id"].as_str().unwrap());
    let early = get(&mock, &format!("{path}/results")).await;
    assert_eq!((early.status, early.json()["type"].as_str()), (400, Some("error")));
    let waiting = get(&mock, &path).await;
    assert_eq!(waiting.headers["retry-after"], "10");
    let ended = get(&mock, &path).await.json();
    assert_eq!(
        (&ended["request_counts"]["succeeded"], &ended["request_counts"]["errored"]),
        (&json!(1), &json!(1))
    );
    let results = get(&mock, &format!("{path}/results")).await.text();
    let types: Vec<Value> = results
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["result"]["type"].clone())
        .collect();
    assert_eq!(types, ["succeeded", "errored"]);
    let same = json!({"requests": [request("a", 1), request("a", 1)]});
    assert_eq!(post(&mock, "/v1/messages/batches", &same).await.status, 400);
}

#[tokio::test]
async fn google_returns_an_address_for_the_bytes() {
    let mock = plain().await;
    let begin = "POST /upload/v1beta/files HTTP/1.1\r\nhost: mock\r\ncontent-type: application/json\r\nconnection: close\r\n\
                 x-goog-upload-protocol: resumable\r\nx-goog-upload-command: start\r\ncontent-length: 50\r\n\r\n\
                 {\"file\":{\"displayName\":\"a\",\"mimeType\":\"text/css\"}}";
    let begun = send(&mock, begin).await;
    let url = begun.headers["x-goog-upload-url"].strip_prefix("http://mock").unwrap().to_owned();
    let bytes = |offset: usize| {
        format!(
            "POST {url} HTTP/1.1\r\nhost: mock\r\nconnection: close\r\nx-goog-upload-command: upload, finalize\r\n\
             x-goog-upload-offset: {offset}\r\ncontent-length: 5\r\n\r\nhello"
        )
    };
    assert_eq!(send(&mock, &bytes(3)).await.status, 400);
    let file = send(&mock, &bytes(0)).await.json();
    assert_eq!((&file["file"]["sizeBytes"], &file["file"]["mimeType"]), (&json!("5"), &json!("text/css")));
    let name = file["file"]["name"].as_str().unwrap();
    assert_eq!(get(&mock, &format!("/v1beta/{name}")).await.json()["state"], "ACTIVE");
}

#[tokio::test]
async fn a_websocket_answers_the_messages_it_receives() {
    let mock = plain().await;
    let mut socket = TcpStream::connect(mock.address()).await.unwrap();
    let request = "GET /v1/realtime?model=gpt-realtime HTTP/1.1\r\nhost: mock\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.write_all(request.as_bytes()).await.unwrap();
    for event in [
        json!({"type": "conversation.item.create", "item": {"type": "message", "content": [{"text": "capital of France?"}]}}),
        json!({"type": "response.create"}),
    ] {
        // A mask of zeros leaves the text unchanged.
        let event = event.to_string();
        let mut frame = vec![0x81, 0x80 | 126];
        frame.extend((event.len() as u16).to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(event.as_bytes());
        socket.write_all(&frame).await.unwrap();
    }
    let mut came = Vec::new();
    while !String::from_utf8_lossy(&came).contains("\"response.done\"") {
        assert!(socket.read_buf(&mut came).await.unwrap() > 0, "{}", String::from_utf8_lossy(&came));
    }
    let came = String::from_utf8_lossy(&came);
    assert!(came.starts_with("HTTP/1.1 101"), "{came}");
    assert!(came.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{came}");
    for part in ["session.created", "response.output_text.delta", "\"total_tokens\""] {
        assert!(came.contains(part), "{came}");
    }
}
