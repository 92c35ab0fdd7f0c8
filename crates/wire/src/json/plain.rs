//! A check of a text that is usually valid and then passes unchanged. Other texts are parsed elsewhere.

use std::ops::Range;

use super::{Kind, Scanner, Syntax, Text};

/// The fast path does not apply. The slow path decides whether the answer can be repaired.
pub struct FastPathMiss;

impl From<Syntax> for FastPathMiss {
    fn from(_: Syntax) -> Self {
        Self
    }
}

/// The fields of an object that have occurred, as bits. Readers disagree about a field that occurs twice or
/// whose name is written with escapes: such an object is not passed on unchanged.
#[derive(Default)]
pub struct SeenFields(u32);

impl SeenFields {
    /// Marks the field with this index.
    pub fn once(&mut self, bit: u32) -> Result<(), FastPathMiss> {
        let before = self.0;
        self.0 |= 1 << bit;
        if self.0 == before { Err(FastPathMiss) } else { Ok(()) }
    }

    /// Whether the first `count` fields have occurred.
    pub fn all(&self, count: u32) -> bool {
        self.0 & ((1 << count) - 1) == (1 << count) - 1
    }
}

/// The name of a field.
pub fn plain_name<'a>(json: &'a [u8], key: &Text) -> Result<&'a [u8], FastPathMiss> {
    if key.escaped { Err(FastPathMiss) } else { Ok(&json[key.range.clone()]) }
}

/// An error unless it is true.
pub fn ensure(is_plain: bool) -> Result<(), FastPathMiss> {
    if is_plain { Ok(()) } else { Err(FastPathMiss) }
}

/// A string without escapes.
pub fn plain_string(scanner: &mut Scanner<'_>) -> Result<Range<usize>, FastPathMiss> {
    if scanner.kind()? != Kind::String {
        return Err(FastPathMiss);
    }
    let text = scanner.string()?;
    if text.escaped { Err(FastPathMiss) } else { Ok(text.range) }
}
