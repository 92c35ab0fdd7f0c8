//! Files, uploads and batches: which path asks for which, and what their pages need.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::format::{Call, Reply};
use crate::stored_files::Shelf;
use crate::{batches, files};

/// Answers a question about what is kept.
pub type Page = fn(&Visit<'_>) -> Reply;

/// One request to such a page.
pub struct Visit<'a> {
    pub method: &'a Method,
    pub call: &'a Call,
    /// The bytes of the request.
    pub body: &'a [u8],
    pub shelf: &'a Shelf,
    /// The part of the path before the resource.
    pub place: &'a str,
    /// The part of the path behind it.
    pub rest: Vec<&'a str>,
    /// Asks the mock itself: a path and a body.
    pub ask: &'a dyn Fn(&str, Value) -> Reply,
}

/// The resources, as they end what belongs to the place.
const RESOURCES: [(&str, Page); 6] = [
    ("/messages/batches", batches::of_messages),
    ("/upload/v1beta/files", files::google_upload),
    ("/upload/v1/files", files::google_upload),
    ("/files", files::files),
    ("/uploads", files::uploads),
    ("/batches", batches::batches),
];

/// The page of a path, and the parts before and behind its resource.
pub fn find(path: &str) -> Option<(Page, &str, Vec<&str>)> {
    RESOURCES.iter().find_map(|(resource, page)| {
        let (place, rest) = path.split_once(resource)?;
        let is_whole = rest.is_empty() || rest.starts_with('/');
        is_whole.then(|| (*page, place, rest.split('/').filter(|part| !part.is_empty()).collect()))
    })
}

impl Visit<'_> {
    pub fn is(&self, method: Method) -> bool {
        *self.method == method
    }

    /// A number of the query.
    pub fn number(&self, name: &str) -> Option<usize> {
        self.call.query_value(name)?.parse().ok()
    }

    /// A page of a list, newest first, in the shape that OpenAI and Anthropic share.
    pub fn page(&self, all: Vec<Value>, most: usize) -> Value {
        let after = self.call.query_value("after").or(self.call.query_value("after_id"));
        let start =
            after.and_then(|after| all.iter().position(|entry| entry["id"] == after)).map_or(0, |at| at + 1);
        let limit = self.number("limit").unwrap_or(most).clamp(1, most);
        let has_more = all.len() > start + limit;
        let data: Vec<Value> = all.into_iter().skip(start).take(limit).collect();
        let id = |entry: Option<&Value>| entry.map_or(Value::Null, |entry| entry["id"].clone());
        let (first, last) = (id(data.first()), id(data.last()));
        json!({"object": "list", "data": data, "has_more": has_more, "first_id": first, "last_id": last})
    }
}

/// OpenAI's refusal of a request about what is kept.
pub fn invalid(param: &str, message: &str) -> Reply {
    let error = json!({"message": message, "type": "invalid_request_error", "param": param, "code": null});
    Reply::json(400, &json!({ "error": error }))
}

/// OpenAI's words for an id that it does not know.
pub fn missing(kind: &str, id: &str) -> Reply {
    let message = format!("No such {kind} object: {id}");
    let error = json!({"message": message, "type": "invalid_request_error", "param": "id", "code": null});
    Reply::json(404, &json!({ "error": error }))
}

/// Bytes to be saved under a name.
pub fn attachment(content_type: &str, name: &str, content: Bytes) -> Reply {
    let name: String =
        name.chars().filter(|letter| letter.is_ascii_graphic() && !"\"\\".contains(*letter)).collect();
    Reply::whole(200, content_type, content)
        .header("content-disposition", format!("attachment; filename=\"{name}\""))
}
