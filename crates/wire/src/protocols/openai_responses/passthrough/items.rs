//! The items of a relayed stream: the content of each, and the events that the provider omitted.
//!
//! Codex takes an item from its `output_item.done` alone, and the AI SDK refuses events of an item that was
//! not added. So each item and each of its parts is added before its other events, and each item is completed
//! before the answer is.

use std::borrow::Cow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::json::{Edit, push_key, push_string, push_u64, quoted};

const ADDED: &str = "response.output_item.added";
const DONE: &str = "response.output_item.done";

/// The members of an event that are read here.
#[derive(Deserialize)]
pub(super) struct EventMembers<'a> {
    #[serde(rename = "type", default, borrow)]
    pub kind: Option<Cow<'a, str>>,
    #[serde(default)]
    pub sequence_number: Option<u64>,
    #[serde(default, borrow)]
    pub response: Option<&'a RawValue>,
    #[serde(default)]
    output_index: Option<u64>,
    #[serde(default)]
    content_index: Option<u64>,
    #[serde(default)]
    summary_index: Option<u64>,
    #[serde(default, borrow)]
    item_id: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    item: Option<&'a RawValue>,
    #[serde(default, borrow)]
    part: Option<&'a RawValue>,
    #[serde(default, borrow)]
    delta: Option<&'a RawValue>,
}

/// Events that the provider omitted: their names, and their members after type and number.
pub(super) type MissingEvents = Vec<(&'static str, Vec<u8>)>;

/// Members of an event with new values.
pub(super) type Changes = Vec<(&'static str, Vec<u8>)>;

/// The subject of an event within an item.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    /// The beginning of a part.
    PartBegins(PartKind),
    /// A part, which must have begun.
    Part(PartKind),
    /// Thinking that is not summarised.
    Thinking,
    /// Arguments or input of a call.
    Call,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PartKind {
    Text,
    Refusal,
    Summary,
}

impl About {
    fn of(kind: &str) -> Option<Self> {
        Some(match kind.strip_prefix("response.")? {
            "content_part.added" => Self::PartBegins(PartKind::Text),
            "content_part.done"
            | "output_text.delta"
            | "output_text.done"
            | "output_text.annotation.added" => Self::Part(PartKind::Text),
            "refusal.delta" | "refusal.done" => Self::Part(PartKind::Refusal),
            "reasoning_summary_part.added" => Self::PartBegins(PartKind::Summary),
            "reasoning_summary_part.done"
            | "reasoning_summary_text.delta"
            | "reasoning_summary_text.done" => Self::Part(PartKind::Summary),
            "reasoning_text.delta" | "reasoning_text.done" => Self::Thinking,
            "function_call_arguments.delta"
            | "function_call_arguments.done"
            | "custom_tool_call_input.delta"
            | "custom_tool_call_input.done" => Self::Call,
            _ => return None,
        })
    }
}

impl PartKind {
    fn write(self, text: &str, out: &mut Vec<u8>) {
        let (start, end): (&[u8], &[u8]) = match self {
            Self::Text => (b"{\"type\":\"output_text\",\"text\":", b",\"annotations\":[],\"logprobs\":[]}"),
            Self::Refusal => (b"{\"type\":\"refusal\",\"refusal\":", b"}"),
            Self::Summary => (b"{\"type\":\"summary_text\",\"text\":", b"}"),
        };
        out.extend_from_slice(start);
        push_string(out, text);
        out.extend_from_slice(end);
    }

    /// Whether items of this kind have such parts.
    fn is_of(self, item: &str) -> bool {
        item == if self == Self::Summary { "reasoning" } else { "message" }
    }

    fn added(self) -> (&'static str, &'static str) {
        match self {
            Self::Summary => ("response.reasoning_summary_part.added", "summary_index"),
            _ => ("response.content_part.added", "content_index"),
        }
    }
}

/// The members of an item that are read.
#[derive(Deserialize)]
struct ItemMembers<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    call_id: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(default)]
    content: Option<Vec<ItemPart>>,
    #[serde(default)]
    summary: Option<Vec<ItemPart>>,
    #[serde(default, borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(default, borrow)]
    input: Option<&'a RawValue>,
    #[serde(default, borrow)]
    status: Option<&'a RawValue>,
}

/// Whether a part has content.
#[derive(Deserialize)]
struct ItemPart {
    #[serde(default)]
    text: Option<IgnoredAny>,
    #[serde(default)]
    refusal: Option<IgnoredAny>,
}

impl ItemPart {
    fn is_empty(&self) -> bool {
        self.text.is_none() && self.refusal.is_none()
    }
}

/// An item that is not complete.
struct OpenItem {
    kind: String,
    id: String,
    /// As it was added.
    raw: Vec<u8>,
    /// Its parts with their content so far.
    parts: BTreeMap<u64, (PartKind, String)>,
    arguments: String,
}

/// The items so far.
#[derive(Default)]
pub(super) struct Items {
    open: BTreeMap<u64, OpenItem>,
    done: BTreeMap<u64, Vec<u8>>,
    /// The index of the last event's item, and the first unused index.
    place: u64,
    next_place: u64,
    /// The ids of the calls that are complete.
    calls: BTreeSet<String>,
    /// The kinds of items that are complete.
    kinds: BTreeSet<String>,
}

impl Items {
    /// Takes an event. Omitted events that must precede it are appended to `missing`; none when it must not
    /// be passed on.
    pub(super) fn take(
        &mut self,
        kind: &str,
        event: &EventMembers<'_>,
        missing: &mut MissingEvents,
    ) -> Option<Changes> {
        let about = About::of(kind);
        if about.is_none() && !matches!(kind, ADDED | DONE) {
            return Some(Changes::new());
        }
        if kind.ends_with(".delta") && event.delta.is_none() {
            return None;
        }
        let place = self.place_of(kind, event);
        let mut changes = Changes::new();
        match about {
            None => {
                let raw = event.item?.get().as_bytes();
                let item: ItemMembers<'_> = serde_json::from_slice(raw).ok()?;
                match kind {
                    // Another item with the index of a complete one passes unchanged.
                    _ if self.done.contains_key(&place) => self.note(&item),
                    ADDED => {
                        self.open.insert(place, OpenItem::new(place, &item, raw.to_vec()));
                    }
                    _ => changes.extend(self.complete(place, &item, raw, missing).map(|item| ("item", item))),
                }
            }
            Some(about) => self.say(place, about, event, missing)?,
        }
        if event.output_index.is_none() {
            changes.push(("output_index", place.to_string().into_bytes()));
        }
        Some(changes)
    }

    /// Completes open items, and emits the items that are only in the last response object.
    pub(super) fn finish(&mut self, output: &[&RawValue], missing: &mut MissingEvents) {
        let items: Vec<Option<ItemMembers<'_>>> =
            output.iter().map(|raw| serde_json::from_str(raw.get()).ok()).collect();
        let by_id: BTreeMap<&str, usize> = items
            .iter()
            .enumerate()
            .filter_map(|(position, item)| Some((item.as_ref()?.id.as_deref()?, position)))
            .collect();
        for (place, open) in std::mem::take(&mut self.open) {
            let same_place = || {
                let item = items.get(place as usize)?.as_ref()?;
                (item.kind == open.kind).then_some(place as usize)
            };
            let found = by_id.get(open.id.as_str()).copied().or_else(same_place);
            let raw = found.map_or_else(|| open.raw.clone(), |found| output[found].get().as_bytes().to_vec());
            self.open.insert(place, open);
            if let Ok(item) = serde_json::from_slice::<ItemMembers<'_>>(&raw) {
                self.end(place, &item, &raw, missing);
            }
        }
        for (raw, item) in output.iter().zip(&items) {
            let Some(item) = item.as_ref().filter(|item| !self.is_known(item)) else { continue };
            self.end(self.next_place, item, raw.get().as_bytes(), missing);
        }
    }

    /// The items of the answer, as a JSON list; none if there are none.
    pub(super) fn output(&self) -> Option<Vec<u8>> {
        let items: Vec<&[u8]> = self.done.values().map(Vec::as_slice).collect();
        (!items.is_empty()).then(|| [&b"["[..], &items.join(&b","[..]), b"]"].concat())
    }

    /// Where the event has no index, an item's first event takes the next one, and all others belong to the
    /// item of the previous event.
    fn place_of(&mut self, kind: &str, event: &EventMembers<'_>) -> u64 {
        let usual = if kind == ADDED { self.next_place } else { self.place };
        self.place = event.output_index.unwrap_or(usual);
        self.next_place = self.next_place.max(self.place.saturating_add(1));
        self.place
    }

    /// An item is complete. Its last event is among those that the provider omitted.
    fn end(&mut self, place: u64, item: &ItemMembers<'_>, raw: &[u8], missing: &mut MissingEvents) {
        self.next_place = self.next_place.max(place.saturating_add(1));
        let whole = self.complete(place, item, raw, missing);
        missing.push((DONE, members(place, whole.as_deref().unwrap_or(raw))));
    }

    /// An item is complete: returns the item with the content that it lacks. It is added where it was not.
    fn complete(
        &mut self,
        place: u64,
        item: &ItemMembers<'_>,
        raw: &[u8],
        missing: &mut MissingEvents,
    ) -> Option<Vec<u8>> {
        let whole = match self.open.remove(&place) {
            Some(open) => open.filled(item, raw),
            None => {
                missing.push((ADDED, members(place, &begun(item, raw))));
                None
            }
        };
        match whole.as_deref().and_then(|whole| serde_json::from_slice::<ItemMembers<'_>>(whole).ok()) {
            Some(item) => self.note(&item),
            None => self.note(item),
        }
        self.done.insert(place, whole.clone().unwrap_or_else(|| raw.to_vec()));
        whole
    }

    /// Records such an item.
    fn note(&mut self, item: &ItemMembers<'_>) {
        if !self.kinds.contains(&*item.kind) {
            self.kinds.insert(item.kind.to_string());
        }
        self.calls.extend(item.call_id.as_ref().map(|id| id.to_string()));
    }

    /// At some servers (recorded: GitHub Copilot), ids and positions of items differ between the events and
    /// the last response object. Calls are therefore recognised by the call's id, other items by their kind.
    fn is_known(&self, item: &ItemMembers<'_>) -> bool {
        match &item.call_id {
            Some(id) => self.calls.contains(&**id),
            None => self.kinds.contains(&*item.kind),
        }
    }

    /// An event about an item. None when no client could understand it.
    fn say(
        &mut self,
        place: u64,
        about: About,
        event: &EventMembers<'_>,
        missing: &mut MissingEvents,
    ) -> Option<()> {
        if self.done.contains_key(&place) {
            return Some(());
        }
        let item = match self.open.entry(place) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(vacant) => {
                // The name of a call is unknown before its item.
                let added = OpenItem::unnamed(place, about, event)?;
                missing.push((ADDED, members(place, &added.raw)));
                vacant.insert(added)
            }
        };
        let delta = match event.delta {
            Some(delta) => Some(serde_json::from_str::<Cow<'_, str>>(delta.get()).ok()?),
            None => None,
        };
        match about {
            // Thinking that is not summarised has its own parts.
            About::PartBegins(kind) | About::Part(kind) if !kind.is_of(&item.kind) => {}
            About::PartBegins(kind) => {
                item.parts.entry(event.part_index()).or_insert((kind, String::new()));
            }
            About::Part(kind) => {
                let index = event.part_index();
                if !item.parts.contains_key(&index) {
                    missing.push(item.begin_part(place, index, kind));
                }
                if let (Some(part), Some(delta)) = (item.parts.get_mut(&index), delta) {
                    part.0 = kind;
                    part.1.push_str(&delta);
                }
            }
            About::Call => item.arguments.push_str(&delta.unwrap_or_default()),
            About::Thinking => {}
        }
        Some(())
    }
}

impl EventMembers<'_> {
    fn part_index(&self) -> u64 {
        self.content_index.or(self.summary_index).unwrap_or(0)
    }
}

impl OpenItem {
    fn new(place: u64, item: &ItemMembers<'_>, raw: Vec<u8>) -> Self {
        let id = item.id.as_deref().map_or_else(|| format!("item_{place}"), str::to_owned);
        let parts = BTreeMap::new();
        Self { kind: item.kind.to_string(), id, raw, parts, arguments: String::new() }
    }

    /// An item of which only this event is known.
    fn unnamed(place: u64, about: About, event: &EventMembers<'_>) -> Option<Self> {
        let is_thinking = event.part.is_some_and(|part| part.get().contains("\"reasoning_text\""));
        let thinks =
            || matches!(about, About::PartBegins(PartKind::Summary) | About::Part(PartKind::Summary));
        let (kind, prefix, rest) = match about {
            About::Call => return None,
            _ if is_thinking || about == About::Thinking || thinks() => {
                ("reasoning", "rs", "\"summary\":[]}")
            }
            _ => ("message", "msg", "\"status\":\"in_progress\",\"role\":\"assistant\",\"content\":[]}"),
        };
        let id = event.item_id.as_deref().map_or_else(|| format!("{prefix}_{place}"), str::to_owned);
        let mut raw = format!("{{\"type\":\"{kind}\",\"id\":").into_bytes();
        push_string(&mut raw, &id);
        raw.push(b',');
        raw.extend_from_slice(rest.as_bytes());
        Some(Self { kind: kind.to_owned(), id, raw, parts: BTreeMap::new(), arguments: String::new() })
    }

    /// Begins a part whose first event the provider omitted.
    fn begin_part(&mut self, place: u64, index: u64, kind: PartKind) -> (&'static str, Vec<u8>) {
        self.parts.insert(index, (kind, String::new()));
        let (name, index_name) = kind.added();
        let mut members = Vec::new();
        push_key(&mut members, "item_id");
        push_string(&mut members, &self.id);
        push_key(&mut members, "output_index");
        push_u64(&mut members, place);
        push_key(&mut members, index_name);
        push_u64(&mut members, index);
        push_key(&mut members, "part");
        kind.write("", &mut members);
        (name, members)
    }

    /// The complete item with its earlier content, where `raw` lacks it; none where nothing is missing.
    fn filled(&self, item: &ItemMembers<'_>, raw: &[u8]) -> Option<Vec<u8>> {
        let mut changes = Changes::new();
        if item.status.is_some_and(|status| status.get() == "\"in_progress\"") {
            changes.push(("status", b"\"completed\"".to_vec()));
        }
        let lacks_parts = |list: &Option<Vec<ItemPart>>| {
            self.parts.values().any(|(_, text)| !text.is_empty())
                && list.as_ref().is_none_or(|list| list.iter().all(ItemPart::is_empty))
        };
        let lacks_text =
            |text: &Option<&RawValue>| text.is_none_or(|text| matches!(text.get(), "null" | "\"\""));
        match &*item.kind {
            "message" if lacks_parts(&item.content) => changes.push(("content", self.list())),
            "reasoning" if lacks_parts(&item.summary) => changes.push(("summary", self.list())),
            "function_call" if lacks_text(&item.arguments) => {
                let arguments = if self.arguments.is_empty() { "{}" } else { &self.arguments };
                changes.push(("arguments", quoted(arguments)));
            }
            "custom_tool_call" if lacks_text(&item.input) && !self.arguments.is_empty() => {
                changes.push(("input", quoted(&self.arguments)));
            }
            _ => {}
        }
        if matches!(&*item.kind, "function_call" | "custom_tool_call") {
            self.fill_name(item, &mut changes);
        }
        let mut edit = Edit::of(raw).ok().filter(|_| !changes.is_empty())?;
        changes.iter().for_each(|(name, value)| edit.set(*name, value));
        Some(edit.write(64))
    }

    /// The name and the id of a call, as they were when it was added. Without an id it takes that of the
    /// item.
    fn fill_name(&self, item: &ItemMembers<'_>, changes: &mut Changes) {
        let Ok(added) = serde_json::from_slice::<ItemMembers<'_>>(&self.raw) else { return };
        if let (None, Some(name)) = (&item.name, &added.name) {
            changes.push(("name", quoted(name)));
        }
        if item.call_id.is_none() {
            changes.push(("call_id", quoted(added.call_id.as_deref().unwrap_or(&self.id))));
        }
    }

    fn list(&self) -> Vec<u8> {
        let mut list = vec![b'['];
        for (position, (kind, text)) in self.parts.values().enumerate() {
            if position > 0 {
                list.push(b',');
            }
            kind.write(text, &mut list);
        }
        list.push(b']');
        list
    }
}

/// The members of an event about a whole item.
fn members(place: u64, item: &[u8]) -> Vec<u8> {
    let mut members = Vec::with_capacity(item.len() + 32);
    push_key(&mut members, "output_index");
    push_u64(&mut members, place);
    push_key(&mut members, "item");
    members.extend_from_slice(item);
    members
}

/// A complete item in the form of its beginning.
fn begun(item: &ItemMembers<'_>, raw: &[u8]) -> Vec<u8> {
    let Ok(mut edit) = Edit::of(raw) else { return raw.to_vec() };
    let empty: [(&str, bool, &[u8]); 5] = [
        ("content", item.content.is_some(), b"[]"),
        ("summary", item.summary.is_some(), b"[]"),
        ("arguments", item.arguments.is_some(), b"\"\""),
        ("input", item.input.is_some(), b"\"\""),
        ("status", item.status.is_some(), b"\"in_progress\""),
    ];
    for (name, _, value) in empty.iter().filter(|(_, is_there, _)| *is_there) {
        edit.set(*name, value);
    }
    edit.write(0)
}
