//! Converts a vector between a JSON array and base64.
//!
//! An answer has up to 2,048 vectors of 3,072 numbers. A vector therefore stays text from the provider to the
//! caller: it is copied where both sides use the same form, otherwise converted number by number. No tree of
//! values is built.
//!
//! OpenAI's base64 is float32, little-endian, in the standard alphabet with padding.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use canon::{Error, ErrorKind, Result, Retry};
use serde_json::value::RawValue;

use super::Element;

/// The form of vectors that a caller wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VectorForm {
    /// An array of numbers: the default of OpenAI's API.
    #[default]
    Numbers,
    /// Base64 of float32: the default of OpenAI's SDKs for Python and Node.
    Base64,
}

/// How the vectors of an answer are read.
#[derive(Clone, Copy, Debug, Default)]
pub struct VectorFormat {
    /// The caller's form.
    pub form: VectorForm,
    /// Their length, where it is known.
    pub dimensions: Option<usize>,
    /// The number type of the bytes.
    pub element: Element,
    /// Servers of the provider's format may answer with float64, as vLLM 0.6 did.
    pub may_be_float64: bool,
    /// They are normalised to unit length.
    pub scaled: bool,
}

/// Bytes per encoding step: whole float32 values and whole groups of three bytes, so that only the end is
/// padded.
const CHUNK: usize = 3 * 1024;

/// The low bits of a float64 that are zero in every value that was a float32 before.
const LOST_BITS: u32 = (1 << 29) - 1;

/// Writes a vector of an answer in the caller's form, and returns the number of its elements.
///
/// The provider's form is detected from the value: many servers answer with an array although base64 was
/// requested.
pub fn push_vector(out: &mut Vec<u8>, vector: &RawValue, reading: VectorFormat) -> Result<usize> {
    let VectorFormat { form, element, scaled, .. } = reading;
    let raw = vector.get();
    match (raw.starts_with('"'), form) {
        (true, form) if element == Element::Int8 => push_int8(out, raw, form),
        (false, form) if scaled => push_scaled(out, raw, form),
        (false, VectorForm::Numbers) => {
            let count = each_number(raw, |_| ())?;
            out.extend_from_slice(raw.as_bytes());
            Ok(count)
        }
        (false, VectorForm::Base64) => push_base64(out, raw),
        (true, _) => push_decoded(out, raw, reading),
    }
}

/// Whole numbers from -128 to 127, one byte each.
fn push_int8(out: &mut Vec<u8>, string: &str, form: VectorForm) -> Result<usize> {
    let bytes = STANDARD.decode(string.trim_matches('"')).map_err(|_| unreadable())?;
    if bytes.is_empty() {
        return Err(unreadable());
    }
    let numbers = bytes.iter().map(|byte| f32::from(byte.cast_signed()));
    push_all(out, numbers, form)?;
    Ok(bytes.len())
}

/// The vector divided by its length. A zero vector has no direction and stays unchanged.
fn push_scaled(out: &mut Vec<u8>, array: &str, form: VectorForm) -> Result<usize> {
    let mut numbers = Vec::with_capacity(array.len() / 16);
    let count = each_number(array, |number| numbers.push(f64::from(number)))?;
    let length = numbers.iter().map(|number| number * number).sum::<f64>().sqrt();
    let divisor = if length > 0.0 { length } else { 1.0 };
    push_all(out, numbers.iter().map(|number| (number / divisor) as f32), form)?;
    Ok(count)
}

/// Writes numbers in the caller's form.
fn push_all(out: &mut Vec<u8>, numbers: impl Iterator<Item = f32>, form: VectorForm) -> Result<()> {
    match form {
        VectorForm::Numbers => push_numbers(out, numbers),
        VectorForm::Base64 => push_floats(out, numbers),
    }
}

fn push_base64(out: &mut Vec<u8>, array: &str) -> Result<usize> {
    let start = out.len();
    let mut encoder = Encoder { out, bytes: [0; CHUNK], filled: 0 };
    encoder.out.push(b'"');
    let written = each_number(array, |number| encoder.push(number));
    match written {
        Ok(_) => {
            encoder.flush();
            encoder.out.push(b'"');
        }
        Err(_) => encoder.out.truncate(start),
    }
    written
}

fn push_decoded(out: &mut Vec<u8>, string: &str, reading: VectorFormat) -> Result<usize> {
    let VectorFormat { form, dimensions, may_be_float64, .. } = reading;
    // Some encoders escape the slashes of the alphabet.
    let text: std::borrow::Cow<'_, str> = if string.contains('\\') {
        serde_json::from_str::<String>(string).map_err(|_| unreadable())?.into()
    } else {
        string.trim_matches('"').into()
    };
    let bytes = STANDARD.decode(text.as_bytes()).map_err(|_| unreadable())?;
    let is_double = may_be_float64 && is_float64(&bytes, dimensions);
    let width = if is_double { 8 } else { 4 };
    if bytes.is_empty() || !bytes.len().is_multiple_of(width) {
        return Err(unreadable());
    }
    let count = bytes.len() / width;
    let numbers = bytes.chunks_exact(width).map(|chunk| match *chunk {
        [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
        [a, b, c, d, e, f, g, h] => f64::from_le_bytes([a, b, c, d, e, f, g, h]) as f32,
        _ => f32::NAN,
    });
    if form == VectorForm::Base64 && !is_double {
        // Bytes of types other than float32 can be detected by values that are not finite.
        if !numbers.clone().all(f32::is_finite) {
            return Err(unreadable());
        }
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return Ok(count);
    }
    let start = out.len();
    let written = match form {
        VectorForm::Numbers => push_numbers(out, numbers),
        VectorForm::Base64 => push_floats(out, numbers),
    };
    if written.is_err() {
        out.truncate(start);
    }
    written.map(|()| count)
}

/// The shortest decimals that read back as the same float32. Those of the float64 would show digits that the
/// provider never computed.
fn push_numbers(out: &mut Vec<u8>, numbers: impl Iterator<Item = f32>) -> Result<()> {
    out.push(b'[');
    for (index, number) in numbers.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        if !number.is_finite() {
            return Err(unreadable());
        }
        serde_json::to_writer(&mut *out, &number).map_err(|_| unreadable())?;
    }
    out.push(b']');
    Ok(())
}

fn push_floats(out: &mut Vec<u8>, numbers: impl Iterator<Item = f32>) -> Result<()> {
    out.push(b'"');
    let mut encoder = Encoder { out, bytes: [0; CHUNK], filled: 0 };
    for number in numbers {
        if !number.is_finite() {
            return Err(unreadable());
        }
        encoder.push(number);
    }
    encoder.flush();
    encoder.out.push(b'"');
    Ok(())
}

/// vLLM 0.6 answered with float64 where OpenAI's API has float32. The length decides where it is known.
/// Otherwise the values do: former float32 values have zeros in the low bits of every second word, which no
/// vector of float32 has.
fn is_float64(bytes: &[u8], dimensions: Option<usize>) -> bool {
    if bytes.is_empty() || !bytes.len().is_multiple_of(8) {
        return false;
    }
    match dimensions {
        Some(count) if bytes.len() == 4 * count => false,
        Some(count) if bytes.len() == 8 * count => true,
        _ => {
            let low_word = |pair: &[u8]| u32::from_le_bytes([pair[0], pair[1], pair[2], pair[3]]);
            bytes.chunks_exact(8).all(|pair| low_word(pair) & LOST_BITS == 0)
                && bytes.iter().any(|byte| *byte != 0)
        }
    }
}

/// Calls back with each number of a JSON array, and returns how many there were.
fn each_number(array: &str, mut on_number: impl FnMut(f32)) -> Result<usize> {
    let inside = array.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let inside = inside.ok_or_else(unreadable)?;
    let mut count = 0;
    for part in inside.split(',') {
        on_number(number(part.trim_ascii()).ok_or_else(unreadable)?);
        count += 1;
    }
    Ok(count)
}

/// Decimals are read directly as float32: by way of float64 they would be rounded twice.
fn number(text: &str) -> Option<f32> {
    // Rust reads `inf` and `nan` as numbers; JSON has no such numbers.
    let first = *text.as_bytes().first()?;
    let number: f32 = (first == b'-' || first.is_ascii_digit()).then(|| text.parse().ok())??;
    number.is_finite().then_some(number)
}

struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    bytes: [u8; CHUNK],
    filled: usize,
}

impl Encoder<'_> {
    fn push(&mut self, number: f32) {
        self.bytes[self.filled..self.filled + 4].copy_from_slice(&number.to_le_bytes());
        self.filled += 4;
        if self.filled == CHUNK {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let start = self.out.len();
        self.out.resize(start + self.filled.div_ceil(3) * 4, 0);
        let written = STANDARD.encode_slice(&self.bytes[..self.filled], &mut self.out[start..]);
        debug_assert!(written.is_ok(), "four characters hold three bytes");
        self.filled = 0;
    }
}

fn unreadable() -> Error {
    let message = "The provider's answer has an embedding that is not a vector of numbers.";
    Error::upstream(ErrorKind::Upstream, Retry::Elsewhere, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(json: &str, form: VectorForm, dimensions: Option<usize>) -> Result<(String, usize)> {
        let vector: &RawValue = serde_json::from_str(json).unwrap();
        let mut out = Vec::new();
        let result = push_vector(
            &mut out,
            vector,
            VectorFormat { form, dimensions, may_be_float64: true, ..VectorFormat::default() },
        );
        if result.is_err() {
            assert!(out.is_empty(), "a refused vector writes nothing");
        }
        result.map(|count| (String::from_utf8(out).unwrap(), count))
    }

    fn base64_of(bytes: impl IntoIterator<Item = u8>) -> String {
        format!("\"{}\"", STANDARD.encode(bytes.into_iter().collect::<Vec<u8>>()))
    }

    fn singles(numbers: &[f32]) -> String {
        base64_of(numbers.iter().flat_map(|number| number.to_le_bytes()))
    }

    fn doubles(numbers: &[f64]) -> String {
        base64_of(numbers.iter().flat_map(|number| number.to_le_bytes()))
    }

    /// Bits spread over all exponents, without a generator of our own: the golden ratio's multiples.
    fn many() -> Vec<f32> {
        let bits = (1..=5_000u32).map(|step| step.wrapping_mul(0x9e37_79b9));
        bits.map(f32::from_bits).filter(|number| number.is_finite()).collect()
    }

    #[test]
    fn digits_stay_unchanged_in_arrays() {
        let array = "[ -0.012345678901234567, 1.50e-3,0, -0.0 ]";
        assert_eq!(converted(array, VectorForm::Numbers, None).unwrap(), (array.to_owned(), 4));
    }

    #[test]
    fn numbers_become_little_endian_float32() {
        let (text, count) = converted("[1, -2.5, 0.1]", VectorForm::Base64, None).unwrap();
        assert_eq!((text, count), (singles(&[1.0, -2.5, 0.1]), 3));
    }

    #[test]
    fn conversion_in_both_directions_gives_the_same_bits() {
        let numbers = many();
        let packed = singles(&numbers);
        let (array, count) = converted(&packed, VectorForm::Numbers, Some(numbers.len())).unwrap();
        assert_eq!(count, numbers.len());
        assert_eq!(converted(&array, VectorForm::Base64, None).unwrap(), (packed.clone(), count));
        assert_eq!(converted(&packed, VectorForm::Base64, None).unwrap(), (packed, count));
    }

    #[test]
    fn float32_values_have_their_shortest_decimals() {
        let (array, _) = converted(&singles(&[0.1, 1e-7]), VectorForm::Numbers, None).unwrap();
        assert_eq!(array, "[0.1,1e-7]");
    }

    #[test]
    fn float64_is_detected_by_length_or_by_bits() {
        let numbers = [0.1f32, -0.25, 0.333, 1.0];
        let from_singles = doubles(&numbers.map(f64::from));
        for dimensions in [None, Some(4), Some(1024)] {
            let (text, count) = converted(&from_singles, VectorForm::Base64, dimensions).unwrap();
            assert_eq!((text, count), (singles(&numbers), 4), "{dimensions:?}");
        }
        let (array, count) = converted(&doubles(&[0.1, 0.2]), VectorForm::Numbers, Some(2)).unwrap();
        assert_eq!((array.as_str(), count), ("[0.1,0.2]", 2));
    }

    #[test]
    fn zeros_are_read_as_float32() {
        let (array, count) = converted(&singles(&[0.0; 4]), VectorForm::Numbers, None).unwrap();
        assert_eq!((array.as_str(), count), ("[0.0,0.0,0.0,0.0]", 4));
    }

    #[test]
    fn float32_is_not_taken_for_float64_where_the_format_knows_no_other() {
        let packed = singles(&[0.0, 1.0, 0.0, 0.0]);
        let vector: &RawValue = serde_json::from_str(&packed).unwrap();
        let mut out = Vec::new();
        assert_eq!(push_vector(&mut out, vector, VectorFormat::default()).unwrap(), 4);
        assert_eq!(out, b"[0.0,1.0,0.0,0.0]");
    }

    #[test]
    fn escaped_slashes_belong_to_the_base64_alphabet() {
        let packed = singles(&[-1.7014118e38, f32::MAX]);
        let escaped = packed.replace('/', "\\/");
        assert_ne!(packed, escaped, "the value has a slash");
        assert_eq!(converted(&escaped, VectorForm::Base64, None).unwrap(), (packed, 2));
    }

    #[test]
    fn an_invalid_vector_is_an_error_of_the_provider() {
        let not_finite = singles(&[f32::NAN, 1.0]);
        let cases = [
            "[]",
            "[[0.1]]",
            "[\"0.1\"]",
            "[null]",
            "[0.1,true]",
            "[1e39]",
            "{}",
            "null",
            "1",
            "\"\"",
            "\"AAA=\"",
            "\"###\"",
            &not_finite,
        ];
        for case in cases {
            let error = converted(case, VectorForm::Numbers, None).unwrap_err();
            assert_eq!((error.kind, error.retry), (ErrorKind::Upstream, Retry::Elsewhere), "{case}");
            assert!(converted(case, VectorForm::Base64, None).is_err(), "{case}");
        }
    }
}
