//! Most memory of each kind of work, as a multiple of the larger of what is read and what is written, with the works that have a
//! limit of their own and why. Limits hold what was reached: one that has become too wide is a fault too.

use Kind::{Answered, Edited, Forwarded, Translated};

/// What is done, as far as memory is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The raw body goes on: it, and what is written.
    Forwarded,
    /// The same message by message: the messages as they are edited stand beside both.
    Edited,
    /// By way of the canonical request.
    Translated,
    /// An answer or an error, relayed or translated.
    Answered,
}

/// Below that, figures differ by what is rounded and by small things of a fixed size.
const TOLERANCE: f64 = 0.1;
/// How much wider than what is measured a limit of one's own may be.
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

/// The limit of a dimension's own.
type Own = (Kind, &'static str, f64);

/// The most for a dimension.
pub fn most(kind: Kind, dimension: &str) -> f64 {
    own(kind, dimension).unwrap_or(kind.usual()) + TOLERANCE
}

fn own(kind: Kind, dimension: &str) -> Option<f64> {
    let mut all = GROUPS.iter().copied().flatten();
    all.find(|(of, name, _)| (*of, *name) == (kind, dimension)).map(|(.., most)| *most)
}

/// What is wrong with the limits themselves, by the highest figure of each dimension.
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

const GROUPS: [&[Own]; 6] = [&NAMES, &IDS, &EDITED, &SMALL, &GATHERED, &ANSWERS];

/// Forwarded. The names of one object are told apart while it is read, by a hash of 8 bytes each in a table that is half full at
/// least, up to 32,768 names: more than a member of 7 bytes itself. Where an object is edited, each of its members takes 16 bytes.
const NAMES: [Own; 15] = [
    (Forwarded, "anthropic-messages request, least properties of a tool", 3.2),
    (Forwarded, "anthropic-messages request, least properties of an output", 3.2),
    (Forwarded, "anthropic-messages request, unknown fields of one part", 2.4),
    (Forwarded, "gemini request, labels", 2.2),
    (Forwarded, "gemini request, least properties of a tool", 3.2),
    (Forwarded, "gemini request, least properties of a tool in JSON schema", 3.2),
    (Forwarded, "gemini request, least properties of an output", 3.2),
    (Forwarded, "gemini request, unknown fields of one part", 2.4),
    (Forwarded, "gemini request, unknown settings", 2.4),
    (Forwarded, "openai-chat request, logit bias", 3.1),
    (Forwarded, "openai-chat request, unknown fields of one message", 2.4),
    (Forwarded, "openai-completions request, logit bias", 3.1),
    (Forwarded, "openai-responses request, least properties of a tool", 3.2),
    (Forwarded, "openai-responses request, least properties of an output", 3.2),
    (Forwarded, "openai-responses request, unknown fields of one item", 2.4),
];

/// Forwarded. The ids of the conversation's calls are kept for the answer (24 bytes and the id, in a tree), and so is what calls the
/// conversation; an id of any length is kept, written anew in the provider's alphabet, and the messages with it.
const IDS: [Own; 7] = [
    (Forwarded, "anthropic-messages request, calls and results", 2.5),
    (Forwarded, "anthropic-messages request, least calls and results", 2.8),
    (Forwarded, "anthropic-messages request, length of a user's id", 3.1),
    (Forwarded, "anthropic-messages request, length of an id", 6.2),
    (Forwarded, "anthropic-messages request, numbers of a call", 2.8),
    (Forwarded, "anthropic-messages request, rounds of tools", 2.4),
    (Forwarded, "openai-responses request, blocks of thinking", 3.0),
];

/// Forwarded with quirks. Beside the body, the messages as they are edited and the body that is written, each call's place and id
/// (20 bytes, and the entry of its id in a tree) and what it is renamed to (33 bytes) are kept, or the messages are edited twice.
const EDITED: [Own; 6] = [
    (Edited, "openai-chat request, length of arguments", 4.4),
    (Edited, "openai-chat request, names of speakers", 3.4),
    (Edited, "openai-chat request, rounds of tools", 4.2),
    (Edited, "openai-chat request, thinking", 3.4),
    (Edited, "openai-chat request, tool calls and results", 4.4),
    (Edited, "openai-chat request, tool calls with one id", 3.9),
];

/// Translated, entries that are smaller than what must stand for each. A message takes 56 bytes and each part of it 48, beside its
/// text: 105 for the 30 of `{"role":"user","content":"x"},`, and 49 for the 27 of a part, before a format's own turn of 40 bytes and
/// part of 32 to 48 stand beside them, as they must until it is known what follows. A tool takes 88, for the 22 of a hosted one. A
/// text of a list (`"w",`) takes 24 bytes and the text. With the body itself, and the 16 KiB that 256 losses take, that is
/// more than 6 times what came.
const SMALL: [Own; 46] = [
    (Translated, "anthropic-messages request, blocks of thinking", 7.0),
    (Translated, "anthropic-messages request, empty parts", 8.3),
    (Translated, "anthropic-messages request, hosted tools", 12.0),
    (Translated, "anthropic-messages request, least calls and results", 8.6),
    (Translated, "anthropic-messages request, least messages", 8.2),
    (Translated, "anthropic-messages request, least parts", 8.3),
    (Translated, "anthropic-messages request, least properties of a tool", 6.4),
    (Translated, "anthropic-messages request, least properties of an output", 7.4),
    (Translated, "anthropic-messages request, least system blocks", 8.3),
    (Translated, "anthropic-messages request, least tools", 9.1),
    (Translated, "anthropic-messages request, metadata", 7.5),
    (Translated, "anthropic-messages request, names of tools that become one", 8.5),
    (Translated, "anthropic-messages request, parts of a result", 9.2),
    (Translated, "anthropic-messages request, stop words", 8.2),
    (Translated, "anthropic-messages request, system blocks", 6.2),
    (Translated, "anthropic-messages request, unknown fields of parts", 7.7),
    (Translated, "gemini request, empty parts", 7.9),
    (Translated, "gemini request, hosted tools", 10.7),
    (Translated, "gemini request, instructions", 8.5),
    (Translated, "gemini request, least messages", 8.0),
    (Translated, "gemini request, least parts", 7.8),
    (Translated, "gemini request, least properties of an output", 7.4),
    (Translated, "gemini request, names of tools that become one", 7.2),
    (Translated, "gemini request, parts of an answer", 8.3),
    (Translated, "gemini request, pieces of code", 6.6),
    (Translated, "gemini request, stop words", 8.2),
    (Translated, "gemini request, unknown fields of parts", 8.8),
    (Translated, "openai-chat request, empty parts", 8.3),
    (Translated, "openai-chat request, least messages", 8.2),
    (Translated, "openai-chat request, least parts", 8.3),
    (Translated, "openai-chat request, metadata", 7.5),
    (Translated, "openai-chat request, names of tools that become one", 7.2),
    (Translated, "openai-chat request, stop words", 8.2),
    (Translated, "openai-chat request, unknown fields of parts", 7.7),
    (Translated, "openai-completions request, metadata", 7.5),
    (Translated, "openai-completions request, stop words", 8.2),
    (Translated, "openai-responses request, hosted tools", 6.6),
    (Translated, "openai-responses request, items of no known type", 10.5),
    (Translated, "openai-responses request, least answers", 7.0),
    (Translated, "openai-responses request, least messages", 8.2),
    (Translated, "openai-responses request, least properties of a tool", 6.4),
    (Translated, "openai-responses request, least properties of an output", 7.4),
    (Translated, "openai-responses request, least tools", 9.0),
    (Translated, "openai-responses request, metadata", 7.5),
    (Translated, "openai-responses request, names of tools that become one", 8.1),
    (Translated, "openai-responses request, parts of a result", 6.4),
];

/// Translated. Turns are gathered before they are written: a result goes to the turn of its call, ids are made unique, names of
/// tools too. A call takes 80 bytes and its texts, its place and its id 40 to 60, the format's own 64 to 96.
const GATHERED: [Own; 23] = [
    (Translated, "anthropic-messages request, calls and results", 7.9),
    (Translated, "anthropic-messages request, calls with one id", 8.1),
    (Translated, "anthropic-messages request, documents", 8.2),
    (Translated, "anthropic-messages request, length of a user's id", 6.4),
    (Translated, "anthropic-messages request, numbers of a call", 6.5),
    (Translated, "anthropic-messages request, pictures by address", 6.5),
    (Translated, "anthropic-messages request, redacted thinking", 7.1),
    (Translated, "anthropic-messages request, thinking", 6.7),
    (Translated, "gemini request, calls and results", 6.9),
    (Translated, "gemini request, calls and results of many names", 6.7),
    (Translated, "gemini request, calls and results with ids", 7.5),
    (Translated, "gemini request, results of calls that nobody made", 7.8),
    (Translated, "gemini request, rounds of tools", 6.7),
    (Translated, "gemini request, thinking", 6.2),
    (Translated, "gemini request, tools in JSON schema", 9.0),
    (Translated, "openai-chat request, rounds of tools", 6.9),
    (Translated, "openai-chat request, tool calls and results", 6.5),
    (Translated, "openai-chat request, tool calls with one id", 6.6),
    (Translated, "openai-responses request, calls and results", 7.2),
    (Translated, "openai-responses request, calls of free text", 7.4),
    (Translated, "openai-responses request, calls with one id", 7.2),
    (Translated, "openai-responses request, files", 6.9),
    (Translated, "openai-responses request, rounds of tools", 7.0),
];

/// Answers. What a caller's format wants whole at its end is kept as text of the larger form beside the body and the event;
/// candidates are 250 to 400 bytes each, for the 85 of the smallest.
const ANSWERS: [Own; 17] = [
    (Answered, "anthropic-messages answer, calls", 7.0),
    (Answered, "anthropic-messages answer, thinking", 10.2),
    (Answered, "bedrock-converse answer, calls", 6.2),
    (Answered, "gemini answer, calls", 6.2),
    (Answered, "gemini answer, citations", 6.4),
    (Answered, "gemini answer, citations of a long text", 6.2),
    (Answered, "gemini answer, log probabilities", 9.3),
    (Answered, "gemini stream, signatures", 7.5),
    (Answered, "openai-chat answer, calls", 7.6),
    (Answered, "openai-chat answer, candidates", 13.2),
    (Answered, "openai-chat answer, details of thinking", 9.3),
    (Answered, "openai-chat answer, length of a text", 10.3),
    (Answered, "openai-chat answer, log probabilities", 9.3),
    (Answered, "openai-completions answer, candidates", 10.0),
    (Answered, "openai-completions answer, log probabilities", 8.8),
    (Answered, "openai-responses answer, thinking", 7.4),
    (Answered, "openai-responses stream, items", 7.8),
];
