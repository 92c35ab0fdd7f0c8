//! Requests about stored answers.

use canon::{Error, ErrorKind};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use serde_json::json;
use serde_json::value::RawValue;
use wire::stored_items::{self, Turn};

use super::{Api, ResponseBody, path, respond};
use crate::snapshot::Snapshot;

/// The default and the maximum page size.
const PAGE: usize = 20;
const MOST: usize = 100;

/// A page of the items of an answer's input, or of a conversation.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// Oldest first.
    pub is_ascending: bool,
    /// How many items.
    pub limit: usize,
    /// The item before the page.
    pub after: Option<String>,
}

/// Serves the requests about one answer.
pub async fn serve(
    api: &Api,
    snapshot: &Snapshot,
    owner: &str,
    head: &Parts,
) -> Result<Response<ResponseBody>, Error> {
    let path = path::spelling(head.uri.path());
    let rest = path.strip_prefix("/v1/responses/").unwrap_or_default();
    let (id, part) = rest.split_once('/').unwrap_or((rest, ""));
    let id = path::unescape(id).unwrap_or_default();
    let query = head.uri.query().unwrap_or_default();
    let is_get = matches!(head.method, Method::GET | Method::HEAD);
    let responses = &api.pipeline.responses;
    match (&head.method, part) {
        (_, "") if is_get => {
            if parameter(query, "stream").is_some_and(|value| value == "true") {
                let message =
                    "Only background answers can be streamed again; send the request without stream.";
                return Err(Error::unsupported("stream", message));
            }
            let answer = responses.get(owner, &id).await?.ok_or_else(|| not_found(&id))?;
            Ok(respond::json(StatusCode::OK, answer.response))
        }
        (_, "input_items") if is_get => {
            let page = Page::read(query)?;
            let turns = responses.conversation(owner, &id, snapshot.limits.body).await?;
            let turns = turns.ok_or_else(|| not_found(&id))?;
            let turns: Vec<_> =
                turns.iter().map(|turn| (turn.input.as_str(), turn.response.as_str())).collect();
            Ok(respond::json(StatusCode::OK, page.of(&turns)?))
        }
        (&Method::DELETE, "") => {
            if responses.delete(owner, &id).await? {
                let answer = json!({"id": id, "object": "response", "deleted": true});
                Ok(respond::json(StatusCode::OK, answer.to_string()))
            } else {
                Err(not_found(&id))
            }
        }
        (&Method::POST, "cancel") => {
            responses.get(owner, &id).await?.ok_or_else(|| not_found(&id))?;
            let message = "Cannot cancel a synchronous response: nothing runs in the background here.";
            Err(Error::caller(ErrorKind::InvalidRequest, message))
        }
        (method, _) => {
            let message = format!(
                "There is no route {method} /v1/responses/{}; stored answers have GET and DELETE /v1/responses/ID, \
                 GET /v1/responses/ID/input_items and POST /v1/responses/ID/cancel.",
                shown(rest)
            );
            Err(Error::caller(ErrorKind::NotFound, message))
        }
    }
}

fn not_found(id: &str) -> Error {
    Error::caller(ErrorKind::NotFound, format!("Response with id '{}' not found.", shown(id)))
}

/// The part of a text that an error shows.
pub fn shown(text: &str) -> &str {
    &text[..text.floor_char_boundary(100)]
}

fn parameter(query: &str, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

impl Page {
    /// The page that a query selects.
    pub fn read(query: &str) -> Result<Self, Error> {
        let limit = match parameter(query, "limit") {
            None => PAGE,
            Some(text) => match text.parse() {
                Ok(limit) if (1..=MOST).contains(&limit) => limit,
                _ => {
                    return Err(Error::invalid("limit", format!("limit must be a number from 1 to {MOST}.")));
                }
            },
        };
        let is_ascending = match parameter(query, "order").as_deref() {
            None | Some("desc") => false,
            Some("asc") => true,
            Some(_) => return Err(Error::invalid("order", "order must be asc or desc.")),
        };
        Ok(Self { is_ascending, limit, after: parameter(query, "after") })
    }

    /// The page of the items behind a conversation's last answer.
    fn of(&self, turns: &[(&str, &str)]) -> Result<String, Error> {
        let Some(((last, _), earlier)) = turns.split_last() else { return Ok(String::new()) };
        let earlier: Vec<_> = earlier.iter().map(|(input, answer)| Turn { input, answer }).collect();
        let mut items = stored_items::items(&earlier)?;
        items.extend(stored_items::list(last)?);
        self.of_items(items)
    }

    /// The page of these items, given oldest first.
    pub fn of_items(&self, mut items: Vec<&RawValue>) -> Result<String, Error> {
        if !self.is_ascending {
            items.reverse();
        }
        let start = match &self.after {
            None => 0,
            Some(after) => {
                let is_it = |item: &&RawValue| stored_items::id_of(item).as_ref() == Some(after);
                let place = items.iter().position(is_it);
                let unknown = || Error::invalid("after", format!("There is no item '{}'.", shown(after)));
                place.ok_or_else(unknown)? + 1
            }
        };
        let rest = &items[start..];
        let page = &rest[..rest.len().min(self.limit)];
        let id = |item: Option<&&RawValue>| item.and_then(|item| stored_items::id_of(item));
        let list = json!({
            "object": "list",
            "data": page,
            "first_id": id(page.first()),
            "last_id": id(page.last()),
            "has_more": page.len() < rest.len(),
        });
        Ok(list.to_string())
    }
}
