//! Batches in the shapes of OpenAI and Anthropic. Their requests are answered when the batch is made; each question about it
//! shows it one step further on.

use std::collections::VecDeque;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::file_routes::{Visit, attachment, invalid, missing};
use crate::files::{self, not_found, refused};
use crate::format::{Reply, items, text};
use crate::stored_files::{Batch, File};
use crate::times;

const ENDPOINTS: [&str; 5] =
    ["/v1/responses", "/v1/chat/completions", "/v1/embeddings", "/v1/completions", "/v1/moderations"];
const DAY: u64 = 24 * 3600;

/// `…/batches`, as OpenAI has them.
pub fn batches(visit: &Visit<'_>) -> Reply {
    match visit.rest[..] {
        [] if visit.is(Method::POST) => create(visit),
        [] if visit.is(Method::GET) => {
            let kept = visit.shelf.lock();
            let all = kept.batches.of(visit.place).map(|batch| batch.about.clone()).collect();
            Reply::json(200, &visit.page(all, 100))
        }
        [id] if visit.is(Method::GET) => match visit.shelf.lock().batches.get(visit.place, id) {
            Some(batch) => Reply::json(200, batch.further()),
            None => missing("Batch", id),
        },
        [id, "cancel"] if visit.is(Method::POST) => match visit.shelf.lock().batches.get(visit.place, id) {
            Some(batch) if batch.steps.is_empty() => {
                let message =
                    format!("Cannot cancel a batch with status '{}'.", text(&batch.about, "status"));
                invalid("id", &message)
            }
            Some(batch) => {
                let now = visit.call.created;
                let counts = batch.steps.back().map_or(Value::Null, |last| last["request_counts"].clone());
                let counts = json!({"total": counts["total"], "completed": 0, "failed": 0});
                batch.about["status"] = "cancelling".into();
                batch.about["cancelling_at"] = now.into();
                batch.about["request_counts"] = counts;
                let mut last = batch.about.clone();
                last["status"] = "cancelled".into();
                last["cancelled_at"] = now.into();
                batch.steps = [last].into();
                Reply::json(200, &batch.about)
            }
            None => missing("Batch", id),
        },
        _ => crate::openai_chat::unknown_path(visit.call),
    }
}

impl Batch {
    /// Its state, one step later.
    fn further(&mut self) -> &Value {
        if let Some(next) = self.steps.pop_front() {
            self.about = next;
        }
        &self.about
    }
}

fn create(visit: &Visit<'_>) -> Reply {
    let (call, place) = (visit.call, visit.place);
    let endpoint = text(&call.body, "endpoint");
    if !ENDPOINTS.contains(&endpoint) && !ENDPOINTS.contains(&&*format!("/v1{endpoint}")) {
        return invalid("endpoint", &format!("Invalid value: '{endpoint}'."));
    }
    if text(&call.body, "completion_window").is_empty() {
        return invalid("completion_window", "Missing required parameter: 'completion_window'.");
    }
    let input = text(&call.body, "input_file_id");
    let content = match visit.shelf.lock().files.get(place, input) {
        Some(file) if file.about["purpose"] != "batch" => {
            return invalid("input_file_id", "The file's purpose must be 'batch'.");
        }
        Some(file) => file.content.clone(),
        None => return missing("File", input),
    };
    let id = call.id("batch_");
    let begun = json!({
        "id": id, "object": "batch", "endpoint": endpoint, "model": null, "errors": null, "input_file_id": input,
        "completion_window": call.body["completion_window"], "status": "validating", "output_file_id": null,
        "error_file_id": null, "created_at": call.created, "in_progress_at": null, "expires_at": call.created + DAY,
        "finalizing_at": null, "completed_at": null, "failed_at": null, "expired_at": null, "cancelling_at": null,
        "cancelled_at": null, "request_counts": {"total": 0, "completed": 0, "failed": 0}, "usage": usage(0, 0),
        "metadata": call.body["metadata"]
    });
    let steps = steps(visit, &begun, &content);
    let mut kept = visit.shelf.lock();
    kept.batches.add(place, &id, Batch { about: begun.clone(), steps, output: Bytes::new() });
    Reply::json(200, &begun)
}

/// The outcome of a batch. Its output is a file.
fn steps(visit: &Visit<'_>, begun: &Value, content: &[u8]) -> VecDeque<Value> {
    let (call, mut next) = (visit.call, begun.clone());
    let lines: Vec<(usize, Value)> = content
        .split(|byte| *byte == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.trim_ascii().is_empty())
        .map(|(index, line)| (index + 1, serde_json::from_slice(line).unwrap_or_default()))
        .collect();
    let endpoint = text(begun, "endpoint");
    let mistakes: Vec<Value> =
        lines.iter().filter_map(|(line, request)| mistake(*line, request, endpoint)).collect();
    if !mistakes.is_empty() || lines.is_empty() {
        next["status"] = "failed".into();
        next["failed_at"] = call.created.into();
        next["errors"] = json!({"object": "list", "data": mistakes});
        return [next].into();
    }
    let answers: Vec<Answered> =
        lines.iter().map(|(line, request)| Answered::of(visit, *line, request)).collect();
    let good = answers.iter().filter(|answered| answered.is_good).count();
    next["status"] = "in_progress".into();
    next["model"] = lines[0].1["body"]["model"].clone();
    next["in_progress_at"] = call.created.into();
    next["request_counts"] = json!({"total": lines.len(), "completed": 0, "failed": 0});
    let mut last = next.clone();
    for (name, is_good) in [("output_file_id", true), ("error_file_id", false)] {
        let chosen = answers.iter().filter(|answered| answered.is_good == is_good);
        let lines: String = chosen.map(|answered| format!("{}\n", answered.line)).collect();
        if lines.is_empty() {
            continue;
        }
        let id = call.id(if is_good { "file-out" } else { "file-err" });
        let file_name = format!("{}_{}.jsonl", text(begun, "id"), &name[..name.len() - "_file_id".len()]);
        let about = files::about(&id, &file_name, "batch_output", (lines.len(), call.created));
        visit.shelf.lock().add_file(visit.place, &id, File { about, content: lines.into() });
        last[name] = id.into();
    }
    last["status"] = "completed".into();
    last["finalizing_at"] = call.created.into();
    last["completed_at"] = call.created.into();
    last["request_counts"] = json!({"total": lines.len(), "completed": good, "failed": lines.len() - good});
    last["usage"] = answers.iter().fold(usage(0, 0), |sum, answered| {
        let count = |name: &str| sum[name].as_u64().unwrap_or(0) + answered.tokens(name);
        usage(count("input_tokens"), count("output_tokens"))
    });
    [next, last].into()
}

fn usage(input: u64, output: u64) -> Value {
    json!({
        "input_tokens": input, "output_tokens": output, "total_tokens": input + output,
        "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}
    })
}

fn mistake(line: usize, request: &Value, endpoint: &str) -> Option<Value> {
    let (code, message, param) = if !request.is_object() {
        ("invalid_json_line", "This line is not parseable as valid JSON.", "")
    } else if text(request, "custom_id").is_empty() {
        ("missing_required_parameter", "Missing required parameter: 'custom_id'.", "custom_id")
    } else if text(request, "url") != endpoint {
        ("mismatched_url", "The URL provided for this request does not match the batch endpoint.", "url")
    } else if !request["body"].is_object() {
        ("missing_required_parameter", "Missing required parameter: 'body'.", "body")
    } else {
        return None;
    };
    Some(json!({"code": code, "line": line, "message": message, "param": param}))
}

/// A request of a batch with its answer.
struct Answered {
    line: Value,
    body: Value,
    is_good: bool,
}

impl Answered {
    fn of(visit: &Visit<'_>, line: usize, request: &Value) -> Self {
        let place = visit.place.strip_suffix("/v1").unwrap_or(visit.place);
        let path = match text(request, "url") {
            url if url.starts_with("/v1/") => format!("{place}{url}"),
            url => format!("{place}/v1{url}"),
        };
        let reply = (visit.ask)(&path, request["body"].clone());
        let body: Value = serde_json::from_slice(&reply.frames.concat()).unwrap_or_default();
        let id = format!("batch_req_{}{line}", visit.call.id(""));
        let response = json!({
            "status_code": reply.status.as_u16(), "request_id": format!("req_{}{line}", visit.call.id("")), "body": body
        });
        let line = json!({"id": id, "custom_id": request["custom_id"], "response": response, "error": null});
        Self { line, body, is_good: reply.status.is_success() }
    }

    /// Tokens by the name in a batch; chat and embeddings have others.
    fn tokens(&self, name: &str) -> u64 {
        let other = if name == "input_tokens" { "prompt_tokens" } else { "completion_tokens" };
        let usage = &self.body["usage"];
        usage[name].as_u64().or(usage[other].as_u64()).unwrap_or(0)
    }
}

/// `…/messages/batches`, as Anthropic has them.
pub fn of_messages(visit: &Visit<'_>) -> Reply {
    let mut kept = match visit.rest[..] {
        [] if visit.is(Method::POST) => return create_of_messages(visit),
        _ => visit.shelf.lock(),
    };
    match visit.rest[..] {
        [] if visit.is(Method::GET) => {
            let all = kept.batches.of(visit.place).map(|batch| batch.about.clone()).collect();
            let mut page = visit.page(all, 1000);
            page.as_object_mut().and_then(|page| page.remove("object"));
            Reply::json(200, &page)
        }
        [id] if visit.is(Method::DELETE) => match kept.batches.get(visit.place, id) {
            Some(batch) if batch.about["processing_status"] != "ended" => {
                refused(400, "invalid_request_error", "Only batches that have ended can be deleted.")
            }
            Some(_) => {
                kept.batches.remove(visit.place, id);
                Reply::json(200, &json!({"id": id, "type": "message_batch_deleted"}))
            }
            None => not_found(id),
        },
        [id, ref part @ ..] => match (kept.batches.get(visit.place, id), part) {
            (None, _) => not_found(id),
            (Some(batch), []) if visit.is(Method::GET) => {
                let reply = Reply::json(200, batch.further());
                if batch.steps.is_empty() { reply } else { reply.header("retry-after", "10") }
            }
            (Some(batch), ["cancel"]) if visit.is(Method::POST) => cancel_of_messages(visit, batch),
            (Some(batch), ["results"]) if visit.is(Method::GET) => {
                if batch.about["results_url"].is_null() {
                    refused(400, "invalid_request_error", "The batch has no results yet.")
                } else {
                    attachment("application/x-jsonl", &format!("{id}_results.jsonl"), batch.output.clone())
                }
            }
            _ => not_found(&visit.call.path),
        },
        _ => not_found(&visit.call.path),
    }
}

fn create_of_messages(visit: &Visit<'_>) -> Reply {
    let call = visit.call;
    let requests = items(&call.body, "requests");
    if requests.is_empty() {
        let message = "requests: List should have at least 1 item after validation, not 0";
        return refused(400, "invalid_request_error", message);
    }
    for (index, request) in requests.iter().enumerate() {
        for (name, is_there) in
            [("custom_id", request["custom_id"].is_string()), ("params", request["params"].is_object())]
        {
            if !is_there {
                let message = format!("requests.{index}.{name}: Field required");
                return refused(400, "invalid_request_error", &message);
            }
        }
        let is_same = |other: &Value| other["custom_id"] == request["custom_id"];
        if requests[..index].iter().any(is_same) {
            let message = format!("requests.{index}.custom_id: Custom ids must be unique.");
            return refused(400, "invalid_request_error", &message);
        }
    }
    let id = call.id("msgbatch_");
    let counts = |processing: usize, succeeded: usize, errored: usize| json!({"processing": processing, "succeeded": succeeded, "errored": errored, "canceled": 0, "expired": 0});
    let now = times::rfc3339(call.created);
    let begun = json!({
        "id": id, "type": "message_batch", "processing_status": "in_progress", "request_counts": counts(requests.len(), 0, 0),
        "ended_at": null, "created_at": now, "expires_at": times::rfc3339(call.created + DAY), "archived_at": null,
        "cancel_initiated_at": null, "results_url": null
    });
    let path = format!("{}/messages", visit.place);
    let (mut output, mut succeeded) = (String::new(), 0);
    for request in requests {
        let reply = (visit.ask)(&path, request["params"].clone());
        let body: Value = serde_json::from_slice(&reply.frames.concat()).unwrap_or_default();
        let result = if reply.status.is_success() {
            json!({"type": "succeeded", "message": body})
        } else {
            json!({"type": "errored", "error": body})
        };
        succeeded += usize::from(reply.status.is_success());
        output.push_str(&json!({"custom_id": request["custom_id"], "result": result}).to_string());
        output.push('\n');
    }
    let mut ended = begun.clone();
    ended["processing_status"] = "ended".into();
    ended["ended_at"] = now.into();
    ended["request_counts"] = counts(0, succeeded, requests.len() - succeeded);
    // Anthropic gives an address of its own, whatever the caller's base URL is.
    ended["results_url"] = format!("https://api.anthropic.com/v1/messages/batches/{id}/results").into();
    let batch = Batch { about: begun.clone(), steps: [begun.clone(), ended].into(), output: output.into() };
    visit.shelf.lock().batches.add(visit.place, &id, batch);
    Reply::json(200, &begun)
}

fn cancel_of_messages(visit: &Visit<'_>, batch: &mut Batch) -> Reply {
    if batch.steps.is_empty() {
        return refused(400, "invalid_request_error", "The batch has already ended.");
    }
    let now = times::rfc3339(visit.call.created);
    let lines = batch.output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let mut count = 0;
    let mut output = String::new();
    for line in lines {
        let line: Value = serde_json::from_slice(line).unwrap_or_default();
        output.push_str(&json!({"custom_id": line["custom_id"], "result": {"type": "canceled"}}).to_string());
        output.push('\n');
        count += 1;
    }
    batch.output = output.into();
    batch.about["processing_status"] = "canceling".into();
    batch.about["cancel_initiated_at"] = now.clone().into();
    let mut ended = batch.about.clone();
    ended["processing_status"] = "ended".into();
    ended["ended_at"] = now.into();
    ended["request_counts"] =
        json!({"processing": 0, "succeeded": 0, "errored": 0, "canceled": count, "expired": 0});
    let id = text(&batch.about, "id");
    ended["results_url"] = format!("https://api.anthropic.com/v1/messages/batches/{id}/results").into();
    batch.steps = [ended].into();
    Reply::json(200, &batch.about)
}
