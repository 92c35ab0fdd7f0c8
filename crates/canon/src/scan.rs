//! Tests over many bytes at once. The loops have no branch per byte, so that the compiler vectorises them.
//!
//! Nothing here is `#[inline]`: an inlined function would be compiled with the settings of each crate that
//! uses it, which are slow in the dev profile.

/// This many bytes are tested together.
const BLOCK: usize = 64;

/// How many bytes from the start are ASCII, or a few less: the rest begins at a character.
pub fn ascii_length(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(block) = bytes[at..].first_chunk::<BLOCK>() {
        if !all(block, |byte| byte < 0x80) {
            return at;
        }
        at += BLOCK;
    }
    if all(&bytes[at..], |byte| byte < 0x80) { bytes.len() } else { at }
}

/// Whether there is a `u` after a backslash: the JSON text may have a Unicode escape.
pub fn may_have_unicode_escape(json: &[u8]) -> bool {
    let behind = json.get(1..).unwrap_or_default();
    let mut blocks = json.chunks(BLOCK).zip(behind.chunks(BLOCK));
    blocks.any(|(block, behind)| {
        let pairs = block.iter().zip(behind);
        pairs.fold(false, |found, (first, second)| found | ((*first == b'\\') & (*second == b'u')))
    })
}

/// Whether all bytes are printable ASCII, the space included.
pub fn is_printable(bytes: &[u8]) -> bool {
    bytes.chunks(BLOCK).all(|block| all(block, |byte| byte.wrapping_sub(0x20) < 0x5f))
}

/// Whether all bytes are printable ASCII that needs no quotes in `name=value`: no space, quote, backslash or
/// equals sign.
pub fn is_word(bytes: &[u8]) -> bool {
    let is_plain =
        |byte: u8| (byte.wrapping_sub(0x21) < 0x5e) & (byte != b'"') & (byte != b'\\') & (byte != b'=');
    bytes.chunks(BLOCK).all(|block| all(block, is_plain))
}

#[inline]
fn all(block: &[u8], is_good: impl Fn(u8) -> bool) -> bool {
    block.iter().fold(true, |good, byte| good & is_good(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(testkit::random::cases(256))]

        #[test]
        fn blocks_give_the_same_results_as_single_bytes(
            mut bytes in proptest::collection::vec(any::<u8>().prop_map(|byte| byte & 0x7f), 0..300),
            others in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..3),
        ) {
            prop_assert_eq!(ascii_length(&bytes), bytes.len());
            for (at, byte) in others {
                if let Some(place) = at.checked_rem(bytes.len()).and_then(|at| bytes.get_mut(at)) {
                    *place = byte;
                }
            }
            let length = ascii_length(&bytes);
            prop_assert!(bytes[..length].is_ascii());
            prop_assert_eq!(length == bytes.len(), bytes.is_ascii());
            prop_assert_eq!(is_printable(&bytes), bytes.iter().all(|byte| matches!(byte, 0x20..0x7f)));
            let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'=');
            prop_assert_eq!(is_word(&bytes), bytes.iter().all(is_plain));
        }

        #[test]
        fn printable_bytes_and_words_are_recognised(text in "[ -~]{0,200}", word in "[!#-<>-\\[\\]-~]{0,200}") {
            prop_assert!(is_printable(text.as_bytes()) && is_word(word.as_bytes()));
            prop_assert_eq!(is_word(text.as_bytes()), !text.contains([' ', '"', '\\', '=']));
        }

        #[test]
        fn a_unicode_escape_is_found_anywhere(before in "[a-z\\\\]{0,150}", behind in "[a-z\\\\]{0,150}") {
            let text = format!("{before}{behind}");
            prop_assert_eq!(may_have_unicode_escape(text.as_bytes()), text.contains("\\u"));
            let escaped = format!("{before}\\u00e9{behind}");
            prop_assert!(may_have_unicode_escape(escaped.as_bytes()));
        }
    }
}
