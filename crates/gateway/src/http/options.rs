//! Options in headers. An invalid value of one of the gateway's headers is refused: with
//! `x-llmgateway-strict: banana` the caller wanted an option, and a safety switch must not be off by mistake.

use canon::Error;
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderName, HeaderValue};
use limits::LONGEST_CACHE_SECONDS;

use crate::config::MetadataPlace;
use crate::hops::Hops;
use crate::identity::CacheDirective;
use crate::pipeline::RequestOptions;

const NO_FALLBACK: HeaderName = HeaderName::from_static("x-no-fallback");
const NO_CACHE: HeaderName = HeaderName::from_static("x-no-cache");
const CACHE: HeaderName = HeaderName::from_static("x-llmgateway-cache");
const STRICT: HeaderName = HeaderName::from_static("x-llmgateway-strict");
const EXPLAIN: HeaderName = HeaderName::from_static("x-llmgateway-explain");
const METADATA: HeaderName = HeaderName::from_static("x-llmgateway-metadata");
const TAGS: HeaderName = HeaderName::from_static("x-llmgateway-tags");
const SESSION: HeaderName = HeaderName::from_static("x-session-id");

const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");
/// Twice the length that every implementation has to pass on.
const LONGEST_TRACE_STATE: usize = 1024;

/// Reads the gateway's headers. `hops` and `metadata` are the gateway's own values.
pub(super) fn options(
    headers: &HeaderMap,
    hops: &Hops,
    metadata: MetadataPlace,
) -> Result<RequestOptions, Error> {
    let session = headers.get(&SESSION).and_then(|value| value.to_str().ok()).map(str::trim);
    Ok(RequestOptions {
        no_fallback: switch(headers, &NO_FALLBACK)?,
        strict: switch(headers, &STRICT)?,
        explain: switch(headers, &EXPLAIN)?,
        session: session
            .filter(|session| !session.is_empty())
            .map(|session| session.chars().take(200).collect()),
        trace: trace(headers),
        hops: hops.passed(headers)?,
        metadata: place(headers, metadata)?,
        cache: cache(headers)?,
        tags: tags(headers)?,
    })
}

/// Whether an answer may come from the cache, and its maximum age.
fn cache(headers: &HeaderMap) -> Result<CacheDirective, Error> {
    if switch(headers, &NO_CACHE)? {
        return Ok(CacheDirective::No);
    }
    let mut asked = CacheDirective::Unsaid;
    for value in headers.get_all(&CACHE) {
        let seconds = str::from_utf8(value.as_bytes()).ok().and_then(|text| text.trim().parse().ok());
        let seconds = seconds.filter(|seconds| *seconds <= LONGEST_CACHE_SECONDS);
        let given = seconds
            .map(CacheDirective::Seconds)
            .filter(|given| [CacheDirective::Unsaid, *given].contains(&asked));
        asked = given.ok_or_else(|| {
            let message = format!(
                "The header x-llmgateway-cache must be a number of seconds, at most {LONGEST_CACHE_SECONDS}."
            );
            Error::invalid("x-llmgateway-cache", message)
        })?;
    }
    Ok(asked)
}

/// The tags as written; their meaning is checked with the key's policy. Repeated headers are joined.
fn tags(headers: &HeaderMap) -> Result<Option<String>, Error> {
    if !headers.contains_key(&TAGS) {
        return Ok(None);
    }
    let texts: Option<Vec<&str>> =
        headers.get_all(&TAGS).iter().map(|value| str::from_utf8(value.as_bytes()).ok()).collect();
    let name = "x-llmgateway-tags";
    texts
        .map(|texts| Some(texts.join(",")))
        .ok_or_else(|| Error::invalid(name, format!("The header {name} is not UTF-8.")))
}

/// The trace that the request belongs to (W3C Trace Context). An invalid parent is not passed on, and neither
/// is its state.
fn trace(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let mut parents = headers.get_all(&TRACE_PARENT).iter();
    let (Some(parent), None) = (parents.next(), parents.next()) else { return Vec::new() };
    if !is_trace_parent(parent.as_bytes()) {
        return Vec::new();
    }
    let states = || headers.get_all(&TRACE_STATE).iter();
    let mut trace = vec![(TRACE_PARENT, parent.clone())];
    if states().map(HeaderValue::len).sum::<usize>() <= LONGEST_TRACE_STATE {
        trace.extend(states().map(|state| (TRACE_STATE, state.clone())));
    }
    trace
}

/// `00-TRACE-PARENT-FLAGS` in lowercase hexadecimal digits; later versions may append more.
fn is_trace_parent(text: &[u8]) -> bool {
    let Some((head, rest)) = text.split_at_checked(55) else { return false };
    let parts: Vec<&[u8]> = head.split(|byte| *byte == b'-').collect();
    let [version, trace, parent, flags] = parts[..] else { return false };
    let is_hex = |part: &[u8], length: usize| {
        part.len() == length && part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_zero = |part: &[u8]| part.iter().all(|byte| *byte == b'0');
    let is_whole = rest.is_empty() || (version != b"00" && rest.starts_with(b"-"));
    let fits = is_hex(version, 2) && is_hex(trace, 32) && is_hex(parent, 16) && is_hex(flags, 2);
    fits && is_whole && version != b"ff" && !is_zero(trace) && !is_zero(parent)
}

/// The place of the gateway's object: from the header, from known clients, or as configured.
fn place(headers: &HeaderMap, configured: MetadataPlace) -> Result<MetadataPlace, Error> {
    let mut given = None;
    for value in headers.get_all(&METADATA) {
        let value = match value.as_bytes().trim_ascii().to_ascii_lowercase().as_slice() {
            b"metadata" => MetadataPlace::Metadata,
            b"llmgateway" => MetadataPlace::Llmgateway,
            b"none" => MetadataPlace::None,
            _ => return Err(wrong_place()),
        };
        if given.replace(value).is_some_and(|before| before != value) {
            return Err(wrong_place());
        }
    }
    let is_strict = || headers.get(USER_AGENT).is_some_and(|client| catalog::is_strict(client.as_bytes()));
    Ok(match given {
        Some(given) => given,
        None if configured == MetadataPlace::Metadata && is_strict() => MetadataPlace::Llmgateway,
        None => configured,
    })
}

fn wrong_place() -> Error {
    let name = "x-llmgateway-metadata";
    Error::invalid(name, format!("The header {name} must be metadata, llmgateway or none."))
}

/// A header that is on or off; off without it. Repeated headers must agree.
fn switch(headers: &HeaderMap, name: &HeaderName) -> Result<bool, Error> {
    // Most requests have none of them: one lookup each.
    if !headers.contains_key(name) {
        return Ok(false);
    }
    let mut given = None;
    for value in headers.get_all(name) {
        let value = match value.as_bytes().trim_ascii() {
            text if text.eq_ignore_ascii_case(b"true") || text == b"1" => true,
            text if text.eq_ignore_ascii_case(b"false") || text == b"0" => false,
            _ => return Err(not_understood(name)),
        };
        if given.replace(value).is_some_and(|before| before != value) {
            return Err(not_understood(name));
        }
    }
    Ok(given.unwrap_or(false))
}

fn not_understood(name: &HeaderName) -> Error {
    let name = name.as_str();
    Error::invalid(name.to_owned(), format!("The header {name} must be true or false."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&'static str, &'static [u8])]) -> Result<RequestOptions, Error> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        options(&map, &Hops::default(), MetadataPlace::Metadata)
    }

    #[test]
    fn switches_are_on_or_off() {
        for value in [b"true".as_slice(), b"TRUE", b"1", b" true "] {
            assert!(read(&[("x-llmgateway-strict", value)]).unwrap().strict, "{value:?}");
        }
        for value in [b"false".as_slice(), b"False", b"0"] {
            assert!(!read(&[("x-llmgateway-strict", value)]).unwrap().strict, "{value:?}");
        }
        assert_eq!(read(&[]).unwrap(), RequestOptions::default());
        assert!(read(&[("x-no-fallback", b"true"), ("x-no-fallback", b"1")]).unwrap().no_fallback);
    }

    #[test]
    fn a_trace_is_forwarded_unchanged() {
        const PARENT: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let read = |headers: &[(&'static str, &'static [u8])]| read(headers).unwrap().trace;
        let trace = read(&[("traceparent", PARENT), ("tracestate", b"a=b"), ("tracestate", b"c=d")]);
        let values: Vec<&[u8]> = trace.iter().map(|(_, value)| value.as_bytes()).collect();
        assert_eq!(values, [PARENT, b"a=b", b"c=d"]);
        let later = b"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more";
        assert_eq!(read(&[("traceparent", later)]).len(), 1);
        assert!(read(&[("tracestate", b"a=b")]).is_empty(), "a state without a parent");
        assert!(read(&[("traceparent", PARENT), ("traceparent", PARENT)]).is_empty());
        for wrong in [
            b"".as_slice(),
            b"banana",
            b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            b"00-4BF92F3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
        ] {
            assert!(read(&[("traceparent", wrong), ("tracestate", b"a=b")]).is_empty(), "{wrong:?}");
        }
    }

    #[test]
    fn the_place_of_the_metadata_comes_from_a_header_or_the_client() {
        let pydantic: (&str, &[u8]) = ("user-agent", b"pydantic-ai/2.68.0");
        let place = |headers: &[(&'static str, &'static [u8])]| read(headers).unwrap().metadata;
        assert_eq!(place(&[]), MetadataPlace::Metadata);
        assert_eq!(place(&[pydantic]), MetadataPlace::Llmgateway);
        assert_eq!(place(&[pydantic, ("x-llmgateway-metadata", b"metadata")]), MetadataPlace::Metadata);
        assert_eq!(place(&[("x-llmgateway-metadata", b"None")]), MetadataPlace::None);
        let error = read(&[("x-llmgateway-metadata", b"banana")]).unwrap_err();
        assert_eq!(error.param_name().as_deref(), Some("x-llmgateway-metadata"));
    }

    #[test]
    fn another_value_of_a_switch_is_refused_by_name() {
        for name in ["x-llmgateway-strict", "x-llmgateway-explain", "x-no-fallback", "x-no-cache"] {
            for value in [b"banana".as_slice(), b"", b"yes", b"true,false", b"\xff"] {
                let error = read(&[(name, value)]).unwrap_err();
                assert_eq!(
                    (error.status().as_u16(), error.param_name().as_deref()),
                    (400, Some(name)),
                    "{value:?}"
                );
                assert!(error.message.contains(name));
            }
            assert!(read(&[(name, b"true"), (name, b"false")]).is_err());
        }
    }
}
