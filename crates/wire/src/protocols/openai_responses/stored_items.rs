//! Stored answers. A request that continues one contains only new items: the earlier conversation is inserted
//! before its input, so that the provider gets a complete request.
//!
//! Items are stored unchanged, each with an id. The ids of an answer's items, and those given to items of its
//! request, contain the unique part of the answer's id, so that an item leads to its answer.

use std::borrow::Cow;

use bytes::Bytes;
use canon::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::intake;
use crate::Intake;
use crate::json::{Edit, Index, Scanner, Syntax, push_string};

/// Length of the unique part of an id: a UUID in hexadecimal.
const UNIQUE: usize = 32;

/// One turn of a conversation.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    /// The items that the request added, as a JSON list.
    pub input: &'a str,
    pub answer: &'a str,
}

/// The members of an item that are read.
#[derive(Deserialize)]
struct ItemMembers<'a> {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    role: Option<String>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    output: Vec<&'a RawValue>,
}

/// The items of a conversation, the first one first.
pub fn items<'a>(turns: &[Turn<'a>]) -> Result<Vec<&'a RawValue>> {
    let mut items: Vec<&RawValue> = Vec::new();
    for turn in turns {
        items.extend(list(turn.input)?);
        items.extend(output(turn.answer)?);
    }
    Ok(items)
}

pub fn item(item: &str) -> Option<&RawValue> {
    serde_json::from_str(item).ok()
}

/// The items of a stored input.
pub fn list(input: &str) -> Result<Vec<&RawValue>> {
    serde_json::from_str(input).map_err(unreadable)
}

fn output(answer: &str) -> Result<Vec<&RawValue>> {
    serde_json::from_str(answer).map(|Output { output }| output).map_err(unreadable)
}

fn unreadable(error: serde_json::Error) -> Error {
    Error::gateway(ErrorKind::Internal, format!("A stored answer cannot be read: {error}."))
}

pub fn id_of(item: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Id {
        #[serde(default)]
        id: Option<String>,
    }
    serde_json::from_str(item.get()).ok().and_then(|Id { id }| id)
}

/// The possible answers of an item, from the item's id.
pub fn answers_of(item_id: &str) -> Vec<String> {
    let Some((_, rest)) = item_id.split_once('_') else { return Vec::new() };
    if let Some(unique) = made_of(rest) {
        return vec![format!("resp_{unique}"), unique.to_owned()];
    }
    let unique = rest.get(..UNIQUE).filter(|unique| unique.bytes().all(|byte| byte.is_ascii_hexdigit()));
    unique.map(|unique| format!("resp_{unique}")).into_iter().collect()
}

/// The ids of an answer's items that do not lead to it: a provider assigned them.
pub fn foreign_items(answer_id: &str, answer: &str) -> Vec<String> {
    let ids = output(answer).unwrap_or_default().into_iter().filter_map(id_of);
    ids.filter(|id| !id.is_empty() && !answers_of(id).iter().any(|answer| answer == answer_id)).collect()
}

/// The answer's part of an id that was given to an item of a request: everything before `i` and a number.
fn made_of(rest: &str) -> Option<&str> {
    let (unique, number) = rest.rsplit_once('i')?;
    (number.len() >= 2 && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(unique)
}

/// The items that a request itself adds, in their stored form: each with its type and an id, and messages
/// with a list of parts. `given` is the request's input.
pub fn input(given: &[u8], answer_id: &str) -> Result<String> {
    let unique = answer_id.strip_prefix("resp_").unwrap_or(answer_id);
    let mut out = b"[".to_vec();
    for (number, item) in own_items(given)?.into_iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&completed(item.get(), unique, number)?);
    }
    out.push(b']');
    String::from_utf8(out).map_err(|_| Error::gateway(ErrorKind::Internal, "An input is not UTF-8."))
}

/// The request's own input; an empty list where it has none.
pub fn own_input(intake: &Intake) -> Bytes {
    match intake.non_null("input") {
        Some(raw) => intake.body().slice_ref(raw),
        None => Bytes::from_static(b"[]"),
    }
}

/// The request with the conversation before its input. `find` returns the items that the input names by id.
pub fn expanded(
    intake: &Intake,
    earlier: &[&RawValue],
    find: impl Fn(&str) -> Option<String>,
) -> Result<Bytes> {
    let mut items = b"[".to_vec();
    let mut push = |item: &str| {
        if items.len() > 1 {
            items.push(b',');
        }
        items.extend_from_slice(item.as_bytes());
    };
    earlier.iter().for_each(|item| push(&without_made_id(item.get())));
    for (number, item) in own_items(&own_input(intake))?.into_iter().enumerate() {
        match reference(item.get()) {
            None => push(item.get()),
            Some(id) => push(&without_made_id(&find(&id).ok_or_else(|| no_item(number, &id))?)),
        }
    }
    items.push(b']');
    let mut edit = intake.edit();
    edit.put("input", items);
    edit.remove("previous_response_id");
    edit.remove("conversation");
    // The conversation is stored here.
    edit.set("store", b"false");
    Ok(edit.write(0).into())
}

/// The expanded request, read again. Its answer repeats the request as the caller sent it.
pub fn reread(intake: &Intake, body: &Bytes) -> Result<Intake> {
    let mut expanded = intake::intake(body)?;
    expanded.form.request = intake.form.request.clone();
    expanded.keeping = None;
    Ok(expanded)
}

/// The error for an unknown conversation.
pub fn no_conversation(id: &str) -> Error {
    let message = format!("Conversation with id '{}' not found.", shown(id));
    Error::invalid("conversation", message)
}

/// An item with its id.
pub type Identified = (String, String);

/// Most items that a caller may add to a conversation at once, as at OpenAI.
pub const MOST_ITEMS: usize = 20;

/// Items that a caller adds to a conversation, from the list in its body, in their stored form. `unique`
/// makes their ids unique.
pub fn identified_items(items: &RawValue, unique: &str) -> Result<Vec<Identified>> {
    let wrong = || Error::invalid("items", "items must be a list of items of the Responses API.");
    let items: Vec<&RawValue> = serde_json::from_str(items.get()).map_err(|_| wrong())?;
    if items.len() > MOST_ITEMS {
        let message = format!("items has {} items; {MOST_ITEMS} are allowed at once.", items.len());
        return Err(Error::invalid("items", message));
    }
    items.iter().enumerate().map(|(number, item)| identified_item(item.get(), unique, number)).collect()
}

fn identified_item(item: &str, unique: &str, number: usize) -> Result<Identified> {
    let path = format!("items[{number}]");
    let known: Option<ItemMembers<'_>> = serde_json::from_str(item).ok().filter(|_| item.starts_with('{'));
    let Some(known) = known else {
        return Err(Error::invalid(path.clone(), format!("{path} must be an item of the Responses API.")));
    };
    match known.kind.as_deref() {
        Some("item_reference") => {
            let message = format!("{path} refers to an item by its id; send the item itself.");
            return Err(Error::invalid(path, message));
        }
        None | Some("message") if known.role.is_none() || known.content.is_none() => {
            let message = format!("{path} must have a role and content, or the type of another item.");
            return Err(Error::invalid(path, message));
        }
        _ => {}
    }
    let item = completed(item, unique, number)?;
    let item =
        String::from_utf8(item).map_err(|_| Error::invalid(path.clone(), format!("{path} is not UTF-8.")))?;
    let id = serde_json::from_str::<&RawValue>(&item).ok().and_then(id_of).unwrap_or_default();
    Ok((id, item))
}

/// The items that a turn adds to its conversation. Items without an id get one.
pub fn added(turn: &Turn<'_>, answer_id: &str) -> Result<Vec<Identified>> {
    let unique = answer_id.strip_prefix("resp_").unwrap_or(answer_id);
    let mut added = Vec::new();
    for (number, item) in items(&[*turn])?.into_iter().enumerate() {
        match id_of(item).filter(|id| !id.is_empty()) {
            Some(id) => added.push((id, item.get().to_owned())),
            None => added.push(identified_item(item.get(), unique, number)?),
        }
    }
    Ok(added)
}

fn no_item(number: usize, id: &str) -> Error {
    let message = format!("Item with id '{}' not found.", shown(id));
    Error::invalid(format!("input[{number}].id"), message)
}

/// An id for an error message.
fn shown(id: &str) -> &str {
    &id[..id.floor_char_boundary(100)]
}

/// An item as its caller sent it: for some items providers refuse ids with other prefixes than their own.
fn without_made_id(item: &str) -> Cow<'_, str> {
    let is_made = |id: &str| id.split_once('_').is_some_and(|(_, rest)| made_of(rest).is_some());
    let known: Option<ItemMembers<'_>> = serde_json::from_str(item).ok();
    if !known.and_then(|known| known.id).is_some_and(|id| is_made(&id)) {
        return Cow::Borrowed(item);
    }
    let Ok(mut edit) = Edit::of(item.as_bytes()) else { return Cow::Borrowed(item) };
    edit.remove("id");
    String::from_utf8(edit.write(0)).map_or(Cow::Borrowed(item), Cow::Owned)
}

/// The items of an input.
fn own_items(raw: &[u8]) -> Result<Vec<Box<RawValue>>> {
    let wrong = |_| Error::invalid("input", "input must be a string or a list of items.");
    if !raw.starts_with(b"\"") {
        return serde_json::from_slice(raw).map_err(wrong);
    }
    let item = [br#"{"role":"user","content":"#, raw, b"}"].concat();
    Ok(vec![serde_json::from_slice(&item).map_err(wrong)?])
}

/// The id of an item that only refers to another one.
fn reference(item: &str) -> Option<String> {
    let known: ItemMembers<'_> = serde_json::from_str(item).ok()?;
    known.id.filter(|_| known.kind.as_deref() == Some("item_reference"))
}

/// An item with type, id and parts.
fn completed(item: &str, unique: &str, number: usize) -> Result<Vec<u8>> {
    let wrong = |_| Error::invalid(format!("input[{number}]"), format!("input[{number}] is not understood."));
    let known: ItemMembers<'_> = serde_json::from_str(item).map_err(wrong)?;
    let mut index = Index::new(item.as_bytes(), 8);
    let mut scanner = Scanner::new(item.as_bytes());
    scanner.object(|scanner, key| {
        let name = index.name(&key)?;
        let start = scanner.position();
        scanner.value()?;
        index.push(name, &key, start..scanner.position());
        Ok::<(), Syntax>(())
    })?;
    let mut edit = index.edit();
    let kind = known.kind.as_deref().unwrap_or("message");
    if known.kind.is_none() {
        edit.set("type", b"\"message\"");
    }
    if known.id.is_none() {
        let mut id = Vec::new();
        push_string(&mut id, &format!("{}_{unique}i{number:02}", prefix(kind)));
        edit.set("id", &id);
    }
    if let Some(text) = known.content.map(RawValue::get).filter(|raw| raw.starts_with('"')) {
        let is_answer = known.role.as_deref() == Some("assistant");
        let (start, end) = if is_answer {
            (r#"[{"type":"output_text","text":"#, r#","annotations":[]}]"#)
        } else {
            (r#"[{"type":"input_text","text":"#, "}]")
        };
        edit.set("content", [start, text, end].concat().as_bytes());
    }
    Ok(edit.write(0))
}

/// The id prefix of such items.
fn prefix(kind: &str) -> &'static str {
    match kind {
        "message" => "msg",
        "reasoning" => "rs",
        "function_call" => "fc",
        "function_call_output" => "fco",
        "custom_tool_call" => "ctc",
        "custom_tool_call_output" => "ctco",
        _ => "item",
    }
}
