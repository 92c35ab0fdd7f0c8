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

const GROUPS: [&[Own]; 2] = [&SMALL, &GATHERED];

/// Translated: entries that are smaller than their canonical form. A tool takes 80 bytes, its name and its
/// text, for the 20 of a hosted one (`{"googleSearch":{}},`). All are read before the provider's format
/// decides which it takes. A part takes 48 bytes besides its text. An item that only the Responses API knows
/// takes 112 more, because it is a thought with all its fields.
const SMALL: [Own; 4] = [
    (Translated, "gemini request, hosted tools", 11.6),
    (Translated, "gemini request, parts of an answer", 7.0),
    (Translated, "openai-responses request, hosted tools", 6.5),
    (Translated, "openai-responses request, items of no known type", 8.1),
];

/// Translated. A call takes 80 bytes and its texts; its result takes 48 and the part that holds it. Results
/// are matched to calls by the call's id: the place and id of each call and the place of each result take 40
/// to 60 more.
const GATHERED: [Own; 9] = [
    (Translated, "anthropic-messages request, calls and results", 6.9),
    (Translated, "anthropic-messages request, calls with one id", 6.7),
    (Translated, "anthropic-messages request, least calls and results", 7.5),
    (Translated, "gemini request, calls and results", 6.2),
    (Translated, "gemini request, calls and results with ids", 6.6),
    (Translated, "gemini request, results of calls that nobody made", 6.8),
    (Translated, "openai-responses request, calls and results", 6.4),
    (Translated, "openai-responses request, calls of free text", 6.2),
    (Translated, "openai-responses request, calls with one id", 6.4),
];
