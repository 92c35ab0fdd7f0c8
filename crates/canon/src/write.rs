//! JSON written by hand where it is written often.

/// Appends `text` as a JSON string with its quotes.
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    push_escaped(out, text);
    out.push(b'"');
}

/// Appends `text` as it stands between the quotes of a JSON string.
pub fn push_escaped(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    loop {
        let (plain, special) = rest.split_at(plain_length(rest));
        out.extend_from_slice(plain);
        let Some((byte, behind)) = special.split_first() else { return };
        push_escape(out, *byte);
        rest = behind;
    }
}

fn push_escape(out: &mut Vec<u8>, byte: u8) {
    let letter = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        byte => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            return out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    };
    out.extend_from_slice(&[b'\\', letter]);
}

/// Appends `,"key":`; without the comma directly behind an opening brace.
pub fn push_key(out: &mut Vec<u8>, key: &str) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Appends a number.
pub fn push_u64(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends `,"key":"text"`.
pub fn push_text(out: &mut Vec<u8>, key: &str, text: &str) {
    push_key(out, key);
    push_string(out, text);
}

/// Appends `,"key":number`.
pub fn push_count(out: &mut Vec<u8>, key: &str, number: u64) {
    push_key(out, key);
    push_u64(out, number);
}

/// How many bytes from the start stand in a JSON string as they are: no quote, no backslash, no control character.
#[inline]
pub fn plain_length(bytes: &[u8]) -> usize {
    // Most strings are short.
    match plain_words(bytes, 4) {
        (length, true) => length,
        (length, false) => length + long_plain_length(&bytes[length..]),
    }
}

#[inline(never)]
fn long_plain_length(bytes: &[u8]) -> usize {
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    let plain = blocks.iter().take_while(|block| !has_special(block)).count() * BLOCK;
    match plain_words(&bytes[plain..], BLOCK / WORD) {
        (length, true) => plain + length,
        (length, false) => {
            let rest = &bytes[plain + length..];
            plain + length + rest.iter().take_while(|byte| !is_special(**byte)).count()
        }
    }
}

/// The same within the first words; true if they hold the end.
#[inline]
fn plain_words(bytes: &[u8], most: usize) -> (usize, bool) {
    let (words, _) = bytes.as_chunks::<WORD>();
    for (index, word) in words.iter().take(most).enumerate() {
        let special = special_bits(u64::from_le_bytes(*word));
        if special != 0 {
            return (index * WORD + special.trailing_zeros() as usize / 8, true);
        }
    }
    (words.len().min(most) * WORD, false)
}

const WORD: usize = 8;
/// Long texts are looked at in blocks of this size, short enough for the compiler to use vector registers.
const BLOCK: usize = 64;

/// True if some byte of the block ends a run of plain text. No early end: the compiler makes vector instructions of it.
#[inline]
fn has_special(block: &[u8; BLOCK]) -> bool {
    block.iter().fold(false, |found, byte| found | is_special(*byte))
}

#[inline]
fn is_special(byte: u8) -> bool {
    (byte == b'"') | (byte == b'\\') | (byte < 0x20)
}

/// The top bit of each byte that ends a run of plain text. Borrows can set bits above the lowest true one, never
/// below it, and only the lowest is used.
#[inline]
fn special_bits(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    let zero_bytes = |word: u64| word.wrapping_sub(ONES) & !word;
    let quote = zero_bytes(word ^ (ONES * b'"' as u64));
    let backslash = zero_bytes(word ^ (ONES * b'\\' as u64));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (quote | backslash | control) & TOPS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn strings_read_back(text in any::<String>()) {
            let mut out = Vec::new();
            push_string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn numbers_read_back(number in any::<u64>()) {
            let mut out = Vec::new();
            push_u64(&mut out, number);
            prop_assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
    }
}
