//! The most memory of each kind of work, as a multiple of the larger of input and output.

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

impl Kind {
    /// The largest multiple.
    pub fn limit(self) -> f64 {
        TOLERANCE
            + match self {
                Forwarded => 2.0,
                Edited => 3.0,
                Translated | Answered => 6.0,
            }
    }
}
