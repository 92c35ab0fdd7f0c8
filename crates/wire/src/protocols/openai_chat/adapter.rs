//! Towards OpenAI-like providers.

use canon::{Error, Field, Request, Result, Target};
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::passthrough::forward::forward;
use super::{OpenaiChat, answer, intake, paths, request};
use crate::protocols::errors;
use crate::{Adapter, Decoder, Encoded, Undo};

impl Adapter for OpenaiChat {
    /// Writes the request as OpenAI itself would take it, and then forwards that like a caller's own.
    fn encode_request(&self, request: &Request, target: Target<'_>) -> Result<Encoded> {
        let (body, losses) = request::write::body(request, target.quirks)?;
        let forwarded = intake(&body.into()).and_then(|intake| forward(&intake, target));
        let mut encoded = forwarded.map_err(|error| of_request(error, request))?;
        encoded.losses = encoded.losses.with_fields(|field| paths::field_of(&field.name(), request));
        encoded.losses.extend(losses);
        Ok(encoded)
    }

    fn decoder(&self, streaming: bool, undo: &Undo) -> Box<dyn Decoder> {
        answer::read::decoder(streaming, undo)
    }

    fn decode_error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        let Ok(json) = serde_json::from_slice::<Value>(body) else {
            return errors::upstream_error(status, headers, None, None, errors::excerpt(body));
        };
        let error = json.get("error").filter(|error| !error.is_null()).unwrap_or(&json);
        let code = ["code", "error_code", "reason"]
            .iter()
            .find_map(|name| word(&error[*name]))
            .or_else(|| word(&json["code"]));
        let type_name = word(&error["type"]);
        let mut found = errors::upstream_error(status, headers, code, type_name, message(error, &json, body));
        found.param = error["param"].as_str().map(|param| Field::from(param.to_owned()));
        found
    }
}

/// An error about the body that was written, as one about the request: neither its field nor its sentence names what the
/// caller did not write.
fn of_request(mut error: Error, request: &Request) -> Error {
    let Some(path) = error.param_name().filter(|path| !path.is_empty()) else { return error };
    let named = |rest: &str| error.message.strip_prefix(&*path).and_then(|behind| behind.strip_prefix(rest));
    if let Some(behind) = named(" ").or_else(|| named(": ")) {
        error.message = format!("This field {behind}").into();
    }
    error.param = Some(paths::field_of(&path, request));
    error
}

fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The provider's own words, wherever it puts them: `error.message`, `error` as text, `message`, `detail` (FastAPI: text
/// or a list of faults), and the inner provider's words that a proxy wraps.
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
    let mut text = found.unwrap_or_else(|| errors::excerpt(body));
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
        Value::Object(fields) => ["message", "detail"].iter().find_map(|name| words(fields.get(*name)?)),
        _ => None,
    }
}

fn faults_text(faults: &[Value]) -> String {
    let one = |fault: &Value| {
        let place: Vec<String> = fault["loc"].as_array().into_iter().flatten().filter_map(word).collect();
        let words = fault["msg"]
            .as_str()
            .or(fault["message"].as_str())
            .map_or_else(|| fault.to_string(), str::to_owned);
        if place.is_empty() { words } else { format!("{}: {words}", place.join(".")) }
    };
    faults.iter().map(one).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_providers_words_are_found_wherever_they_stand() {
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
            let error = OpenaiChat.decode_error(StatusCode::BAD_REQUEST, &HeaderMap::new(), body.as_bytes());
            assert_eq!(error.message, words, "{body}");
        }
    }
}
