//! What headers ask for. A header of ours with a value that is not understood is refused: `x-llmgateway-strict: banana`
//! asked for something, and a safety switch must not be off by mistake.

use canon::Error;
use http::{HeaderMap, HeaderName};

use crate::pipeline::Wishes;

const NO_FALLBACK: HeaderName = HeaderName::from_static("x-no-fallback");
const NO_CACHE: HeaderName = HeaderName::from_static("x-no-cache");
const STRICT: HeaderName = HeaderName::from_static("x-llmgateway-strict");
const EXPLAIN: HeaderName = HeaderName::from_static("x-llmgateway-explain");
const SESSION: HeaderName = HeaderName::from_static("x-session-id");

/// Reads the headers of ours.
pub(super) fn wishes(headers: &HeaderMap) -> Result<Wishes, Error> {
    // There is no cache yet that could be passed by; what the header says is checked all the same.
    switch(headers, &NO_CACHE)?;
    let session = headers.get(&SESSION).and_then(|value| value.to_str().ok()).map(str::trim);
    Ok(Wishes {
        no_fallback: switch(headers, &NO_FALLBACK)?,
        strict: switch(headers, &STRICT)?,
        explain: switch(headers, &EXPLAIN)?,
        session: session
            .filter(|session| !session.is_empty())
            .map(|session| session.chars().take(200).collect()),
    })
}

/// A header that is on or off; off where it is not there. Sent several times, it must say the same.
fn switch(headers: &HeaderMap, name: &HeaderName) -> Result<bool, Error> {
    // Most requests have none of them: one look each.
    if !headers.contains_key(name) {
        return Ok(false);
    }
    let mut said = None;
    for value in headers.get_all(name) {
        let value = match value.as_bytes().trim_ascii() {
            text if text.eq_ignore_ascii_case(b"true") || text == b"1" => true,
            text if text.eq_ignore_ascii_case(b"false") || text == b"0" => false,
            _ => return Err(not_understood(name)),
        };
        if said.replace(value).is_some_and(|before| before != value) {
            return Err(not_understood(name));
        }
    }
    Ok(said.unwrap_or(false))
}

fn not_understood(name: &HeaderName) -> Error {
    let name = name.as_str();
    Error::invalid(name.to_owned(), format!("The header {name} must be true or false."))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(headers: &[(&'static str, &'static [u8])]) -> Result<Wishes, Error> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        wishes(&map)
    }

    #[test]
    fn switches_are_on_or_off() {
        for value in [b"true".as_slice(), b"TRUE", b"1", b" true "] {
            assert!(read(&[("x-llmgateway-strict", value)]).unwrap().strict, "{value:?}");
        }
        for value in [b"false".as_slice(), b"False", b"0"] {
            assert!(!read(&[("x-llmgateway-strict", value)]).unwrap().strict, "{value:?}");
        }
        assert_eq!(read(&[]).unwrap(), Wishes::default());
        assert!(read(&[("x-no-fallback", b"true"), ("x-no-fallback", b"1")]).unwrap().no_fallback);
    }

    #[test]
    fn what_is_neither_is_refused_by_name() {
        for name in ["x-llmgateway-strict", "x-llmgateway-explain", "x-no-fallback", "x-no-cache"] {
            for value in [b"banana".as_slice(), b"", b"yes", b"true,false", b"\xff"] {
                let error = read(&[(name, value)]).unwrap_err();
                assert_eq!((error.status().as_u16(), error.param.as_deref()), (400, Some(name)), "{value:?}");
                assert!(error.message.contains(name));
            }
            assert!(read(&[(name, b"true"), (name, b"false")]).is_err());
        }
    }
}
