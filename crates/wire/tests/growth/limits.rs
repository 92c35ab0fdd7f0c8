//! The most memory of each kind of work, as a multiple of the larger of input and output. Dimensions that
//! need more have limits of their own, with the reason. A limit that is higher than necessary is also a
//! fault.

use Kind::{Answered, Edited, Forwarded, Translated};

/// The kind of a work, as far as its memory is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The raw body is forwarded: memory for the body and the output.
    Forwarded,
    /// The raw body is edited message by message: memory for the body, the edited messages and the output.
    Edited,
    /// Translated through the canonical request.
    Translated,
    /// An answer or an error, relayed or translated.
    Answered,
}

/// Smaller differences come from rounding and from small allocations of a fixed size.
const TOLERANCE: f64 = 0.1;
/// How far a dimension's own limit may be above the measured figure.
const SLACK: f64 = 0.5;

impl Kind {
    /// The limit where a dimension has none of its own.
    fn usual(self) -> f64 {
        match self {
            Forwarded => 2.0,
            Edited => 3.0,
            Translated | Answered => 6.0,
        }
    }
}

/// A limit that applies to one dimension.
type Own = (Kind, &'static str, f64);

/// The most for a dimension.
pub fn most(kind: Kind, dimension: &str) -> f64 {
    own(kind, dimension).unwrap_or(kind.usual()) + TOLERANCE
}

fn own(kind: Kind, dimension: &str) -> Option<f64> {
    let mut all = GROUPS.iter().copied().flatten();
    all.find(|(of, name, _)| (*of, *name) == (kind, dimension)).map(|(.., most)| *most)
}

/// The faults of the limits themselves, by the highest figure of each dimension.
pub fn faults(highest: impl Fn(Kind, &str) -> Option<f64>) -> Vec<String> {
    let fault = |(kind, name, most): &Own| match highest(*kind, name) {
        None => Some(format!("{name} ({kind:?}) has a limit of its own, and is not measured")),
        Some(found) if found <= kind.usual() => Some(format!("{name} ({kind:?}) needs no limit of its own")),
        Some(found) if found < most - SLACK => {
            Some(format!("{name} ({kind:?}) takes {found:.1}: its limit of {most} can go down"))
        }
        Some(_) => None,
    };
    GROUPS.iter().copied().flatten().filter_map(fault).collect()
}

const GROUPS: [&[Own]; 4] = [&IDS, &EDITED, &SMALL, &GATHERED];

/// Forwarded. The ids of the conversation's calls are kept for the answer (24 bytes and the id, in a tree); a
/// call may be as short as 60 bytes. Blocks of thinking are read as a whole turn.
const IDS: [Own; 5] = [
    (Forwarded, "anthropic-messages request, calls and results", 2.5),
    (Forwarded, "anthropic-messages request, least calls and results", 2.7),
    (Forwarded, "anthropic-messages request, numbers of a call", 2.7),
    (Forwarded, "anthropic-messages request, rounds of tools", 2.3),
    (Forwarded, "openai-responses request, blocks of thinking", 2.3),
];

/// Forwarded with quirks. Besides the body, the edited messages and the output, each call needs its place and
/// its id (20 bytes, and the entry of its id in a tree) and its new id (33 bytes). Without them the messages
/// would be edited twice.
const EDITED: [Own; 4] = [
    (Edited, "openai-chat request, length of arguments", 4.3),
    (Edited, "openai-chat request, rounds of tools", 4.2),
    (Edited, "openai-chat request, tool calls and results", 4.3),
    (Edited, "openai-chat request, tool calls with one id", 3.9),
];

/// Translated: entries that are smaller than their canonical form. A message takes 56 bytes and each part of
/// it 48, besides its text: 105 for the 30 of `{"role":"user","content":"x"},`. A tool takes 88, for the 22
/// of a hosted one. A text of a list (`"w",`) takes 24 bytes and the text. With the body, the output and 8
/// KiB for 128 losses, that is more than 6 times the input. Tools with changed names are kept under both
/// names until the answer has arrived.
const SMALL: [Own; 18] = [
    (Translated, "anthropic-messages request, least calls and results", 7.8),
    (Translated, "anthropic-messages request, least properties of a tool", 7.3),
    (Translated, "anthropic-messages request, least properties of an output", 7.3),
    (Translated, "anthropic-messages request, least tools", 8.6),
    (Translated, "anthropic-messages request, names of tools that become one", 8.8),
    (Translated, "gemini request, empty parts", 7.3),
    (Translated, "gemini request, hosted tools", 11.6),
    (Translated, "gemini request, least messages", 7.1),
    (Translated, "gemini request, least properties of an output", 7.3),
    (Translated, "gemini request, names of tools that become one", 7.8),
    (Translated, "gemini request, parts of an answer", 7.0),
    (Translated, "openai-chat request, names of tools that become one", 7.6),
    (Translated, "openai-responses request, hosted tools", 6.5),
    (Translated, "openai-responses request, items of no known type", 9.5),
    (Translated, "openai-responses request, least properties of a tool", 7.3),
    (Translated, "openai-responses request, least properties of an output", 7.3),
    (Translated, "openai-responses request, least tools", 8.5),
    (Translated, "openai-responses request, names of tools that become one", 8.6),
];

/// Translated. A call takes 80 bytes and its texts; its result takes 48 and the part that holds it. Results
/// are matched to calls by the call's id: the place and id of each call and the place of each result take 40
/// to 60 more.
const GATHERED: [Own; 9] = [
    (Translated, "anthropic-messages request, calls and results", 7.2),
    (Translated, "anthropic-messages request, calls with one id", 6.9),
    (Translated, "gemini request, calls and results", 6.4),
    (Translated, "gemini request, calls and results with ids", 6.6),
    (Translated, "gemini request, results of calls that nobody made", 7.0),
    (Translated, "gemini request, tools in JSON schema", 9.6),
    (Translated, "openai-responses request, calls and results", 6.7),
    (Translated, "openai-responses request, calls of free text", 6.6),
    (Translated, "openai-responses request, calls with one id", 6.4),
];
