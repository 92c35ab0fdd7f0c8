//! Ranges of a text.

use std::ops::Range;

use super::{Syntax, TOO_LONG};

/// A range of a text of less than 4 GiB, in half the memory of a `Range<usize>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The same range; an error beyond 4 GiB.
    pub fn of(range: &Range<usize>) -> Result<Self, Syntax> {
        let number = |at: usize| u32::try_from(at).map_err(|_| TOO_LONG);
        Ok(Self { start: number(range.start)?, end: number(range.end)? })
    }

    /// The same range, for slices.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The number of bytes.
    pub fn len(self) -> usize {
        self.range().len()
    }
}
