//! Hand-written JSON output for the hot path.

/// Appends `text` as a JSON string with its quotes.
#[inline]
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    push_escaped(out, text);
    out.push(b'"');
}

/// `text` as a JSON string.
pub fn quoted(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    push_string(&mut out, text);
    out
}

/// Appends `text` as it is written between the quotes of a JSON string.
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

/// Appends `,"key":`; without the comma directly after an opening brace.
#[inline]
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
#[inline]
pub fn push_text(out: &mut Vec<u8>, key: &str, text: &str) {
    push_key(out, key);
    push_string(out, text);
}

/// Appends `,"key":number`.
#[inline]
pub fn push_count(out: &mut Vec<u8>, key: &str, number: u64) {
    push_key(out, key);
    push_u64(out, number);
}

/// Appends `[…]` with what `write` appends for each item.
pub fn push_array<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(T, &mut Vec<u8>),
) {
    out.push(b'[');
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(b']');
}

/// Appends `,"key":[…]`, or nothing where there are no items.
pub fn push_list<T>(out: &mut Vec<u8>, key: &str, items: &[T], write: impl FnMut(&T, &mut Vec<u8>)) {
    if !items.is_empty() {
        push_key(out, key);
        push_array(out, items, write);
    }
}

/// How many bytes from the start need no escape in a JSON string: no quote, no backslash, no control
/// character.
///
/// Not `#[inline]`: it would be compiled with the settings of each crate that uses it, which are slow in the
/// dev profile.
pub fn plain_length(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(block) = bytes[at..].first_chunk() {
        if let Some(special) = first_special(block) {
            return at + special;
        }
        at += BLOCK;
    }
    at + bytes[at..].iter().take_while(|byte| !is_special(**byte)).count()
}

/// This many bytes are tested together.
const BLOCK: usize = 16;

fn is_special(byte: u8) -> bool {
    byte == b'"' || byte == b'\\' || byte < 0x20
}

/// The position of the first byte that needs an escape. The loop has no branch per byte, so that the compiler
/// vectorises it.
#[inline]
fn first_special(block: &[u8; BLOCK]) -> Option<usize> {
    let judge = |byte: &u8| (*byte == b'"') | (*byte == b'\\') | (*byte < 0x20);
    if !block.iter().fold(false, |found, byte| found | judge(byte)) {
        return None;
    }
    let all = u128::from_le_bytes(*block);
    let (low, high) = (special_bits(all as u64), special_bits((all >> 64) as u64));
    let place =
        if low == 0 { 8 + high.trailing_zeros() as usize / 8 } else { low.trailing_zeros() as usize / 8 };
    Some(place)
}

/// The top bit of each byte that needs an escape. Borrows can set bits above the lowest true one, never below
/// it, and only the lowest is used.
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
        #![proptest_config(testkit::random::cases(256))]

        #[test]
        fn strings_read_back(text in any::<String>()) {
            let mut out = Vec::new();
            push_string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn plain_text_ends_at_the_first_special_byte(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let expected = bytes.iter().position(|byte| is_special(*byte)).unwrap_or(bytes.len());
            prop_assert_eq!(plain_length(&bytes), expected);
        }

        #[test]
        fn numbers_read_back(number in any::<u64>()) {
            let mut out = Vec::new();
            push_u64(&mut out, number);
            prop_assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
    }
}
