//! Stored conversations with ids of their own, as in OpenAI's API.

use bytes::Bytes;
use canon::{Error, ErrorKind};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use store::{Conversation, StoredItem};

use super::stored_answers::{Page, shown};
use super::{Api, ResponseBody, path, respond};
use crate::responses::KeepFor;

/// The limits of metadata: number of entries, length of names and values. They are OpenAI's.
const MOST_ENTRIES: usize = 16;
const LONGEST_NAME: usize = 64;
const LONGEST_VALUE: usize = 512;

/// The caller's body.
#[derive(Default, Deserialize)]
struct Sent<'a> {
    #[serde(borrow, default)]
    items: Option<&'a RawValue>,
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
}

/// Serves the requests about conversations.
pub async fn serve(
    api: &Api,
    whose: KeepFor<'_>,
    head: &Parts,
    body: &Bytes,
) -> Result<Response<ResponseBody>, Error> {
    let asked = ConversationRequest { api, whose, query: head.uri.query().unwrap_or_default(), body };
    let path = path::spelling(head.uri.path());
    let rest = path.strip_prefix("/v1/conversations").unwrap_or_default().trim_start_matches('/');
    let mut parts = rest.splitn(3, '/').map(|part| path::unescape(part).unwrap_or_default());
    let (id, what, item) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let is_get = matches!(head.method, Method::GET | Method::HEAD);
    let is = |method: Method| head.method == method;
    let answer = match (what.as_deref(), item.as_deref().filter(|item| !item.is_empty())) {
        (None, _) if id.is_empty() => asked.create().await,
        (None, _) if is_get => asked.conversation(&id).await.map(|found| object(&found)),
        (None, _) if is(Method::POST) => asked.describe(&id).await,
        (None, _) if is(Method::DELETE) => asked.delete(&id).await,
        (Some("items"), None) if is_get => asked.list(&id).await,
        (Some("items"), None) if is(Method::POST) => asked.add(&id).await,
        (Some("items"), Some(item)) if is_get => asked.item(&id, item).await,
        (Some("items"), Some(item)) if is(Method::DELETE) => asked.delete_item(&id, item).await,
        _ => Err(no_route(&head.method, rest)),
    };
    Ok(respond::json(StatusCode::OK, answer?))
}

struct ConversationRequest<'a> {
    api: &'a Api,
    whose: KeepFor<'a>,
    query: &'a str,
    body: &'a Bytes,
}

impl ConversationRequest<'_> {
    async fn create(&self) -> Result<String, Error> {
        if !self.whose.settings.store || !self.whose.may_store {
            return Err(not_stored());
        }
        let sent = self.sent()?;
        let unique = uuid::Uuid::now_v7().simple().to_string();
        let items = items(sent.items, &unique)?;
        let metadata = metadata(sent.metadata)?;
        let id = format!("conv_{unique}");
        let made = self.api.pipeline.responses.create_conversation(self.whose, id, metadata, &items).await?;
        Ok(object(&made))
    }

    async fn describe(&self, id: &str) -> Result<String, Error> {
        let sent = self.sent()?;
        if sent.metadata.is_none() {
            return Err(Error::invalid("metadata", "metadata is missing; it is an object of strings."));
        }
        let metadata = metadata(sent.metadata)?;
        let is_there = self.api.pipeline.responses.describe_conversation(self.whose, id, &metadata).await?;
        if !is_there {
            return Err(not_found(id));
        }
        Ok(object(&self.conversation(id).await?))
    }

    async fn delete(&self, id: &str) -> Result<String, Error> {
        if self.api.pipeline.responses.delete_conversation(self.whose, id).await? {
            Ok(json!({"id": id, "object": "conversation.deleted", "deleted": true}).to_string())
        } else {
            Err(not_found(id))
        }
    }

    async fn list(&self, id: &str) -> Result<String, Error> {
        let page = Page::read(self.query)?;
        page.of_items(raw(&self.items_of(id).await?)?)
    }

    async fn add(&self, id: &str) -> Result<String, Error> {
        let sent = self.sent()?;
        if sent.items.is_none() {
            return Err(Error::invalid("items", "items is missing; it is a list of items to add."));
        }
        let items = items(sent.items, &uuid::Uuid::now_v7().simple().to_string())?;
        if !self.api.pipeline.responses.add_to_conversation(self.whose, id, &items).await? {
            return Err(not_found(id));
        }
        let all = Page { is_ascending: true, limit: items.len(), after: None };
        all.of_items(raw(&items)?)
    }

    async fn item(&self, id: &str, item_id: &str) -> Result<String, Error> {
        let items = self.items_of(id).await?;
        let found = items.into_iter().find(|item| item.id == item_id);
        found.map(|item| item.item).ok_or_else(|| no_item(item_id))
    }

    async fn delete_item(&self, id: &str, item_id: &str) -> Result<String, Error> {
        let conversation = self.conversation(id).await?;
        if self.api.pipeline.responses.delete_conversation_item(id, item_id).await? {
            Ok(object(&conversation))
        } else {
            Err(no_item(item_id))
        }
    }

    async fn conversation(&self, id: &str) -> Result<Conversation, Error> {
        let found = self.api.pipeline.responses.find_conversation(self.whose.owner, id).await?;
        found.ok_or_else(|| not_found(id))
    }

    async fn items_of(&self, id: &str) -> Result<Vec<StoredItem>, Error> {
        self.conversation(id).await?;
        self.api.pipeline.responses.conversation_items(id, self.whose.body_limit).await
    }

    /// The body; an empty one is an empty object.
    fn sent(&self) -> Result<Sent<'_>, Error> {
        if self.body.trim_ascii().is_empty() {
            return Ok(Sent::default());
        }
        serde_json::from_slice(self.body).map_err(|error| {
            let message = format!("The body must be an object with items or metadata: {error}.");
            Error::invalid("", message)
        })
    }
}

fn items(given: Option<&RawValue>, unique: &str) -> Result<Vec<StoredItem>, Error> {
    let Some(given) = given.filter(|given| given.get() != "null") else { return Ok(Vec::new()) };
    let items = wire::stored_items::identified_items(given, unique)?;
    Ok(items.into_iter().map(|(id, item)| StoredItem { id, item }).collect())
}

fn metadata(given: Option<Map<String, Value>>) -> Result<String, Error> {
    let given = given.unwrap_or_default();
    let fits = |(name, value): (&String, &Value)| {
        name.chars().count() <= LONGEST_NAME
            && value.as_str().is_some_and(|value| value.chars().count() <= LONGEST_VALUE)
    };
    if given.len() <= MOST_ENTRIES && given.iter().all(fits) {
        Ok(Value::Object(given).to_string())
    } else {
        let message = format!(
            "metadata must be an object of at most {MOST_ENTRIES} strings, with names of up to {LONGEST_NAME} \
                 characters and values of up to {LONGEST_VALUE}."
        );
        Err(Error::invalid("metadata", message))
    }
}

fn raw(items: &[StoredItem]) -> Result<Vec<&RawValue>, Error> {
    let unreadable =
        |error| Error::gateway(ErrorKind::Internal, format!("A stored item cannot be read: {error}."));
    items.iter().map(|item| serde_json::from_str(&item.item).map_err(unreadable)).collect()
}

fn object(conversation: &Conversation) -> String {
    let metadata: Value = serde_json::from_str(&conversation.metadata).unwrap_or_default();
    let created_at = conversation.created_at_ms / 1000;
    json!({"id": conversation.id, "object": "conversation", "created_at": created_at, "metadata": metadata})
        .to_string()
}

fn not_stored() -> Error {
    let message = "Nothing is stored for this key ([responses] store, retention); send the whole conversation as input.";
    Error::unsupported("conversation", message)
}

fn not_found(id: &str) -> Error {
    Error::caller(ErrorKind::NotFound, format!("Conversation with id '{}' not found.", shown(id)))
}

fn no_item(id: &str) -> Error {
    let message = format!("Item with id '{}' not found in this conversation.", shown(id));
    Error::caller(ErrorKind::NotFound, message)
}

fn no_route(method: &Method, rest: &str) -> Error {
    let message = format!(
        "There is no route {method} /v1/conversations/{}; conversations have GET, POST and DELETE /v1/conversations/ID, \
         GET and POST …/ID/items, GET and DELETE …/ID/items/ITEM.",
        shown(rest)
    );
    Error::caller(ErrorKind::NotFound, message)
}
