//! Strict schemas of a chat request. Where the model would refuse to enforce one, the request is sent without
//! `strict`. Everything else stays unchanged.

use std::ops::Range;

use crate::json::{Scanner, Syntax};
use crate::protocols::strict_schema::{Demand, Unfit, check};

/// The tools without a `strict` that would be refused.
#[derive(Debug)]
pub(super) struct Relaxed {
    pub text: Vec<u8>,
    /// The changed tools, and the reasons.
    pub reasons: Vec<(usize, Unfit)>,
}

/// The response format without `strict`, and the reason. None if it is valid.
pub(super) fn format(raw: &[u8]) -> Option<(Vec<u8>, Unfit)> {
    let demand = Demand::within(&mut Scanner::new(raw), "json_schema", "schema").ok()??;
    let unfit = check(&raw[demand.schema]).err()?;
    Some((relaxed(raw, &[demand.strict]), unfit))
}

/// None if all tools are valid. Parameters whose root is not an object are refused with and without `strict`:
/// the provider's error is then clearest.
pub(super) fn tools(raw: &[u8]) -> Option<Relaxed> {
    let (mut words, mut reasons) = (Vec::new(), Vec::new());
    let read = Scanner::new(raw).array::<Syntax>(|scanner, index| {
        if let Some(demand) = Demand::within(scanner, "function", "parameters")?
            && let Err(unfit) = check(&raw[demand.schema])
            && unfit != Unfit::Root
        {
            words.push(demand.strict);
            reasons.push((index, unfit));
        }
        Ok(())
    });
    (read.is_ok() && !words.is_empty()).then(|| Relaxed { text: relaxed(raw, &words), reasons })
}

/// The text with `false` in these ranges.
fn relaxed(raw: &[u8], words: &[Range<usize>]) -> Vec<u8> {
    let mut text = Vec::with_capacity(raw.len() + words.len());
    let mut copied = 0;
    for word in words {
        text.extend_from_slice(&raw[copied..word.start]);
        text.extend_from_slice(b"false");
        copied = word.end;
    }
    text.extend_from_slice(&raw[copied..]);
    text
}
