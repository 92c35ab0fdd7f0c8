//! The parts of a list that is too long for one request to the provider.

use std::ops::Range;

use super::EmbeddingsRequest;
use crate::json;
use crate::tokens::text_tokens;

/// A text counts as this percentage of its estimated tokens. A part that is too small costs nothing, but the
/// provider refuses a part that is too large.
const MARGIN_PERCENT: u64 = 125;

impl EmbeddingsRequest {
    /// The inputs in parts of at most so many inputs, and at most so many tokens where that is limited. A
    /// longer input is a part of its own: the provider decides about it.
    pub(super) fn split(&self, most_inputs: usize, most_tokens: Option<u64>) -> Vec<&[Range<usize>]> {
        // No token is shorter than a byte.
        let bytes: usize = self.inputs.iter().map(Range::len).sum();
        let Some(most_tokens) = most_tokens.filter(|most| bytes as u64 > *most) else {
            return self.inputs.chunks(most_inputs).collect();
        };
        let (mut parts, mut first, mut tokens) = (Vec::new(), 0, 0);
        for (index, place) in self.inputs.iter().enumerate() {
            let more = self.most_tokens_of(place);
            let is_full = tokens + more > most_tokens || index - first == most_inputs;
            if is_full && index > first {
                parts.push(&self.inputs[first..index]);
                (first, tokens) = (index, 0);
            }
            tokens += more;
        }
        parts.push(&self.inputs[first..]);
        parts
    }

    /// The tokens of an input: their count where it is a list of token numbers, else a high estimate.
    fn most_tokens_of(&self, place: &Range<usize>) -> u64 {
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
        request.split(most_inputs, most_tokens).iter().map(|part| part.len()).collect()
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
        assert_eq!(request.split(10, Some(6)).len(), 1);
    }
}
