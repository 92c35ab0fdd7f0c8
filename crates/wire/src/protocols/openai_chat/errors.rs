//! Errors: reading providers' errors, and writing the gateway's in OpenAI's format.

use canon::{Error, ErrorKind, Field, Origin};
use http::{HeaderMap, StatusCode};

use crate::json::{Value, push_key, push_string};
use crate::protocols::errors::{excerpt, upstream_error};

/// Reads an answer with an error status.
pub(super) fn decode(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
    let Some(json) = std::str::from_utf8(body).ok().and_then(Value::parse_whole) else {
        return upstream_error(status, headers, None, None, excerpt(body));
    };
    let error = json.get("error").filter(|error| !error.is_null()).unwrap_or(&json);
    let code = ["code", "error_code", "reason"]
        .iter()
        .find_map(|name| word(&error[*name]))
        .or_else(|| word(&json["code"]));
    let type_name = word(&error["type"]);
    let mut found = upstream_error(status, headers, code, type_name, message(error, &json, body));
    found.param = error["param"].as_str().map(|param| Field::from(param.to_owned()));
    found
}

fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Raw(number) if number.starts_with(|first: char| first == '-' || first.is_ascii_digit()) => {
            Some(number.to_string())
        }
        _ => None,
    }
}

/// The provider's own message, in any of its places: `error.message`, `error` as text, `message`, `detail`
/// (FastAPI: text or a list of faults), and the inner provider's message in a proxy's error.
fn message(error: &Value, json: &Value, body: &[u8]) -> String {
    let candidates = [
        error,
        &error["message"],
        &json["message"],
        &json["Message"],
        &json["detail"],
        &error["detail"],
        &json["errors"][0]["message"],
        &json["error_description"],
        &json["title"],
    ];
    let found = candidates.into_iter().find_map(words);
    let mut text = found.unwrap_or_else(|| excerpt(body));
    for more in [&error["failed_generation"], &error["metadata"]["raw"]] {
        if let Some(more) = more.as_str().filter(|more| !more.is_empty() && !text.contains(*more)) {
            text.push_str(": ");
            text.push_str(more);
        }
    }
    text
}

/// A text, a list of faults, or either of them as the `message` or `detail` of an object.
fn words(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Array(faults) if !faults.is_empty() => Some(faults_text(faults)),
        Value::Object(fields) => ["message", "detail"].iter().find_map(|name| words(fields.get(name)?)),
        _ => None,
    }
}

fn faults_text(faults: &[Value]) -> String {
    let one = |fault: &Value| {
        let place: Vec<String> = fault["loc"].items().filter_map(|word_of| word(&word_of)).collect();
        let words = fault["msg"]
            .as_str()
            .or(fault["message"].as_str())
            .map_or_else(|| fault.to_string(), str::to_owned);
        if place.is_empty() { words } else { format!("{}: {words}", place.join(".")) }
    };
    faults.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// The event that ends a failed stream: no `[DONE]` follows.
pub(crate) fn write_stream_error(error: &Error, member: Option<&[u8]>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: {");
    if let Some(member) = member.and_then(|member| member.strip_prefix(b",")) {
        // The error comes last, so that readers of a stream's end find it.
        out.extend_from_slice(member);
        out.push(b',');
    }
    write_object(error, out);
    out.extend_from_slice(b"}\n\n");
}

/// The error's own JSON, with the gateway's object as a further member.
pub(crate) fn write_error(error: &Error, member: Option<&[u8]>, out: &mut Vec<u8>) {
    out.push(b'{');
    write_object(error, out);
    out.extend_from_slice(member.unwrap_or_default());
    out.push(b'}');
}

/// The member `error`.
fn write_object(error: &Error, out: &mut Vec<u8>) {
    let (type_name, code) = names(error);
    // The provider's own code for its refusal would suggest a fault in the caller's key.
    let own = (!error.refuses_gateway()).then_some(error);
    out.extend_from_slice(b"\"error\":{\"message\":");
    push_string(out, &error.message);
    push_key(out, "type");
    push_string(out, own.and_then(|error| error.type_name.as_deref()).unwrap_or(type_name));
    push_key(out, "param");
    match error.param_name().filter(|param| !param.is_empty()) {
        Some(param) => push_string(out, &param),
        None => out.extend_from_slice(b"null"),
    }
    push_key(out, "code");
    // With this code clients shorten the conversation instead of repeating the request, whatever the
    // provider's own code.
    let theirs = own.filter(|error| error.kind != ErrorKind::ContextLength);
    match theirs.and_then(|error| error.code.as_deref()).or(code) {
        Some(code) => push_string(out, code),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
}

/// OpenAI's `type` and `code` of an error.
fn names(error: &Error) -> (&'static str, Option<&'static str>) {
    let kind = if error.refuses_gateway() { ErrorKind::UpstreamCredential } else { error.kind };
    match kind {
        ErrorKind::InvalidRequest if error.origin == Origin::Upstream => ("invalid_request_error", None),
        ErrorKind::InvalidRequest => ("invalid_request_error", Some("invalid_parameters")),
        ErrorKind::UnsupportedFeature => ("invalid_request_error", Some("unsupported_feature")),
        ErrorKind::ContextLength => ("invalid_request_error", Some("context_length_exceeded")),
        ErrorKind::ContentFilter => ("invalid_request_error", Some("content_filter")),
        ErrorKind::ContentPolicy => ("invalid_request_error", Some("content_policy_violation")),
        ErrorKind::Authentication => ("authentication_error", Some("invalid_api_key")),
        ErrorKind::Permission => ("permission_error", None),
        ErrorKind::ModelNotFound => ("invalid_request_error", Some("model_not_found")),
        ErrorKind::NotFound => ("invalid_request_error", Some("not_found")),
        ErrorKind::RequestTimeout => ("invalid_request_error", Some("request_timeout")),
        ErrorKind::UnsupportedMedia => ("invalid_request_error", Some("unsupported_media_type")),
        ErrorKind::MethodNotAllowed => ("invalid_request_error", Some("method_not_allowed")),
        ErrorKind::TooLarge => ("invalid_request_error", Some("request_too_large")),
        ErrorKind::RateLimit => ("rate_limit_error", Some("rate_limit_exceeded")),
        ErrorKind::Quota => ("insufficient_quota", Some("insufficient_quota")),
        ErrorKind::UpstreamCredential => ("upstream_error", Some("upstream_credential")),
        ErrorKind::Upstream => ("upstream_error", Some("upstream_error")),
        ErrorKind::Overloaded => ("upstream_error", Some("overloaded")),
        ErrorKind::Timeout => ("upstream_error", Some("timeout")),
        ErrorKind::StoreUnavailable => ("server_error", Some("store_unavailable")),
        ErrorKind::Unavailable => ("server_error", Some("unavailable")),
        ErrorKind::LoopDetected => ("server_error", Some("loop_detected")),
        ErrorKind::Internal => ("server_error", Some("internal_error")),
        ErrorKind::Cancelled => ("server_error", Some("cancelled")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_providers_message_is_found_in_every_place() {
        let cases = [
            (r#"{"error":{"message":"no"}}"#, "no"),
            (r#"{"error":"no"}"#, "no"),
            (r#"{"object":"error","message":"no"}"#, "no"),
            // Recorded: Mistral, a wrong key.
            (r#"{"detail":"Invalid API Key"}"#, "Invalid API Key"),
            (r#"{"detail":{"message":"no"}}"#, "no"),
            (
                r#"{"object":"error","message":{"detail":[{"loc":["body","n"],"msg":"too many"}]}}"#,
                "body.n: too many",
            ),
            (r#"{"detail":[{"loc":["body",0],"msg":"wrong"},{"msg":"missing"}]}"#, "body.0: wrong; missing"),
            (r#"{"error":{"message":"no","failed_generation":"maybe"}}"#, "no: maybe"),
            ("<p>Bad gateway</p>", "Bad gateway"),
        ];
        for (body, words) in cases {
            let error = decode(StatusCode::BAD_REQUEST, &HeaderMap::new(), body.as_bytes());
            assert_eq!(error.message, words, "{body}");
        }
    }
}
