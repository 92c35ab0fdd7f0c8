//! Files in the shapes of OpenAI, Anthropic and Google, and OpenAI's uploads in parts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::Method;
use serde_json::{Value, json};

use crate::file_routes::{Visit, attachment, invalid, missing};
use crate::form;
use crate::format::{Reply, strings, text};
use crate::stored_files::{File, Upload};
use crate::times;

const PURPOSES: [&str; 6] = ["assistants", "batch", "fine-tune", "vision", "user_data", "evals"];
const THIRTY_DAYS: u64 = 30 * 24 * 3600;

/// `…/files`: Google's under `/v1beta` and for those who send its key, Anthropic's for those who send its version header, else OpenAI's.
pub fn files(visit: &Visit<'_>) -> Reply {
    if visit.place.ends_with("/v1beta") || visit.call.headers.contains_key("x-goog-api-key") {
        return google(visit);
    }
    let is_anthropic = visit.call.headers.contains_key("anthropic-version");
    let unknown = |id: &str| if is_anthropic { not_found(id) } else { missing("File", id) };
    match visit.rest[..] {
        [] if visit.is(Method::POST) && is_anthropic => anthropic(visit),
        [] if visit.is(Method::POST) => openai(visit),
        [] if visit.is(Method::GET) => list(visit),
        [id] if visit.is(Method::GET) => match visit.shelf.lock().files.get(visit.place, id) {
            Some(file) => Reply::json(200, &file.about),
            None => unknown(id),
        },
        [id] if visit.is(Method::DELETE) => {
            if !visit.shelf.lock().files.remove(visit.place, id) {
                return unknown(id);
            }
            if is_anthropic {
                Reply::json(200, &json!({"id": id, "type": "file_deleted"}))
            } else {
                Reply::json(200, &json!({"id": id, "object": "file", "deleted": true}))
            }
        }
        [id, "content"] if visit.is(Method::GET) => {
            match visit.shelf.lock().files.get(visit.place, id) {
                // As Anthropic has it: what callers brought, they cannot get again.
                Some(_) if is_anthropic => {
                    refused(400, "invalid_request_error", "This file is not downloadable.")
                }
                Some(file) => {
                    let name = text(&file.about, "filename");
                    attachment("application/octet-stream", name, file.content.clone())
                }
                None => unknown(id),
            }
        }
        _ => crate::openai_chat::unknown_path(visit.call),
    }
}

/// How a file of OpenAI's looks.
pub fn about(id: &str, name: &str, purpose: &str, (bytes, created): (usize, u64)) -> Value {
    let expires = (purpose == "batch").then_some(created + THIRTY_DAYS);
    json!({
        "object": "file", "id": id, "purpose": purpose, "filename": name, "bytes": bytes, "created_at": created,
        "expires_at": expires, "status": "processed", "status_details": null
    })
}

fn openai(visit: &Visit<'_>) -> Reply {
    let call = visit.call;
    let purpose = text(&call.body, "purpose");
    if !PURPOSES.contains(&purpose) {
        let known = PURPOSES.map(|purpose| format!("'{purpose}'")).join(", ");
        return invalid("purpose", &format!("'{purpose}' is not one of [{known}] - 'purpose'"));
    }
    let Some(content) = form::file(&call.headers, visit.body) else {
        return invalid("file", "'file' is a required property");
    };
    let id = call.id("file-");
    let about = about(&id, text(&call.body["file"], "filename"), purpose, (content.len(), call.created));
    visit.shelf.lock().add_file(visit.place, &id, File { about: about.clone(), content });
    Reply::json(200, &about)
}

fn list(visit: &Visit<'_>) -> Reply {
    let purpose = visit.call.query_value("purpose");
    let is_wanted = |about: &&Value| purpose.is_none_or(|purpose| about["purpose"] == purpose);
    let kept = visit.shelf.lock();
    let all = kept.files.of(visit.place).map(|file| &file.about).filter(is_wanted).cloned().collect();
    Reply::json(200, &visit.page(all, 10_000))
}

fn anthropic(visit: &Visit<'_>) -> Reply {
    let call = visit.call;
    let Some(content) = form::file(&call.headers, visit.body) else {
        return refused(400, "invalid_request_error", "file: Field required");
    };
    let id = call.id("file_");
    let (name, kind) = (text(&call.body["file"], "filename"), text(&call.body["file"], "content_type"));
    let about = json!({
        "type": "file", "id": id, "size_bytes": content.len(), "created_at": times::rfc3339(call.created),
        "filename": name, "mime_type": kind, "downloadable": false
    });
    visit.shelf.lock().add_file(visit.place, &id, File { about: about.clone(), content });
    Reply::json(200, &about)
}

/// Anthropic's refusal.
pub fn refused(status: u16, kind: &str, message: &str) -> Reply {
    Reply::json(
        status,
        &json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_mock"}),
    )
}

/// Anthropic's words for an id that it does not know.
pub fn not_found(id: &str) -> Reply {
    refused(404, "not_found_error", &format!("Not found: {id}"))
}

/// `…/uploads`: a file that comes in parts.
pub fn uploads(visit: &Visit<'_>) -> Reply {
    match visit.rest[..] {
        [] if visit.is(Method::POST) => begin(visit),
        [id, "parts"] if visit.is(Method::POST) => part(visit, id),
        [id, "complete"] if visit.is(Method::POST) => complete(visit, id),
        [id, "cancel"] if visit.is(Method::POST) => match visit.shelf.lock().uploads.get(visit.place, id) {
            Some(upload) => {
                upload.about["status"] = "cancelled".into();
                Reply::json(200, &upload.about)
            }
            None => missing("Upload", id),
        },
        _ => crate::openai_chat::unknown_path(visit.call),
    }
}

fn begin(visit: &Visit<'_>) -> Reply {
    let call = visit.call;
    for name in ["filename", "mime_type", "purpose"] {
        if text(&call.body, name).is_empty() {
            return invalid(name, &format!("Missing required parameter: '{name}'."));
        }
    }
    let Some(bytes) = call.body["bytes"].as_u64().filter(|bytes| *bytes <= 8 << 30) else {
        return invalid("bytes", "Missing required parameter: 'bytes'.");
    };
    let id = call.id("upload_");
    let about = json!({
        "id": id, "object": "upload", "bytes": bytes, "created_at": call.created, "filename": call.body["filename"],
        "purpose": call.body["purpose"], "status": "pending", "expires_at": call.created + 3600, "file": null
    });
    let upload = Upload { about: about.clone(), parts: Vec::new() };
    visit.shelf.lock().uploads.add(visit.place, &id, upload);
    Reply::json(200, &about)
}

fn part(visit: &Visit<'_>, id: &str) -> Reply {
    let call = visit.call;
    let Some(content) = form::file(&call.headers, visit.body) else {
        return invalid("data", "Missing required parameter: 'data'.");
    };
    let mut kept = visit.shelf.lock();
    let Some(upload) = kept.uploads.get(visit.place, id) else { return missing("Upload", id) };
    if upload.about["status"] != "pending" {
        return invalid("upload_id", "The upload is not pending.");
    }
    let part = call.id("part_");
    upload.parts.push((part.clone(), content));
    let about = json!({"id": part, "object": "upload.part", "created_at": call.created, "upload_id": id});
    Reply::json(200, &about)
}

fn complete(visit: &Visit<'_>, id: &str) -> Reply {
    let call = visit.call;
    let mut kept = visit.shelf.lock();
    let Some(upload) = kept.uploads.get(visit.place, id) else { return missing("Upload", id) };
    if upload.about["status"] != "pending" {
        return invalid("upload_id", "The upload is not pending.");
    }
    let mut content = BytesMut::new();
    for wanted in strings(call.body.get("part_ids")) {
        let Some((_, part)) = upload.parts.iter().find(|(id, _)| *id == wanted) else {
            return invalid("part_ids", &format!("No such part: {wanted}"));
        };
        content.extend_from_slice(part);
    }
    if upload.about["bytes"] != content.len() {
        let message = format!("Expected {} bytes, got {}.", upload.about["bytes"], content.len());
        return invalid("part_ids", &message);
    }
    let (file_id, size) = (call.id("file-"), (content.len(), call.created));
    let about = about(&file_id, text(&upload.about, "filename"), text(&upload.about, "purpose"), size);
    upload.about["status"] = "completed".into();
    upload.about["file"] = about.clone();
    upload.parts.clear();
    let answer = upload.about.clone();
    kept.add_file(visit.place, &file_id, File { about, content: content.freeze() });
    Reply::json(200, &answer)
}

/// Google's way of sending a file: a request that gives an address, then the bytes to that address.
pub fn google_upload(visit: &Visit<'_>) -> Reply {
    let call = visit.call;
    let header =
        |name: &str| call.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let command = header("x-goog-upload-command");
    // Where the file is asked for later.
    let version = if call.path.contains("/v1beta/") { "v1beta" } else { "v1" };
    let place = &format!("{}/{version}", visit.place);
    if command == "start" {
        let id = call.id("upload");
        let mut about = call.body["file"].clone();
        if about.is_object() && about["mimeType"].is_null() {
            about["mimeType"] = header("x-goog-upload-header-content-type").into();
        }
        let upload = Upload { about, parts: Vec::new() };
        visit.shelf.lock().uploads.add(place, &id, upload);
        let url = format!("http://{}{}?upload_id={id}&upload_protocol=resumable", header("host"), call.path);
        return Reply::whole(200, "text/plain; charset=utf-8", Bytes::new())
            .header("x-goog-upload-status", "active")
            .header("x-goog-upload-url", url.clone())
            .header("x-goog-upload-control-url", url)
            .header("x-goog-upload-chunk-granularity", "8388608");
    }
    let id = call.query_value("upload_id").unwrap_or_default();
    let mut kept = visit.shelf.lock();
    let Some(upload) = kept.uploads.get(place, id) else { return google_missing(id) };
    let offset: usize = upload.parts.iter().map(|(_, part)| part.len()).sum();
    if header("x-goog-upload-offset") != offset.to_string() {
        return google_refusal(400, "INVALID_ARGUMENT", &format!("The next offset is {offset}."));
    }
    upload.parts.push((String::new(), Bytes::copy_from_slice(visit.body)));
    if !command.contains("finalize") {
        return Reply::whole(200, "text/plain; charset=utf-8", Bytes::new())
            .header("x-goog-upload-status", "active");
    }
    let content = Bytes::from(upload.parts.iter().flat_map(|(_, part)| part.to_vec()).collect::<Vec<u8>>());
    let name = call.id("");
    let now = times::rfc3339(call.created);
    let kind = match text(&upload.about, "mimeType") {
        "" => text(&upload.about, "mime_type"),
        kind => kind,
    };
    let about = json!({
        "name": format!("files/{name}"), "displayName": upload.about["displayName"], "mimeType": kind,
        "sizeBytes": content.len().to_string(), "createTime": now, "updateTime": now,
        "expirationTime": times::rfc3339(call.created + 48 * 3600), "sha256Hash": STANDARD.encode("mock"),
        "uri": format!("https://generativelanguage.googleapis.com/{version}/files/{name}"),
        "state": "ACTIVE", "source": "UPLOADED"
    });
    kept.uploads.remove(place, id);
    kept.add_file(place, &name, File { about: about.clone(), content });
    Reply::json(200, &json!({ "file": about })).header("x-goog-upload-status", "final")
}

fn google(visit: &Visit<'_>) -> Reply {
    let mut kept = visit.shelf.lock();
    match visit.rest[..] {
        [] if visit.is(Method::GET) => {
            let all: Vec<Value> = kept.files.of(visit.place).map(|file| file.about.clone()).collect();
            Reply::json(200, &json!({ "files": all }))
        }
        [id] if visit.is(Method::GET) => match kept.files.get(visit.place, id) {
            Some(file) => Reply::json(200, &file.about),
            None => google_missing(id),
        },
        [id] if visit.is(Method::DELETE) => {
            if kept.files.remove(visit.place, id) {
                Reply::json(200, &json!({}))
            } else {
                google_missing(id)
            }
        }
        _ => google_missing(&visit.call.path),
    }
}

fn google_missing(id: &str) -> Reply {
    let message = format!("You do not have permission to access the File {id} or it may not exist.");
    google_refusal(403, "PERMISSION_DENIED", &message)
}

fn google_refusal(status: u16, name: &str, message: &str) -> Reply {
    Reply::json(status, &json!({"error": {"code": status, "message": message, "status": name}}))
}
