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
    OWN.iter().find(|(of, name, _)| (*of, *name) == (kind, dimension)).map(|(.., most)| *most)
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
    OWN.iter().filter_map(fault).collect()
}

/// Translated. An item that only the Responses API knows takes 48 bytes and 112 more, because it is a thought
/// with all its fields.
const OWN: [Own; 1] = [(Translated, "openai-responses request, items of no known type", 8.1)];
