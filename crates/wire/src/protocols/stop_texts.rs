//! Texts that end an answer, for formats that refuse those of white space alone.

use serde::{Serialize, Serializer};

/// The texts of a request. Those of white space alone are not written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StopTexts<'a>(pub &'a [String]);

impl StopTexts<'_> {
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str).filter(|text| !text.trim().is_empty())
    }
}

impl Serialize for StopTexts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}
