//! Strict schemas of a chat request: where the model would refuse to enforce one, the request goes without `strict`.
//! Everything else stays as the caller wrote it.

use std::ops::Range;

use crate::json::{Scanner, Syntax};
use crate::protocols::strict_schema::{Demand, Unfit, check};

/// The tools without `strict` where it would be refused.
#[derive(Debug)]
pub(super) struct Relaxed {
    pub text: Vec<u8>,
    /// Which tools, and why.
    pub reasons: Vec<(usize, Unfit)>,
}

/// The response format without `strict`, and why. None if it is sound.
pub(super) fn format(raw: &[u8]) -> Option<(Vec<u8>, Unfit)> {
    let demand = Demand::within(&mut Scanner::new(raw), "json_schema", "schema").ok()??;
    let unfit = check(&raw[demand.schema]).err()?;
    Some((relaxed(raw, &[demand.strict]), unfit))
}

/// None if all tools are sound. Parameters whose root is no object are refused with `strict` and without: what the provider
/// says of them is clearer than anything else.
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

/// The text with `false` in the place of these words.
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
