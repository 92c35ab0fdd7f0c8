//! Faults on demand. The model's name, or a segment of the path, selects the fault, so that any client can
//! request it and the base URL of a provider can carry it.

use crate::body::Ending;
use crate::format::{Call, Format, Refusal, Reply};
use bytes::Bytes;
use serde_json::Value;
use std::time::Duration;

/// The fault that the model's name selects. The name may be anywhere in the model id (`org/fault-429`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `fault-401`, `-402`, `-403`, `-404`, `-408`, `-413`, `-429`, `-500`, `-502`, `-503`, `-504`, `-529`: the
    /// provider's own error with this status.
    Status(u16),
    /// `fault-slow-MS`: the first byte comes late.
    Slow(Duration),
    /// `fault-cut-N`: the connection is cut after N frames (in the middle of the body of a whole answer).
    Cut(usize),
    /// `fault-stream-error-N`: the provider's error inside the stream after N frames.
    StreamError(usize),
    /// `fault-hang-N`: nothing more after N frames, and the connection stays open.
    Hang(usize),
    /// `fault-html`: the error page of a proxy in front of the provider.
    Html,
    /// `fault-empty`: success without a body.
    Empty,
    /// `fault-garbage`: success with a body that does not match its content type.
    Garbage,
    /// `fault-200-error`: the provider's error with the status of success.
    ErrorInside200,
    /// `fault-context`: the provider's error for a prompt that is too long.
    Context,
    /// `fault-without-PART`: the events of a stream without this part.
    Without(&'static str),
}

/// Parts that may be missing in a stream: a kind of event, or a member of events.
const PARTS: [&str; 22] = [
    "message_delta",
    "message_stop",
    "content_block_stop",
    "ping",
    "signature",
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.output_item.done",
    "response.content_part.added",
    "response.content_part.done",
    "response.output_text.delta",
    "response.output_text.done",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "sequence_number",
    "encrypted_content",
    "usage",
    "finish_reason",
    "finishReason",
    "usageMetadata",
    "thoughtSignature",
];

/// A fault and its start: `fault-turn-N-REST` waits for N results of tools in the conversation.
struct Planned {
    from_result: usize,
    fault: Fault,
}

impl Planned {
    fn of(call: &Call) -> Option<Planned> {
        Planned::read(&call.model).or_else(|| call.path.split('/').find_map(Planned::read))
    }

    fn read(name: &str) -> Option<Planned> {
        name.split("fault-").skip(1).find_map(|named| {
            let later = named.strip_prefix("turn-").and_then(|rest| rest.split_once('-'));
            let (from_result, named) = match later {
                Some((digits, rest)) => (digits.parse().ok()?, rest),
                None => (0, named),
            };
            Some(Planned { from_result, fault: Fault::read(named)? })
        })
    }
}

impl Fault {
    /// The fault that a request selects, by the model's id or a segment of the path.
    pub fn asked_for(call: &Call) -> Option<Fault> {
        Planned::of(call).map(|planned| planned.fault)
    }

    fn read(rest: &str) -> Option<Fault> {
        let number = |prefix: &str| -> Option<u64> {
            let digits = rest.strip_prefix(prefix)?;
            let end = digits.find(|character: char| !character.is_ascii_digit()).unwrap_or(digits.len());
            digits[..end].parse().ok()
        };
        let frames = |prefix: &str| number(prefix).map(|count| count as usize);
        match rest {
            _ if rest.starts_with("html") => Some(Fault::Html),
            _ if rest.starts_with("context") => Some(Fault::Context),
            _ if rest.starts_with("empty") => Some(Fault::Empty),
            _ if rest.starts_with("garbage") => Some(Fault::Garbage),
            _ if rest.starts_with("200-error") => Some(Fault::ErrorInside200),
            _ if rest.starts_with("without-") => {
                let part = rest.strip_prefix("without-")?.trim_end_matches('-');
                PARTS.into_iter().find(|known| *known == part).map(Fault::Without)
            }
            _ => number("slow-")
                .map(|milliseconds| Fault::Slow(Duration::from_millis(milliseconds)))
                .or_else(|| frames("cut-").map(Fault::Cut))
                .or_else(|| frames("stream-error-").map(Fault::StreamError))
                .or_else(|| frames("hang-").map(Fault::Hang))
                .or_else(|| {
                    number("").filter(|status| (400..600).contains(status)).map(|s| Fault::Status(s as u16))
                }),
        }
    }

    /// The fault of a request, if its conversation has reached the fault's turn.
    pub fn of_call(format: &dyn Format, call: &Call) -> Option<Fault> {
        let planned = Planned::of(call)?;
        let reached = || format.read(call).is_ok_and(|prompt| prompt.result_count() >= planned.from_result);
        (planned.from_result == 0 || reached()).then_some(planned.fault)
    }

    /// The reply that replaces any answer, if this fault is of that kind.
    pub fn instead(self, format: &dyn Format, call: &Call) -> Option<Reply> {
        match self {
            Fault::Status(status) => Some(refused(status, format, call)),
            Fault::Html => Some(Reply::whole(502, "text/html", HTML_PAGE)),
            Fault::Context => Some(format.refuse(call, &format.too_long())),
            Fault::Empty => Some(Reply::whole(200, "application/json", Bytes::new())),
            Fault::ErrorInside200 => {
                let mut reply = refused(503, format, call);
                reply.status = http::StatusCode::OK;
                Some(reply)
            }
            Fault::Slow(_) | Fault::Cut(_) | Fault::StreamError(_) | Fault::Hang(_) | Fault::Garbage => None,
            Fault::Without(_) => None,
        }
    }

    /// Spoils a good reply.
    pub fn spoil(self, mut reply: Reply, format: &dyn Format, call: &Call) -> Reply {
        match self {
            Fault::Cut(frames) => end_after(&mut reply, frames, Ending::Cut),
            Fault::Hang(frames) => end_after(&mut reply, frames, Ending::Hang),
            Fault::StreamError(_) if !call.streaming => return refused(500, format, call),
            Fault::StreamError(frames) => {
                reply.frames.truncate(frames);
                reply.frames.push(format.stream_error(call));
            }
            Fault::Garbage => reply.frames = vec![garbage(&reply.frames)],
            Fault::Without(part) if call.streaming => {
                reply.frames = reply.frames.iter().filter_map(|frame| without(part, frame)).collect();
            }
            _ => {}
        }
        reply
    }
}

const HTML_PAGE: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
    <center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";

fn refused(status: u16, format: &dyn Format, call: &Call) -> Reply {
    let message = match status {
        401 => "The key was refused (on command).",
        402 => "Insufficient balance (on command).",
        404 => "The model does not exist (on command).",
        429 => "Rate limit reached (on command). Try again in 7 seconds.",
        529 => "Overloaded (on command).",
        _ => "This failure was asked for by the model's name.",
    };
    let reply = format.refuse(call, &Refusal::with_status(status, message));
    if status == 429 { reply.header("retry-after", "7") } else { reply }
}

/// A whole answer is one frame: it is cut in its middle, after a `content-length` of the full body.
fn end_after(reply: &mut Reply, frames: usize, ending: Ending) {
    if let [whole] = reply.frames.as_slice() {
        reply.headers.push(("content-length", whole.len().to_string()));
        reply.frames = vec![whole.slice(..whole.len() / 2)];
    } else {
        reply.frames.truncate(frames);
    }
    reply.ending = ending;
}

/// An event without a part: none if the event is the part. Other data are unchanged.
fn without(part: &str, frame: &Bytes) -> Option<Bytes> {
    let whole = || Some(frame.clone());
    let Ok(text) = str::from_utf8(frame) else { return whole() };
    let Some((head, json)) = text.split_once("data: ") else { return whole() };
    let Ok(mut event) = serde_json::from_str::<Value>(json.trim_end()) else { return whole() };
    if event["type"] == part {
        return None;
    }
    remove_member(part, &mut event);
    let end = &json[json.trim_end().len()..];
    Some(format!("{head}data: {event}{end}").into())
}

fn remove_member(name: &str, value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.remove(name);
            members.values_mut().for_each(|value| remove_member(name, value));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| remove_member(name, item)),
        _ => {}
    }
}

/// The first frame with broken content: its framing is valid, so only a real parser notices.
fn garbage(frames: &[Bytes]) -> Bytes {
    let first: &[u8] = frames.first().map_or(&[], |frame| frame.as_ref());
    let broken = first.iter().map(|byte| if *byte == b'"' { b'\'' } else { *byte });
    Bytes::from_iter(broken)
}
