//! The meaning of providers' error answers in any protocol: message patterns that many providers share, the
//! requested wait, and the message without secrets.

use std::time::Duration;

use canon::{Error, ErrorKind, Retry, UpstreamReply};
use http::{HeaderMap, StatusCode};

/// Longer waits are not worthwhile: another provider is asked instead.
const LONGEST_WAIT: Duration = Duration::from_secs(120);
/// Longer waits are reported as this one.
const LONGEST_REPORTED: Duration = Duration::from_secs(24 * 3600);
/// How much of a body is shown that is not the expected JSON.
const EXCERPT_CHARS: usize = 500;
/// How much of a body is searched for its excerpt: error pages can be large.
const EXCERPT_BYTES: usize = 16 << 10;

/// Most bytes of a provider's message that are passed on.
const MOST_WORDS: usize = 16 << 10;

/// Builds an error from an answer: its kind, whether a retry can help, and the provider's message.
///
/// `code` is the provider's most specific name (an error code, else its type): it is used for the
/// classification and stays in the error, as does `type_name`.
pub fn upstream_error(
    status: StatusCode,
    headers: &HeaderMap,
    code: Option<String>,
    type_name: Option<String>,
    mut message: String,
) -> Error {
    // Some providers quote the whole request.
    message.truncate(message.floor_char_boundary(MOST_WORDS));
    let telling = code.as_deref().or(type_name.as_deref());
    let (kind, retry) = classify(status.as_u16(), telling, &message);
    let wait = retry_after(headers).or_else(|| (status.as_u16() == 429).then(|| reset(headers)).flatten());
    let text = match message.trim() {
        "" => format!("The provider answered with status {}.", status.as_u16()),
        text => without_secrets(text),
    };
    let mut error = Error::upstream(kind, with_wait(retry, wait, headers), text);
    error.code = code;
    error.type_name = type_name;
    error.upstream = Some(UpstreamReply {
        status: Some(status.as_u16()),
        request_id: request_id(headers),
        retry_after: wait,
    });
    error
}

/// The kind of an error answer and whether a retry can help. `status` is the HTTP status. For an error within
/// a successful answer it is the corresponding status, or 200 when there is none.
pub fn classify(status: u16, code: Option<&str>, message: &str) -> (ErrorKind, Retry) {
    let text = format!("{} {}", code.unwrap_or_default(), message).to_lowercase();
    if status < 500 {
        let known = by_code(status, code.unwrap_or_default()).or_else(|| by_pattern(status, &text));
        if let Some(kind) = known {
            return (kind, remedy(kind));
        }
    }
    by_status(status, &text)
}

/// The time until an exhausted limit resets, where the answer to too many requests contains no other wait:
/// `x-ratelimit-reset-requests: 6m0s` beside `x-ratelimit-remaining-requests: 0`. The longest of several.
fn reset(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let is_exhausted = |limit: &str| {
        let remaining = text(&format!("x-ratelimit-remaining-{limit}"));
        remaining.is_none_or(|remaining| remaining.parse::<f64>().is_ok_and(|remaining| remaining <= 0.0))
    };
    let limits = ["requests", "tokens"].into_iter().filter(|limit| is_exhausted(limit));
    let waits = limits.filter_map(|limit| span(text(&format!("x-ratelimit-reset-{limit}"))?));
    waits.max().map(|wait| wait.min(LONGEST_REPORTED))
}

/// `1h2m3.5s`, `120ms`, or a number of seconds.
fn span(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let unit = &rest[end..];
        let length = unit.find(|letter: char| letter.is_ascii_digit()).unwrap_or(unit.len());
        seconds += number
            * match &unit[..length] {
                "d" => 86400.0,
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 0.001,
                _ => return None,
            };
        rest = &unit[length..];
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
}

/// The requested wait in seconds. The gateway, which has a clock, converts dates before.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = number("retry-after-ms").map(|millis| millis / 1000.0).or_else(|| number("retry-after"))?;
    let wait = Duration::try_from_secs_f64(seconds).ok()?;
    Some(wait.min(LONGEST_REPORTED))
}

/// The printable beginning of a body that is not the expected JSON. For an HTML page, its text.
pub fn excerpt(body: &[u8]) -> String {
    let start = String::from_utf8_lossy(&body[..body.len().min(EXCERPT_BYTES)]);
    let is_page = start.trim_start().starts_with('<');
    let text = if is_page { text_of_page(&start) } else { start.into_owned() };
    let mut excerpt = String::new();
    for word in text.split(|letter: char| letter.is_whitespace() || letter.is_control()) {
        if !word.is_empty() {
            if !excerpt.is_empty() {
                excerpt.push(' ');
            }
            excerpt.push_str(word);
        }
    }
    without_secrets(&excerpt).chars().take(EXCERPT_CHARS).collect()
}

/// The text with everything masked that looks like an API key. Providers often quote the key that they
/// refuse.
pub fn without_secrets(text: &str) -> String {
    const PREFIXES: [&str; 17] = [
        "sk-",
        "sk_",
        "rk-",
        "pk-",
        "AIza",
        "ya29.",
        "gsk_",
        "xai-",
        "pplx-",
        "hf_",
        "nvapi-",
        "csk-",
        "AKIA",
        "ASIA",
        "ghp_",
        "github_pat_",
        "eyJ",
    ];
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    let mut inside_word = false;
    while let Some(letter) = rest.chars().next() {
        let prefix = PREFIXES.iter().find(|prefix| !inside_word && rest.starts_with(**prefix));
        if let Some(prefix) = prefix {
            let length = rest.find(|letter: char| !is_key_letter(letter)).unwrap_or(rest.len());
            if length >= prefix.len() + 8 {
                masked.push_str(prefix);
                masked.push_str("***");
                rest = &rest[length..];
                continue;
            }
        }
        inside_word = letter.is_alphanumeric() || letter == '_' || letter == '-';
        masked.push(letter);
        rest = &rest[letter.len_utf8()..];
    }
    masked
}

fn is_key_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '*' | '.')
}

/// The provider's own id of a request, under the names that providers and the gateways before them use.
pub fn request_id(headers: &HeaderMap) -> Option<String> {
    const NAMES: [&str; 6] = [
        "x-request-id",
        "request-id",
        "x-amzn-requestid",
        "apim-request-id",
        "x-ms-request-id",
        "x-goog-request-id",
    ];
    let value = NAMES.iter().find_map(|name| headers.get(*name))?.to_str().ok()?;
    // What `to_str` gives is ASCII.
    (!value.is_empty()).then(|| value[..value.len().min(200)].to_owned())
}

/// The kind of retry, with the provider's requested wait.
fn with_wait(retry: Retry, wait: Option<Duration>, headers: &HeaderMap) -> Retry {
    if retry != Retry::Again {
        return retry;
    }
    let refused = headers.get("x-should-retry").is_some_and(|value| value.as_bytes() == b"false");
    match wait {
        Some(wait) if wait > LONGEST_WAIT => Retry::Elsewhere,
        Some(wait) => Retry::After(wait),
        None if refused => Retry::Elsewhere,
        None => Retry::Again,
    }
}

fn remedy(kind: ErrorKind) -> Retry {
    match kind {
        ErrorKind::InvalidRequest | ErrorKind::TooLarge => Retry::No,
        ErrorKind::RateLimit | ErrorKind::Overloaded | ErrorKind::Timeout | ErrorKind::Upstream => {
            Retry::Again
        }
        _ => Retry::Elsewhere,
    }
}

/// Numeric codes of Z.ai, MiniMax and Mistral. The ones with a kind here do not collide.
fn by_code(status: u16, code: &str) -> Option<ErrorKind> {
    let kind = match code {
        "1261" | "1039" => ErrorKind::ContextLength,
        "1301" | "1026" | "1027" => ErrorKind::ContentFilter,
        "1113" | "1304" | "1308" | "1309" | "1310" | "1008" => ErrorKind::Quota,
        "1211" | "1500" => ErrorKind::ModelNotFound,
        "1002" if status < 400 => ErrorKind::RateLimit,
        "1004" if status < 400 => ErrorKind::UpstreamCredential,
        "1000" | "1001" | "1002" | "1003" | "1004" | "1005" if matches!(status, 401 | 403) => {
            ErrorKind::UpstreamCredential
        }
        "1300" | "1302" | "1303" => ErrorKind::RateLimit,
        "3505" | "1305" | "1312" => ErrorKind::Overloaded,
        _ => return None,
    };
    Some(kind)
}

/// Patterns of lowercase messages and codes. The order matters: a quota error often contains "rate limit" as
/// well, and a request that exceeds a limit per minute by itself can never succeed.
fn by_pattern(status: u16, text: &str) -> Option<ErrorKind> {
    let has = |patterns: &[&str]| patterns.iter().any(|pattern| text.contains(pattern));
    if has(CONTEXT) || is_long_input(text) {
        return Some(ErrorKind::ContextLength);
    }
    if has(QUOTA) || (matches!(status, 402 | 403 | 412 | 429) && has(&["billing", "more credits"])) {
        return Some(ErrorKind::Quota);
    }
    if has(FILTER)
        || (matches!(status, 400 | 403) && has(&["flagged", "sensitive content", "sensitive word"]))
    {
        return Some(ErrorKind::ContentFilter);
    }
    if has(CREDENTIAL) {
        return Some(ErrorKind::UpstreamCredential);
    }
    if has(MODEL) || is_missing_model(text) {
        return Some(ErrorKind::ModelNotFound);
    }
    if has(PARAMETER) {
        return Some(ErrorKind::InvalidRequest);
    }
    if has(OVERLOADED) || (matches!(status, 429 | 498 | 200) && has(&["capacity", "try again later"])) {
        return Some(ErrorKind::Overloaded);
    }
    if has(RATE) || (status == 429 && has(&["concurrency"])) {
        return Some(ErrorKind::RateLimit);
    }
    None
}

const CONTEXT: &[&str] = &[
    "maximum context length",
    "context_length_exceeded",
    "prompt is too long",
    "input is too long",
    "exceed context limit",
    "exceeds the maximum number of tokens",
    "too many tokens in",
    "exceeds the context window",
    "exceed the context window",
    "larger than the context window",
    "exceed_context_size_error",
    "exceeds the available context size",
    "input tokens exceed the configured limit",
    "please reduce the length",
    "range of input length should be",
    "model_context_window_exceeded",
    "request too large for",
    "tokens_limit_reached",
];

const QUOTA: &[&str] = &[
    "insufficient_quota",
    "exceeded your current quota",
    "credit balance is too low",
    "credit_balance_exhausted",
    "specified api usage limits",
    "spend limit",
    "spend_limit_reached",
    "usage_limit_reached",
    "billing_hard_limit_reached",
    "billing_error",
    "insufficient balance",
    "insufficient credits",
    "arrearage",
    "no resource package",
    "payment_method_required",
    "requires more credits",
    "exceeded_current_quota_error",
    "not_enough_balance",
    "allocationquota",
    "freetieronly",
];

const FILTER: &[&str] = &[
    "responsibleaipolicyviolation",
    "content_filter",
    "content management policy",
    "content filtering policy",
    "safety system",
    "data_inspection_failed",
    "content_policy_violation",
    "content policy violation",
    "blocked by guardrail",
];

const CREDENTIAL: &[&str] = &[
    "invalid api key",
    "incorrect api key",
    "invalid_api_key",
    "api_key_invalid",
    "api key not valid",
    "api key expired",
    "invalid_token",
    "unrecognizedclient",
    "failed_to_auth",
    "access token is missing, invalid",
    "invalid x-api-key",
    "authentication_error",
];

const MODEL: &[&str] = &[
    "model_not_found",
    "model identifier is invalid",
    "deploymentnotfound",
    "no such model",
    "unknown model",
    "is not found for api version",
    "no endpoints found",
    "supported api model names are",
    "invalid model:",
    "invalid_model",
    "model_decommissioned",
    "has been decommissioned",
    "end of life",
    "end of its life",
    "on-demand throughput isn",
];

const PARAMETER: &[&str] = &[
    "unsupported parameter",
    "unsupported_parameter",
    "unsupported_value",
    "unknown parameter",
    "unrecognized request argument",
    "extra inputs are not permitted",
    "is deprecated for this model",
    "does not support parameter",
    "unexpected keyword",
];

const OVERLOADED: &[&str] = &[
    "overloaded",
    "high demand",
    "currently unavailable",
    "service_tier_capacity_exceeded",
    "insufficient_system_resource",
    "over capacity",
    "at capacity",
    "nocapacity",
];

const RATE: &[&str] = &[
    "rate limit",
    "rate_limit",
    "ratelimit",
    "too many requests",
    "too_many_requests",
    "throttl",
    "resource_exhausted",
    "limit_requests",
];

/// "The input token count (N) exceeds the maximum number of tokens allowed (M)", "string too long … maximum length".
fn is_long_input(text: &str) -> bool {
    (text.contains("input token count") && text.contains("exceeds"))
        || (text.contains("too many tokens") && !text.contains("per day") && !text.contains("wait"))
        || (text.contains("string too long") && text.contains("maximum length"))
}

/// "The model `x` does not exist", and never "image file not found".
fn is_missing_model(text: &str) -> bool {
    let missing =
        ["does not exist", "not found", "not_found", "not deployed", "not supported by any provider"];
    let subject = ["model", "deployment"].iter().any(|word| text.contains(word));
    let other = ["file", "image", "tool", "previous_response"].iter().any(|word| text.contains(word));
    subject && !other && missing.iter().any(|words| text.contains(words))
}

fn by_status(status: u16, text: &str) -> (ErrorKind, Retry) {
    match status {
        401 | 403 | 407 => (ErrorKind::UpstreamCredential, Retry::Elsewhere),
        402 | 412 => (ErrorKind::Quota, Retry::Elsewhere),
        404 if text.contains("model") => (ErrorKind::ModelNotFound, Retry::Elsewhere),
        404 => (ErrorKind::NotFound, Retry::Elsewhere),
        408 | 504 | 524 => (ErrorKind::Timeout, Retry::Again),
        409 | 424 => (ErrorKind::Upstream, Retry::Again),
        410 => (ErrorKind::ModelNotFound, Retry::Elsewhere),
        413 => (ErrorKind::TooLarge, Retry::No),
        429 => (ErrorKind::RateLimit, Retry::Again),
        498 | 503 | 529 => (ErrorKind::Overloaded, Retry::Again),
        499 => (ErrorKind::Upstream, Retry::No),
        400..=498 => (ErrorKind::InvalidRequest, Retry::No),
        501 | 300..=399 => (ErrorKind::Upstream, Retry::Elsewhere),
        _ => (ErrorKind::Upstream, Retry::Again),
    }
}

/// The text between the tags of an HTML or XML page, without scripts and styles.
fn text_of_page(page: &str) -> String {
    let mut text = String::new();
    let mut rest = page;
    while let Some(open) = rest.find('<') {
        text.push_str(&rest[..open]);
        text.push(' ');
        rest = &rest[open..];
        let hidden = ["script", "style"]
            .into_iter()
            .find(|name| rest.get(1..1 + name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)));
        let skipped = match hidden {
            Some(name) => rest.to_ascii_lowercase().find(&format!("</{name}")).unwrap_or(rest.len()),
            None => 0,
        };
        rest = &rest[skipped..];
        rest = rest.find('>').map_or("", |close| &rest[close + 1..]);
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_an_error_is_read_from_its_message() {
        use ErrorKind::*;
        let again = Retry::Again;
        let elsewhere = Retry::Elsewhere;
        let cases = [
            (400, "", "prompt is too long: 208310 tokens > 200000 maximum", ContextLength, elsewhere),
            (
                400,
                "",
                "input length and `max_tokens` exceed context limit: 1 + 2 > 2",
                ContextLength,
                elsewhere,
            ),
            (400, "", "This model's maximum context length is 8192 tokens.", ContextLength, elsewhere),
            (413, "rate_limit_exceeded", "Request too large for model `x` on TPM", ContextLength, elsewhere),
            (400, "1261", "Prompt exceeds max length", ContextLength, elsewhere),
            (400, "", "Your credit balance is too low to access the API.", Quota, elsewhere),
            (400, "", "You have reached your specified API usage limits.", Quota, elsewhere),
            (429, "insufficient_quota", "You exceeded your current quota, rate limit", Quota, elsewhere),
            (402, "", "Payment Required", Quota, elsewhere),
            (404, "", "model: claude-9", ModelNotFound, elsewhere),
            (
                404,
                "",
                "The model `gpt-9` does not exist or you do not have access to it.",
                ModelNotFound,
                elsewhere,
            ),
            (404, "", "File not found: file_123", NotFound, elsewhere),
            (400, "", "image file not found for this model", InvalidRequest, Retry::No),
            (
                400,
                "API_KEY_INVALID",
                "API key not valid. Please pass a valid API key.",
                UpstreamCredential,
                elsewhere,
            ),
            (401, "", "invalid x-api-key", UpstreamCredential, elsewhere),
            (403, "", "forbidden", UpstreamCredential, elsewhere),
            (429, "", "slow down", RateLimit, again),
            (400, "", "Throttling.RateQuota", RateLimit, again),
            (400, "", "temperature: Extra inputs are not permitted", InvalidRequest, Retry::No),
            (400, "", "messages: at least one message is required", InvalidRequest, Retry::No),
            (400, "content_filter", "The response was filtered", ContentFilter, elsewhere),
            (413, "request_too_large", "Request exceeds the maximum size", TooLarge, Retry::No),
            (500, "", "rate limit in a server error is still a server error", Upstream, again),
            (503, "", "busy", Overloaded, again),
            (504, "", "", Timeout, again),
            (529, "", "Overloaded", Overloaded, again),
            (200, "", "The service is currently unavailable", Overloaded, again),
            (200, "", "something", Upstream, again),
            (302, "", "", Upstream, elsewhere),
        ];
        for (status, code, message, kind, retry) in cases {
            assert_eq!(classify(status, Some(code), message), (kind, retry), "{status} {code} {message}");
        }
    }

    #[test]
    fn waits_are_read_and_capped() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
        };
        let wait = |pairs: &[_]| retry_after(&headers(pairs));
        assert_eq!(wait(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
        assert_eq!(
            wait(&[("retry-after-ms", "1500"), ("retry-after", "2")]),
            Some(Duration::from_millis(1500))
        );
        assert_eq!(wait(&[("retry-after", "999999999")]), Some(LONGEST_REPORTED));
        for bad in ["", "-1", "NaN", "inf", "Fri, 31 Dec 1999 23:59:59 GMT"] {
            assert_eq!(wait(&[("retry-after", bad)]), None, "{bad}");
        }
        let error = |seconds| {
            let headers = headers(&[("retry-after", seconds), ("request-id", "req_1")]);
            upstream_error(StatusCode::TOO_MANY_REQUESTS, &headers, None, None, "Rate limit".into())
        };
        assert_eq!(error("7").retry, Retry::After(Duration::from_secs(7)));
        assert_eq!(error("600").retry, Retry::Elsewhere);
        assert_eq!(error("600").retry_after(), Some(Duration::from_secs(600)));
        assert_eq!(error("7").upstream.unwrap().request_id.as_deref(), Some("req_1"));
    }

    #[test]
    fn secrets_are_masked() {
        let quoted = "Incorrect API key provided: sk-proj-abcdef***wxyz. See https://x.test/task-force.";
        let masked = "Incorrect API key provided: sk-*** See https://x.test/task-force.";
        assert_eq!(without_secrets(quoted), masked);
        assert_eq!(
            without_secrets("risk-averse-behaviour, sk-short, é sk-0123456789"),
            "risk-averse-behaviour, sk-short, é sk-***"
        );
        assert_eq!(without_secrets("key=AIzaSyA1234567890"), "key=AIza***");
    }

    #[test]
    fn pages_become_text() {
        let page = b"<!DOCTYPE html>\n<html><head><style>p {a: b}</style><title>502 Bad Gateway</title></head>\r\n<body><h1>Bad\x00 Gateway</h1></body></html>";
        assert_eq!(excerpt(page), "502 Bad Gateway Bad Gateway");
        assert_eq!(excerpt(b"plain \xff text"), "plain \u{fffd} text");
        assert_eq!(excerpt(&vec![b'a'; 9000]).len(), EXCERPT_CHARS);
        assert_eq!(excerpt(b""), "");
    }
}
