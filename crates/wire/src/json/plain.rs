//! A look at a text that is usually in order and then passes as it stands. What is not in order is taken apart elsewhere.

use std::ops::Range;

use super::{Kind, Scanner, Syntax, Text};

/// The fast path does not apply. The slow path decides whether the answer can be repaired.
pub struct NotPlain;

impl From<Syntax> for NotPlain {
    fn from(_: Syntax) -> Self {
        Self
    }
}

/// The fields of an object that were met, as bits. A field that comes twice, or whose name is written with escapes, is
/// understood by different readers differently: it does not go to the caller as it stands.
#[derive(Default)]
pub struct Met(u32);

impl Met {
    /// The field of this number is met.
    pub fn once(&mut self, bit: u32) -> Result<(), NotPlain> {
        let before = self.0;
        self.0 |= 1 << bit;
        if self.0 == before { Err(NotPlain) } else { Ok(()) }
    }

    /// Whether so many fields from the first on were met.
    pub fn all(&self, count: u32) -> bool {
        self.0 & ((1 << count) - 1) == (1 << count) - 1
    }
}

/// The name of a field.
pub fn plain_name<'a>(json: &'a [u8], key: &Text) -> Result<&'a [u8], NotPlain> {
    if key.escaped { Err(NotPlain) } else { Ok(&json[key.range.clone()]) }
}

/// An error unless it is so.
pub fn ensure(is_plain: bool) -> Result<(), NotPlain> {
    if is_plain { Ok(()) } else { Err(NotPlain) }
}

/// A string without escapes.
pub fn plain_string(scanner: &mut Scanner<'_>) -> Result<Range<usize>, NotPlain> {
    if scanner.kind()? != Kind::String {
        return Err(NotPlain);
    }
    let text = scanner.string()?;
    match text.escaped {
        true => Err(NotPlain),
        false => Ok(text.range),
    }
}
