//! A check of a text that is usually valid and then passes unchanged. Other texts are parsed elsewhere.

use std::ops::Range;

use super::{Kind, Scanner, Syntax, Text};

/// The fast path does not apply. The slow path decides whether the answer can be repaired.
pub struct NotPlain;

impl From<Syntax> for NotPlain {
    fn from(_: Syntax) -> Self {
        Self
    }
}

/// The fields of an object that have occurred, as bits. Readers disagree about a field that occurs twice or
/// whose name is written with escapes: such an object is not passed on unchanged.
#[derive(Default)]
pub struct Met(u32);

impl Met {
    /// Marks the field with this index.
    pub fn once(&mut self, bit: u32) -> Result<(), NotPlain> {
        let before = self.0;
        self.0 |= 1 << bit;
        if self.0 == before { Err(NotPlain) } else { Ok(()) }
    }

    /// Whether the first `count` fields have occurred.
    pub fn all(&self, count: u32) -> bool {
        self.0 & ((1 << count) - 1) == (1 << count) - 1
    }
}

/// The name of a field.
pub fn plain_name<'a>(json: &'a [u8], key: &Text) -> Result<&'a [u8], NotPlain> {
    if key.escaped { Err(NotPlain) } else { Ok(&json[key.range.clone()]) }
}

/// An error unless it is true.
pub fn ensure(is_plain: bool) -> Result<(), NotPlain> {
    if is_plain { Ok(()) } else { Err(NotPlain) }
}

/// A string without escapes.
pub fn plain_string(scanner: &mut Scanner<'_>) -> Result<Range<usize>, NotPlain> {
    if scanner.kind()? != Kind::String {
        return Err(NotPlain);
    }
    let text = scanner.string()?;
    if text.escaped { Err(NotPlain) } else { Ok(text.range) }
}
