//! Requests of every format that callers write, forwarded and translated.

mod chat;
mod completions;
mod gemini;
mod messages;
mod responses;

use std::rc::Rc;

use bytes::Bytes;
use canon::{ModelFacts, Quirks, Target};
use wire::protocols::openai_chat::{MediaUrls, intake};
use wire::{Addressed, Exchange, Protocol};

use super::limits::Kind;
use super::{Case, Dimension, Work, repeat};

/// A sentence of ordinary length.
const TEXT: &str = "a sentence of some length, as people write them to each other every day";

/// A list that grows: `frame` has `@` in its place, and an item has `№` for its number.
fn list(name: &str, frame: &'static str, item: &'static str) -> Dimension {
    Dimension::new(name, move |count| {
        frame.replacen('@', &repeat(count, |at| item.replace('№', &at.to_string())), 1)
    })
}

/// A text that grows, in the place of `@`.
fn text(name: &str, frame: &'static str, piece: &'static str) -> Dimension {
    Dimension::new(name, move |count| frame.replacen('@', &piece.repeat(count), 1))
}

/// Schemas in place of `@`: as deep as readers accept, and as many as fit.
fn schemas(name: &str, frame: &'static str) -> Vec<Dimension> {
    const OBJECT: &str = r#"{"type":"object",@}"#;
    let deep = |count: usize| {
        let depth = 30;
        let (open, close) = (r#"{"type":"object","properties":{"a":"#.repeat(depth), "}}".repeat(depth));
        let one = format!(r#"{open}{{"type":"string"}}{close}"#);
        format!(r#""properties":{{{}}}"#, repeat(count, |at| format!(r#""p{at}":{one}"#)))
    };
    let wide = |count: usize| {
        let property = |at| format!(r#""property_{at}":{{"type":"string","description":"what it means"}}"#);
        format!(r#""properties":{{{}}}"#, repeat(count, property))
    };
    let least = |count: usize| {
        format!(r#""properties":{{{}}}"#, repeat(count.min(30_000), |at| format!(r#""{at}":{{}}"#)))
    };
    let numbers =
        |count: usize| format!(r#""properties":{{"a":{{"enum":[{}]}}}}"#, repeat(count, |_| "1".to_owned()));
    let words = |count: usize| {
        format!(r#""properties":{{"a":{{"enum":[{}]}}}}"#, repeat(count, |at| format!(r#""w{at}""#)))
    };
    let schema = |part: &str, inner: Rc<dyn Fn(usize) -> String>| {
        Dimension::new(format!("{part} of {name}"), move |count| {
            frame.replacen('@', &OBJECT.replacen('@', &inner(count), 1), 1)
        })
    };
    vec![
        schema("depth", Rc::new(deep)),
        schema("properties", Rc::new(wide)),
        schema("least properties", Rc::new(least)),
        schema("numbers of an enum", Rc::new(numbers)),
        schema("words of an enum", Rc::new(words)),
    ]
}

struct Format {
    protocol: Protocol,
    /// The rest of the URL after the route's path.
    rest: &'static str,
    dimensions: Vec<Dimension>,
}

fn formats() -> [Format; 5] {
    let format = |protocol, rest, dimensions| Format { protocol, rest, dimensions };
    [
        format(Protocol::OpenaiChat, "", chat::dimensions()),
        format(Protocol::AnthropicMessages, "", messages::dimensions()),
        format(Protocol::OpenaiResponses, "", responses::dimensions()),
        format(Protocol::Gemini, "m:generateContent", gemini::dimensions()),
        format(Protocol::OpenaiCompletions, "", completions::dimensions()),
    ]
}

/// How a request goes to a provider.
struct RequestPath {
    name: String,
    caller: Protocol,
    rest: &'static str,
    upstream: Protocol,
    facts: ModelFacts,
    quirks: &'static str,
    kind: Kind,
}

fn work(way: RequestPath) -> Work {
    let RequestPath { name, caller, rest, upstream, facts, quirks, kind } = way;
    let quirks: Quirks = serde_json::from_str(quirks).unwrap();
    let run = move |body: &Bytes| {
        let dialect = wire::dialect(caller).unwrap();
        // A refusal counts as work too.
        let Ok(intake) = dialect.intake(Addressed { rest, query: "" }, body) else { return 0 };
        let target = Target { model: "m", facts: &facts, quirks: &quirks };
        let exchange = Exchange { dialect, intake: &intake, upstream, target, memory: None };
        let Ok(mut draft) = exchange.draft(false) else { return 0 };
        drop(std::hint::black_box(draft.media()));
        draft.write().map_or(0, |written| written.body.len())
    };
    // Every reader and every writer once: each pair would take an hour.
    let is_counted = [caller, upstream].contains(&Protocol::OpenaiChat) || caller == upstream;
    Work { name, kind, is_counted, run: Box::new(run) }
}

fn works(caller: Protocol, rest: &'static str) -> Vec<Work> {
    let way = |upstream: Protocol, name: String, kind| RequestPath {
        name,
        caller,
        rest,
        upstream,
        facts: ModelFacts::default(),
        quirks: "{}",
        kind,
    };
    let mut works = vec![work(way(caller, "forwarding".to_owned(), Kind::Forwarded))];
    for upstream in Protocol::ALL.into_iter().filter(|upstream| *upstream != caller) {
        works.push(work(way(upstream, format!("translating to {}", upstream.as_str()), Kind::Translated)));
    }
    if caller == Protocol::OpenaiChat {
        let every = r#"{"no_developer_role":true,"drop_message_fields":["name"],"string_content":true,"short_tool_call_ids":true,"reasoning_field":"reasoning_content","drop_tool_fields":["strict"]}"#;
        let edited = |name: &str| way(caller, name.to_owned(), Kind::Edited);
        works.push(work(RequestPath { quirks: every, ..edited("forwarding with quirks") }));
        let facts = ModelFacts { strict_subset: true, ..ModelFacts::default() };
        works.push(work(RequestPath {
            facts,
            ..edited("forwarding to a model that enforces a part of JSON schema")
        }));
        works.push(looking_for_media());
    }
    works
}

fn looking_for_media() -> Work {
    let run = |body: &Bytes| {
        if let Ok(intake) = intake(body) {
            drop(std::hint::black_box(MediaUrls::of(&intake)));
        }
        0
    };
    Work { name: "looking for media".to_owned(), kind: Kind::Edited, is_counted: true, run: Box::new(run) }
}

pub fn cases() -> Vec<Case> {
    let cases = |format: Format| {
        let Format { protocol, rest, dimensions } = format;
        dimensions.into_iter().map(move |mut dimension| {
            dimension.name = format!("{} request, {}", protocol.as_str(), dimension.name);
            Case { works: works(protocol, rest), dimension }
        })
    };
    formats().into_iter().flat_map(cases).collect()
}
