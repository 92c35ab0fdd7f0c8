//! The parts of a list that is too long for one request to the provider.

use canon::{Error, Result};

use super::EmbeddingsRequest;
use crate::json::{self, Span};
use crate::tokens::text_tokens;

/// A text counts as this percentage of its estimated tokens. A part that is too small costs nothing, but the
/// provider refuses a part that is too large.
const MARGIN_PERCENT: u64 = 125;
/// Most requests to a provider for one request of a caller: as many as OpenAI accepts inputs in one request.
const MOST_PARTS: usize = 2048;

impl EmbeddingsRequest {
    /// The inputs in parts of at most so many inputs, and at most so many tokens where that is limited. A
    /// longer input is a part of its own: the provider decides about it.
    pub(super) fn split(&self, most_inputs: usize, most_tokens: Option<u64>) -> Result<Vec<&[Span]>> {
        let too_many = || {
            let message = format!(
                "input has {} inputs, which need more than {MOST_PARTS} requests to this provider.",
                self.inputs.len()
            );
            Error::unsupported("input", message)
        };
        if self.inputs.len().div_ceil(most_inputs) > MOST_PARTS {
            return Err(too_many());
        }
        // No token is shorter than a byte.
        let bytes: usize = self.inputs.iter().map(|place| place.len()).sum();
        let Some(most_tokens) = most_tokens.filter(|most| bytes as u64 > *most) else {
            return Ok(self.inputs.chunks(most_inputs).collect());
        };
        let (mut parts, mut first, mut tokens) = (Vec::new(), 0, 0);
        for (index, place) in self.inputs.iter().copied().enumerate() {
            let more = self.most_tokens_of(place);
            let is_full = tokens + more > most_tokens || index - first == most_inputs;
            if is_full && index > first {
                parts.push(&self.inputs[first..index]);
                if parts.len() == MOST_PARTS {
                    return Err(too_many());
                }
                (first, tokens) = (index, 0);
            }
            tokens += more;
        }
        parts.push(&self.inputs[first..]);
        Ok(parts)
    }

    /// The tokens of an input: their count where it is a list of token numbers, else a high estimate.
    fn most_tokens_of(&self, place: Span) -> u64 {
        let raw = self.input(place);
        if self.are_tokens {
            return 1 + raw.iter().filter(|byte| **byte == b',').count() as u64;
        }
        let text = str::from_utf8(raw).ok().and_then(json::string);
        let text = text.unwrap_or_default();
        (text_tokens(&text) * MARGIN_PERCENT).div_ceil(100).min(text.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::*;

    fn lengths(input: &Value, most_inputs: usize, most_tokens: Option<u64>) -> Vec<usize> {
        let body = json!({"model": "m", "input": input}).to_string();
        let request = EmbeddingsRequest::read(&Bytes::from(body)).unwrap();
        request.split(most_inputs, most_tokens).unwrap().iter().map(|part| part.len()).collect()
    }

    #[test]
    fn a_list_is_split_by_inputs_and_by_tokens() {
        let tokens = json!([[1, 2, 3], [4], [5, 6], [7, 8, 9, 10, 11], [12], [13]]);
        for (most_inputs, most_tokens, expected) in [
            (10, None, vec![6]),
            (4, None, vec![4, 2]),
            (10, Some(4), vec![2, 1, 1, 2]),
            (10, Some(3), vec![1, 2, 1, 2]),
            (1, Some(4), vec![1; 6]),
            (2, Some(8), vec![2, 2, 2]),
            (10, Some(1000), vec![6]),
        ] {
            assert_eq!(lengths(&tokens, most_inputs, most_tokens), expected, "{most_inputs} {most_tokens:?}");
        }
        assert_eq!(lengths(&json!([1, 2, 3]), 1, Some(2)), [1], "a list of numbers is one input");
    }

    #[test]
    fn a_list_that_needs_too_many_requests_is_refused() {
        for (inputs, most_inputs, most_tokens, is_refused) in [
            (2048, 1, None, false),
            (2049, 1, None, true),
            (2048, 10, Some(1), false),
            (2049, 10, Some(1), true),
            (4096, 2, None, false),
        ] {
            let body = json!({"model": "m", "input": vec!["aa"; inputs]}).to_string();
            let request = EmbeddingsRequest::read(&Bytes::from(body)).unwrap();
            let split = request.split(most_inputs, most_tokens);
            assert_eq!(split.is_err(), is_refused, "{inputs} {most_inputs} {most_tokens:?}");
        }
    }

    /// OpenAI counts one token for each of these words.
    #[test]
    fn texts_are_counted_with_a_margin() {
        let texts = vec!["word ".repeat(1000); 600];
        let parts = lengths(&json!(texts), 2048, Some(300_000));
        assert_eq!(parts.iter().sum::<usize>(), 600);
        assert!(parts.iter().all(|part| part * 1000 <= 300_000), "{parts:?}");
        assert!(parts.len() <= 4, "{parts:?}");
        // Written with escapes, a text is the same text.
        let escaped = format!("{{\"model\":\"m\",\"input\":[{}]}}", ["\"\\u0061\\u0062\""; 3].join(","));
        let request = EmbeddingsRequest::read(&Bytes::from(escaped)).unwrap();
        assert_eq!(request.split(10, Some(6)).unwrap().len(), 1);
    }
}
