//! Stored answers, so that a later request can continue one by its id.
//!
//! An answer is written to the database before its caller has the last byte, and not through the spool: the
//! next request may come immediately and to another node, and must find it. It is one insert of one row,
//! within [`SAVE_LIMIT`], only for requests that ask for it; an incomplete answer is not written. Where the
//! database fails the caller gets the answer nevertheless, with `store: false`.
//!
//! The provider stores nothing: it gets the whole conversation with each request. An id that is not stored
//! here may be stored by a provider of the same format: a request with that provider and such an id is
//! forwarded unchanged.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use canon::{Error, ErrorKind};
use store::{Addition, Chain, Conversation, Store, StoreError, StoredItem, StoredResponse};
use wire::stored_items::{self, Turn};
use wire::{Intake, StoredAnswer, StoredAnswerUse};

use crate::buffers::Held;
use crate::clock::now_ms;
use crate::config::KeepSettings;
use crate::expiry;
use crate::telemetry::Metrics;

/// How long an answer waits to be stored.
const SAVE_LIMIT: Duration = Duration::from_secs(5);
/// Most items that one request may refer to.
const MOST_REFERENCES: usize = 1000;
/// How many answers one statement deletes: each occupies the database for a few milliseconds.
const BATCH: u32 = 200;

/// The stored answers.
pub struct Responses {
    store: Store,
    metrics: Metrics,
}

/// The owner of an answer, and the settings.
#[derive(Clone, Copy)]
pub struct KeepFor<'a> {
    pub owner: &'a Arc<str>,
    /// Whether the caller's answers may be stored.
    pub may_store: bool,
    /// How answers are kept.
    pub settings: KeepSettings,
    /// Most bytes of a request including its conversation.
    pub body_limit: usize,
}

/// How the answer to a request is stored.
pub struct Keep {
    owner: Arc<str>,
    /// The model as the caller addressed it.
    model: String,
    previous: Option<String>,
    /// The conversation that it belongs to.
    conversation: Option<String>,
    /// The input, unchanged.
    input: Bytes,
    settings: KeepSettings,
}

/// A request that is ready to be served.
pub struct Prepared {
    /// The request including stored data.
    pub intake: Intake,
    /// How its answer is stored; none where it is not.
    pub keep: Option<Arc<Keep>>,
    /// It continues something that is not stored here. This is the error where no provider can have it
    /// either.
    pub elsewhere: Option<Error>,
}

enum Completed {
    Here(Intake),
    Elsewhere(Error),
}

impl Responses {
    /// Those in this database.
    pub fn new(store: Store, metrics: Metrics) -> Self {
        Self { store, metrics }
    }

    /// Adds stored data to a request, and decides how its answer is stored.
    pub async fn prepare(
        &self,
        whose: KeepFor<'_>,
        mut intake: Intake,
        held: &mut Held,
    ) -> Result<Prepared, Error> {
        let Some(keeping) = intake.keeping.take() else { return Ok(Prepared::as_it_is(intake)) };
        let settings = whose.settings;
        let may_keep = settings.store && keeping.store && whose.may_store;
        let has_room = may_keep && self.has_room(&intake, settings);
        let keep = has_room.then(|| {
            Arc::new(Keep {
                owner: whose.owner.clone(),
                model: intake.model.clone(),
                previous: keeping.previous.clone(),
                conversation: keeping.conversation.clone(),
                input: stored_items::own_input(&intake),
                settings,
            })
        });
        let is_unkept = keep.is_none();
        let mut intake = if keeping.needs_stored_answer() {
            match self.complete(whose, &intake, &keeping, held).await? {
                Completed::Here(intake) => intake,
                Completed::Elsewhere(error) => {
                    return Ok(Prepared { elsewhere: Some(error), ..Prepared::as_it_is(intake) });
                }
            }
        } else {
            intake
        };
        if keeping.conversation.is_some() && is_unkept {
            return Err(must_be_kept());
        }
        intake.form.kept = keep.is_some();
        Ok(Prepared { intake, keep, elsewhere: None })
    }

    fn has_room(&self, intake: &Intake, settings: KeepSettings) -> bool {
        let has_room = intake.body().len() <= settings.size_limit;
        if !has_room {
            self.metrics.stored_response("too_large");
        }
        has_room
    }

    /// The request including its conversation.
    async fn complete(
        &self,
        whose: KeepFor<'_>,
        intake: &Intake,
        keeping: &StoredAnswerUse,
        held: &mut Held,
    ) -> Result<Completed, Error> {
        let KeepFor { owner, body_limit: limit, .. } = whose;
        let room = limit.saturating_sub(intake.body().len());
        let earlier = match &keeping.previous {
            Some(id) => match self.conversation(owner, id, room).await? {
                Some(earlier) => earlier,
                // Another caller's, or a part of it was deleted.
                None if self.is_known(id).await? => return Err(no_previous(id)),
                None => return Ok(Completed::Elsewhere(no_previous(id))),
            },
            None => Vec::new(),
        };
        let items = match &keeping.conversation {
            Some(id) => match self.find_conversation(owner, id).await? {
                Some(_) => self.conversation_items(id, room).await?,
                // Another caller's, or expired.
                None if self.is_known_conversation(id).await? => {
                    return Err(stored_items::no_conversation(id));
                }
                None => return Ok(Completed::Elsewhere(stored_items::no_conversation(id))),
            },
            None => Vec::new(),
        };
        let found = self.referred(owner, &keeping.references, room).await?;
        let turns: Vec<Turn<'_>> = earlier.iter().map(turn).collect();
        let mut before = stored_items::items(&turns)?;
        for item in &items {
            before.extend(stored_items::item(&item.item));
        }
        let find = |id: &str| {
            let here = || items.iter().find(|item| item.id == id).map(|item| item.item.clone());
            found.get(id).cloned().or_else(here)
        };
        let body = match stored_items::expanded(intake, &before, find) {
            Ok(body) => body,
            Err(error) if keeping.previous.is_none() && keeping.conversation.is_none() => {
                return Ok(Completed::Elsewhere(error));
            }
            Err(error) => return Err(error),
        };
        if body.len() > limit {
            return Err(too_large());
        }
        held.grow(body.len()).await?;
        stored_items::reread(intake, &body).map(Completed::Here)
    }

    async fn is_known(&self, id: &str) -> Result<bool, Error> {
        if is_plain(id) { self.store.has_response(id).await.map_err(|error| away(&error)) } else { Ok(false) }
    }

    /// The conversation up to this answer, the first turn first. None where there is none, or a part of it
    /// was deleted.
    pub async fn conversation(
        &self,
        owner: &str,
        id: &str,
        most_bytes: usize,
    ) -> Result<Option<Vec<StoredResponse>>, Error> {
        if !is_plain(id) {
            return Ok(None);
        }
        let chain = self.store.response_chain(owner, id, now_ms(), most_bytes as u64).await;
        match chain.map_err(|error| away(&error))? {
            Chain::Whole(turns) => Ok(Some(turns)),
            Chain::Missing(_) => Ok(None),
            Chain::TooLarge { .. } => Err(too_large()),
        }
    }

    /// The stored items of these ids.
    async fn referred(
        &self,
        owner: &str,
        references: &[String],
        mut room: usize,
    ) -> Result<HashMap<String, String>, Error> {
        if references.len() > MOST_REFERENCES {
            let message =
                format!("input refers to {} items; {MOST_REFERENCES} are allowed.", references.len());
            return Err(Error::invalid("input", message));
        }
        let mut found = HashMap::new();
        let mut seen = BTreeSet::new();
        for reference in references {
            if found.contains_key(reference) {
                continue;
            }
            let mut answers = stored_items::answers_of(reference);
            if is_plain(reference) {
                let of_provider = self.store.answer_of_item(owner, reference).await;
                answers.extend(of_provider.map_err(|error| away(&error))?);
            }
            for id in answers {
                if !seen.insert(id.clone()) {
                    continue;
                }
                let Some(answer) = self.get(owner, &id).await? else { continue };
                for item in stored_items::items(&[turn(&answer)])? {
                    let Some(id) = stored_items::id_of(item).filter(|id| references.contains(id)) else {
                        continue;
                    };
                    room = room.checked_sub(item.get().len()).ok_or_else(too_large)?;
                    found.insert(id, item.get().to_owned());
                }
            }
        }
        Ok(found)
    }

    /// The answer of this id, if it is this caller's.
    pub async fn get(&self, owner: &str, id: &str) -> Result<Option<StoredResponse>, Error> {
        if !is_plain(id) {
            return Ok(None);
        }
        self.store.response(owner, id, now_ms()).await.map_err(|error| away(&error))
    }

    /// Deletes an answer; false when this caller has none of this id.
    pub async fn delete(&self, owner: &str, id: &str) -> Result<bool, Error> {
        if !is_plain(id) {
            return Ok(false);
        }
        self.store.delete_response(owner, id, now_ms()).await.map_err(|error| away(&error))
    }

    /// Stores a finished answer. False when it is not stored.
    pub async fn save(&self, keep: &Keep, kept: &StoredAnswer) -> bool {
        let outcome = match keep.row(kept) {
            None => "failed",
            Some(row) if row.bytes() > keep.settings.size_limit => "too_large",
            Some(row) => {
                let items = stored_items::foreign_items(&row.id, &row.response);
                let added = keep.added(&row);
                let addition = keep.conversation.as_deref().map(|conversation| Addition {
                    conversation,
                    key_id: &row.key_id,
                    now_ms: row.created_at_ms,
                    expires_at_ms: row.expires_at_ms,
                    items: &added,
                });
                let put = self.store.put_response(&row, &items, addition.as_ref());
                match tokio::time::timeout(SAVE_LIMIT, put).await {
                    Ok(Ok(true)) => "stored",
                    // The conversation was deleted meanwhile.
                    Ok(Ok(false)) => "failed",
                    Ok(Err(error)) => failed(&error),
                    Err(_) => failed(&StoreError::Away),
                }
            }
        };
        self.metrics.stored_response(outcome);
        outcome == "stored"
    }

    /// The conversation of this id, if it is this caller's.
    pub async fn find_conversation(&self, owner: &str, id: &str) -> Result<Option<Conversation>, Error> {
        if !is_plain(id) {
            return Ok(None);
        }
        self.store.conversation(owner, id, now_ms()).await.map_err(|error| away(&error))
    }

    async fn is_known_conversation(&self, id: &str) -> Result<bool, Error> {
        if is_plain(id) {
            self.store.has_conversation(id).await.map_err(|error| away(&error))
        } else {
            Ok(false)
        }
    }

    /// The items of a conversation that is known to be the caller's.
    pub async fn conversation_items(&self, id: &str, most_bytes: usize) -> Result<Vec<StoredItem>, Error> {
        let bytes = self.store.conversation_bytes(id).await.map_err(|error| away(&error))?;
        if bytes > most_bytes as u64 {
            return Err(too_large());
        }
        self.store.conversation_items(id).await.map_err(|error| away(&error))
    }

    /// Makes a conversation of these items.
    pub async fn create_conversation(
        &self,
        whose: KeepFor<'_>,
        id: String,
        metadata: String,
        items: &[StoredItem],
    ) -> Result<Conversation, Error> {
        let now = now_ms();
        let conversation = Conversation {
            id,
            key_id: whose.owner.to_string(),
            created_at_ms: now,
            expires_at_ms: whose.settings.expires_at_ms(now),
            metadata,
        };
        let created = self.store.create_conversation(&conversation, items).await;
        created.map(|()| conversation).map_err(|error| away(&error))
    }

    /// Adds items to a conversation. False when this caller has none of this id.
    pub async fn add_to_conversation(
        &self,
        whose: KeepFor<'_>,
        id: &str,
        items: &[StoredItem],
    ) -> Result<bool, Error> {
        let now_ms = now_ms();
        let expires_at_ms = whose.settings.expires_at_ms(now_ms);
        let addition = Addition { conversation: id, key_id: whose.owner, now_ms, expires_at_ms, items };
        if is_plain(id) {
            self.store.add_to_conversation(&addition).await.map_err(|error| away(&error))
        } else {
            Ok(false)
        }
    }

    /// Sets a conversation's metadata. False when this caller has none of this id.
    pub async fn describe_conversation(
        &self,
        whose: KeepFor<'_>,
        id: &str,
        metadata: &str,
    ) -> Result<bool, Error> {
        let described = self.store.describe_conversation(whose.owner, id, now_ms(), metadata).await;
        described.map_err(|error| away(&error))
    }

    /// Deletes a conversation. False when this caller has none of this id.
    pub async fn delete_conversation(&self, whose: KeepFor<'_>, id: &str) -> Result<bool, Error> {
        self.store.delete_conversation(whose.owner, id, now_ms()).await.map_err(|error| away(&error))
    }

    /// Deletes an item of a conversation that is known to be the caller's. False when it has none of this id.
    pub async fn delete_conversation_item(&self, id: &str, item_id: &str) -> Result<bool, Error> {
        self.store.delete_conversation_item(id, item_id).await.map_err(|error| away(&error))
    }

    /// Deletes expired rows, a batch of each kind; returns how many.
    async fn delete_expired(&self) -> Result<u64, StoreError> {
        let now = now_ms();
        let answers = self.store.delete_expired_responses(now, BATCH).await?;
        Ok(answers + self.store.delete_expired_conversations(now, BATCH).await?)
    }

    /// Deletes expired answers, as long as this is polled.
    pub async fn expire(&self) -> Infallible {
        expiry::run("stored answers", || self.delete_expired()).await
    }
}

impl Prepared {
    /// A request that uses no stored answers.
    pub fn as_it_is(intake: Intake) -> Self {
        Self { intake, keep: None, elsewhere: None }
    }
}

impl Keep {
    /// The items that the answer adds to its conversation.
    fn added(&self, row: &StoredResponse) -> Vec<StoredItem> {
        if self.conversation.is_none() {
            return Vec::new();
        }
        let added = stored_items::added(&turn(row), &row.id).unwrap_or_default();
        added.into_iter().map(|(id, item)| StoredItem { id, item }).collect()
    }

    fn row(&self, kept: &StoredAnswer) -> Option<StoredResponse> {
        let now = now_ms();
        Some(StoredResponse {
            id: kept.id.clone(),
            key_id: self.owner.to_string(),
            previous_id: self.previous.clone(),
            model: self.model.clone(),
            created_at_ms: now,
            expires_at_ms: self.settings.expires_at_ms(now),
            input: stored_items::input(&self.input, &kept.id).ok()?,
            response: String::from_utf8(kept.answer.clone()).ok()?,
        })
    }
}

fn turn(answer: &StoredResponse) -> Turn<'_> {
    Turn { input: &answer.input, answer: &answer.response }
}

/// Whether it can be one of our ids: the database is not asked for others.
fn is_plain(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

fn no_previous(id: &str) -> Error {
    let shown = &id[..id.floor_char_boundary(100)];
    let message = format!("Previous response with id '{shown}' not found.");
    let mut error = Error::invalid("previous_response_id", message);
    error.code = Some("previous_response_not_found".to_owned());
    error
}

fn must_be_kept() -> Error {
    let message = "A conversation keeps what is added to it, and nothing is kept of this request: by store: false, by [responses] \
        store or size_limit, or by the key's retention. Send the whole conversation as input.";
    Error::unsupported("conversation", message)
}

fn too_large() -> Error {
    let message = "The conversation that was stored is larger than a request may be (server.body_limit); \
        send a shorter one as input.";
    Error::caller(ErrorKind::TooLarge, message)
}

fn failed(error: &StoreError) -> &'static str {
    tracing::warn!("an answer could not be stored, and said so to its caller: {error}");
    "failed"
}

fn away(error: &StoreError) -> Error {
    tracing::warn!("stored answers cannot be read: {error}");
    Error::gateway(
        ErrorKind::StoreUnavailable,
        "The database with the stored answers does not answer; try again.",
    )
}
