//! Several prompts in one request, for providers that take only one: a request for each, and their answers
//! joined.
//!
//! The choices of prompt `p` begin at `p · n`, as OpenAI has them. Answers arrive in any order and, streamed,
//! interleaved. All have the id and the time of the first one; usage and cost are sums; attempts and losses
//! are concatenated. In a stream without requested usage, each prompt's last choice has the metadata.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use canon::{Error, ErrorKind, Pico, Result, Retry};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::Edit;
use crate::{Intake, Joiner};

/// Most prompts of a request: each becomes a separate request.
const MOST_PROMPTS: usize = 128;
/// The possible names of the gateway's object here.
const OWN: [&str; 2] = ["llmgateway", "metadata"];

/// The separate requests; none for a single prompt, or without texts.
pub(super) fn split(intake: &Intake) -> Result<Option<Vec<Bytes>>> {
    let prompts: Option<Vec<&RawValue>> = intake.read_as("prompt");
    let Some(prompts) = prompts.filter(|prompts| prompts.len() > 1 && prompts[0].get().starts_with('"'))
    else {
        return Ok(None);
    };
    if prompts.len() > MOST_PROMPTS {
        let message = format!(
            "prompt is a list of {} texts; at most {MOST_PROMPTS} are allowed, because each is sent as a separate request.",
            prompts.len()
        );
        return Err(Error::invalid("prompt", message));
    }
    if let Some(index) = prompts.iter().position(|prompt| prompt.get() == "\"\"") {
        let path = format!("prompt[{index}]");
        let message = format!("{path} is empty; it needs a text that the model continues.");
        return Err(Error::invalid(path, message));
    }
    let alone = |prompt: &&RawValue| {
        let mut edit = intake.edit();
        edit.set("prompt", prompt.get().as_bytes());
        Bytes::from(edit.write(0))
    };
    Ok(Some(prompts.iter().map(alone).collect()))
}

/// Joins the answers to the prompts of a request.
pub(super) fn joiner(intake: &Intake) -> Box<dyn Joiner> {
    let choices = intake.whole("n").and_then(|n| usize::try_from(n).ok()).unwrap_or(1).max(1);
    Box::new(Join { streams: intake.form.stream, choices, ..Join::default() })
}

#[derive(Default)]
struct Join {
    streams: bool,
    /// The number of choices of each prompt.
    choices: usize,
    /// The bytes so far of each prompt's next event, or of its whole answer.
    parts: BTreeMap<usize, Vec<u8>>,
    /// The common members of all answers: id, time of creation.
    identity: Option<[Option<Box<RawValue>>; 2]>,
    /// The answers without their choices, by prompt: for a stream, their usage.
    ends: BTreeMap<usize, Vec<u8>>,
    /// Choices of whole answers, by their index.
    written: BTreeMap<usize, Vec<u8>>,
}

/// The members of an answer or a chunk that are read.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    created: Option<&'a RawValue>,
    #[serde(borrow, default)]
    choices: Vec<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: usize,
}

impl Joiner for Join {
    fn push(&mut self, part: usize, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let mut text = self.parts.remove(&part).unwrap_or_default();
        text.extend_from_slice(bytes);
        while self.streams
            && let Some(end) = memchr::memmem::find(&text, b"\n\n")
        {
            let event: Vec<u8> = text.drain(..end + 2).collect();
            self.event(part, &event, out)?;
        }
        self.parts.insert(part, text);
        Ok(())
    }

    fn end(&mut self, part: usize, out: &mut Vec<u8>) -> Result<()> {
        let text = self.parts.remove(&part).unwrap_or_default();
        if self.streams || text.is_empty() {
            return Ok(());
        }
        self.answer(part, &text, out)
    }

    fn finish(&mut self, request_id: &str, out: &mut Vec<u8>) {
        let whole = self.whole(request_id);
        match (self.streams, whole) {
            (true, Some(last)) => out.extend([b"data: ", &last[..], b"\n\ndata: [DONE]\n\n"].concat()),
            (true, None) => out.extend_from_slice(b"data: [DONE]\n\n"),
            (false, whole) => out.extend(whole.unwrap_or_default()),
        }
    }

    fn name_of(&self, part: usize) -> String {
        format!("prompt[{part}]")
    }
}

impl Join {
    fn event(&mut self, part: usize, event: &[u8], out: &mut Vec<u8>) -> Result<()> {
        match event.trim_ascii().strip_prefix(b"data:").map(<[u8]>::trim_ascii) {
            Some(b"[DONE]") => Ok(()),
            Some(data) => self.answer(part, data, out),
            // A ping.
            None => {
                out.extend_from_slice(event);
                Ok(())
            }
        }
    }

    fn answer(&mut self, part: usize, data: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let answer: Answer<'_> = serde_json::from_slice(data).map_err(|_| broken())?;
        if let Some(error) = answer.error {
            return Err(of_part(&self.name_of(part), error));
        }
        let [id, created] = self
            .identity
            .get_or_insert_with(|| [answer.id, answer.created].map(|raw| raw.map(ToOwned::to_owned)));
        let mut edit = Edit::of(data).map_err(|_| broken())?;
        for (name, raw) in [("id", &*id), ("created", &*created)] {
            if let Some(raw) = raw {
                edit.set(name, raw.get().as_bytes());
            }
        }
        let mut moved = Vec::new();
        for raw in &answer.choices {
            let Choice { index } = serde_json::from_str(raw.get()).map_err(|_| broken())?;
            let index = part * self.choices + index;
            let mut choice = Edit::of(raw.get().as_bytes()).map_err(|_| broken())?;
            choice.set("index", index.to_string().as_bytes());
            moved.push((index, choice.write(0)));
        }
        if self.streams && !moved.is_empty() {
            edit.set("choices", &list(moved.iter().map(|(_, choice)| &choice[..])));
            out.extend([b"data: ", &edit.write(0)[..], b"\n\n"].concat());
        } else {
            self.written.extend(moved);
            edit.set("choices", b"[]");
            self.ends.insert(part, edit.write(0));
        }
        Ok(())
    }

    /// The whole answer, or the last chunk with usage; none where there is nothing to send.
    fn whole(&mut self, request_id: &str) -> Option<Vec<u8>> {
        let ends: Vec<BTreeMap<Cow<'_, str>, &RawValue>> =
            self.ends.values().filter_map(|end| serde_json::from_slice(end).ok()).collect();
        let first = self.ends.values().next()?;
        let all = |name: &str| ends.iter().filter_map(|end| end.get(name).copied()).collect::<Vec<_>>();
        let mut edit = Edit::of(first).ok()?;
        edit.set("choices", &list(self.written.values().map(|choice| &choice[..])));
        if let Some(usage) = sum(&all("usage")) {
            edit.set("usage", usage.as_bytes());
        }
        for name in OWN {
            if let Some(own) = own(&all(name), request_id) {
                edit.set(name, &own);
            }
        }
        Some(edit.write(0))
    }
}

/// The gateway's objects merged: the first one, with the attempts and the losses of all.
fn own(all: &[&RawValue], request_id: &str) -> Option<Vec<u8>> {
    let mut edit = Edit::of(all.first()?.get().as_bytes()).ok()?;
    let read = |raw: &&RawValue| serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(raw.get()).ok();
    let read: Vec<_> = all.iter().filter_map(read).collect();
    let of = |name: &'static str| {
        let lists = read.iter().filter_map(move |object| object.get(name));
        lists.filter_map(|raw| serde_json::from_str::<Vec<Box<RawValue>>>(raw.get()).ok()).flatten()
    };
    let routing: Vec<_> = of("routing").collect();
    edit.set("routing", &list(routing.iter().map(|entry| entry.get().as_bytes())));
    let mut losses: Vec<Box<RawValue>> = Vec::new();
    for loss in of("losses") {
        if losses.iter().all(|known| known.get() != loss.get()) {
            losses.push(loss);
        }
    }
    edit.set("losses", &list(losses.iter().map(|loss| loss.get().as_bytes())));
    edit.set("request_id", serde_json::to_string(request_id).ok()?.as_bytes());
    Some(edit.write(0))
}

/// The sum of numbers, or of the members of objects. A member that one of them lacks is missing in the sum.
fn sum(all: &[&RawValue]) -> Option<String> {
    let first = all.first()?;
    if first.get().starts_with('{') {
        let objects: Vec<BTreeMap<Cow<'_, str>, &RawValue>> =
            all.iter().filter_map(|raw| serde_json::from_str(raw.get()).ok()).collect();
        let mut names: Vec<&str> = objects.iter().flat_map(BTreeMap::keys).map(Cow::as_ref).collect();
        names.sort_unstable();
        names.dedup();
        let member = |name: &&str| {
            let values: Vec<&RawValue> =
                objects.iter().filter_map(|object| object.get(*name).copied()).collect();
            Some(format!("{}:{}", serde_json::to_string(name).ok()?, sum(&values)?))
        };
        return Some(format!("{{{}}}", names.iter().filter_map(member).collect::<Vec<_>>().join(",")));
    }
    let whole: Option<Vec<u64>> = all.iter().map(|raw| raw.get().parse().ok()).collect();
    let money = || all.iter().map(|raw| raw.get().parse::<Pico>().ok()).collect::<Option<Vec<_>>>();
    Some(match whole {
        Some(counts) => counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count)).to_string(),
        None => {
            money().map_or_else(|| "null".to_owned(), |amounts| amounts.into_iter().sum::<Pico>().to_string())
        }
    })
}

fn list<'a>(entries: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = b"[".to_vec();
    for entry in entries {
        if out.len() > 1 {
            out.push(b',');
        }
        out.extend_from_slice(entry);
    }
    out.push(b']');
    out
}

fn broken() -> Error {
    Error::upstream(ErrorKind::Upstream, Retry::No, "The answer to one of the prompts cannot be read.")
}

/// The error that ended a part's stream, with its prompt.
fn of_part(name: &str, error: &RawValue) -> Error {
    #[derive(Deserialize)]
    struct ErrorMessage {
        message: Option<String>,
    }
    let said: Option<ErrorMessage> = serde_json::from_str(error.get()).ok();
    let message = said.and_then(|said| said.message).unwrap_or_default();
    Error::upstream(ErrorKind::Upstream, Retry::No, format!("{name}: {message}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::intake;
    use super::*;

    fn asked(fields: &str) -> Intake {
        intake::intake(&Bytes::from(format!("{{\"model\":\"m\"{fields}}}"))).unwrap()
    }

    #[test]
    fn each_text_becomes_a_request() {
        let parts = split(&asked(r#","prompt":["a","b \"c\""],"n":2,"new":[1]"#)).unwrap().unwrap();
        assert_eq!(&parts[1][..], br#"{"model":"m","prompt":"b \"c\"","n":2,"new":[1]}"#);
        for one in [r#","prompt":"a""#, r#","prompt":["a"]"#, r#","prompt":[1,2]"#, r#","prompt":[[1],[2]]"#]
        {
            assert!(split(&asked(one)).unwrap().is_none(), "{one}");
        }
        let empty = split(&asked(r#","prompt":["a",""]"#)).unwrap_err();
        assert_eq!(empty.param_name().unwrap(), "prompt[1]");
        let many = format!(",\"prompt\":[{}]", vec!["\"a\""; MOST_PROMPTS + 1].join(","));
        assert!(split(&asked(&many)).unwrap_err().message.contains("128 are allowed"));
    }

    fn whole(part: u64, cost: &str) -> Vec<u8> {
        let own = json!({"request_id": format!("r-{part}"), "routing": [{"provider": part}], "losses": [{"field": "x"}]});
        let text = json!({"id": format!("cmpl-{part}"), "created": part, "object": "text_completion", "model": "m",
            "choices": [{"text": "one", "index": 0}, {"text": "two", "index": 1}],
            "usage": {"prompt_tokens": 3, "details": {"cached": part}, "cost_usd_total": "COST"}, "llmgateway": own});
        text.to_string().replace("\"COST\"", cost).into_bytes()
    }

    #[test]
    fn whole_answers_are_joined_in_the_prompts_order() {
        let mut join = joiner(&asked(r#","prompt":["a","b"],"n":2"#));
        let mut out = Vec::new();
        for (part, cost) in [(1, "0.000000000002"), (0, "0.1")] {
            for byte in whole(part, cost) {
                join.push(part as usize, &[byte], &mut out).unwrap();
            }
            join.end(part as usize, &mut out).unwrap();
        }
        join.finish("r", &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("\"cost_usd_total\":0.100000000002"), "{text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        let indexes: Vec<_> =
            answer["choices"].as_array().unwrap().iter().map(|c| c["index"].clone()).collect();
        assert_eq!(indexes, [0, 1, 2, 3]);
        assert_eq!((&answer["id"], &answer["usage"]["prompt_tokens"]), (&json!("cmpl-1"), &json!(6)));
        assert_eq!(answer["usage"]["details"], json!({"cached": 1}));
        let own = json!({"request_id": "r", "routing": [{"provider": 0}, {"provider": 1}], "losses": [{"field": "x"}]});
        assert_eq!(answer["llmgateway"], own);
    }

    #[test]
    fn an_unknown_cost_stays_unknown() {
        let mut join = joiner(&asked(r#","prompt":["a","b"],"n":2"#));
        let mut out = Vec::new();
        for (part, cost) in [(0, "null"), (1, "0.1")] {
            join.push(part, &whole(part as u64, cost), &mut out).unwrap();
            join.end(part, &mut out).unwrap();
        }
        join.finish("r", &mut out);
        let answer: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(answer["usage"]["cost_usd_total"], Value::Null);
    }

    #[test]
    fn streams_are_joined_in_turns_and_end_once() {
        let chunk = |part: usize, choices: Value, usage: Value| {
            let chunk =
                json!({"id": format!("cmpl-{part}"), "created": part, "choices": choices, "usage": usage});
            format!("data: {chunk}\n\n")
        };
        let text = |part: usize, text: &str| chunk(part, json!([{"text": text, "index": 0}]), Value::Null);
        let last = |part: usize| chunk(part, json!([]), json!({"total_tokens": 5})) + "data: [DONE]\n\n";
        let mut join = joiner(&asked(r#","prompt":["a","b"],"stream":true"#));
        let mut out = Vec::new();
        for (part, piece) in
            [(1, text(1, "x")), (0, text(0, "y") + ": ping\n\n"), (1, last(1)), (0, text(0, "z") + &last(0))]
        {
            let (head, tail) = piece.as_bytes().split_at(7);
            join.push(part, head, &mut out).unwrap();
            join.push(part, tail, &mut out).unwrap();
        }
        join.finish("r", &mut out);
        let all = String::from_utf8(out).unwrap();
        assert!(
            all.ends_with("data: [DONE]\n\n")
                && all.matches("[DONE]").count() == 1
                && all.contains(": ping\n\n")
        );
        let events: Vec<Value> =
            all.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect();
        assert!(events.iter().all(|event| event["id"] == "cmpl-1" && event["created"] == 1), "{all}");
        let choices: Vec<_> = events.iter().map(|event| event["choices"][0]["index"].clone()).collect();
        assert_eq!(choices, [json!(1), json!(0), json!(0), Value::Null]);
        assert_eq!(events[3]["usage"], json!({"total_tokens": 10}));
    }

    #[test]
    fn an_error_names_its_prompt() {
        let mut join = joiner(&asked(r#","prompt":["a","b"],"stream":true"#));
        let mut out = Vec::new();
        let error = join.push(1, b"data: {\"error\":{\"message\":\"too long\"}}\n\n", &mut out).unwrap_err();
        assert_eq!(error.message, "prompt[1]: too long");
    }
}
