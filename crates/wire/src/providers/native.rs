//! Requests of a provider's own API as the caller wrote them: only the address and the credential are ours.

use bytes::Bytes;
use canon::Result;
use http::header::Entry;
use http::{HeaderName, HeaderValue, Method};

use super::Call;
use super::base_url::path_of;
use super::compatible::{authorize, misconfigured};
use super::segment::has_dot_segment;

/// A call of a provider's own API. Its headers are those that the call passes on.
#[derive(Clone, Copy, Debug)]
pub struct NativeCall<'a> {
    pub method: &'a Method,
    /// The path at the provider, which begins with a slash. Still escaped.
    pub path: &'a str,
    /// The query, still escaped; empty where there is none.
    pub query: &'a str,
    /// The provider's default base URL, if it has one.
    pub usual: Option<&'a str>,
    /// The path is below the base URL, like those of the gateway's own requests.
    pub below_base: bool,
}

impl NativeCall<'_> {
    /// Whether the path may be read as another one: some servers resolve dots.
    pub fn is_ambiguous(path: &str) -> bool {
        has_dot_segment(path)
    }
}

/// The prefix of a provider's API paths: the base URL without the path of the default one, or without a
/// trailing version, because callers write both.
pub(super) fn root<'a>(base: &'a str, usual: Option<&str>) -> &'a str {
    let usual = usual.map(path_of).filter(|path| !path.is_empty());
    if let Some(root) = usual.and_then(|path| base.strip_suffix(path)) {
        return root;
    }
    let is_version = |part: &str| {
        let mut bytes = part.bytes();
        bytes.next() == Some(b'v') && bytes.next().is_some_and(|byte| byte.is_ascii_digit())
    };
    match base.rsplit_once('/') {
        Some((above, last)) if is_version(last) && !above.ends_with('/') => above,
        _ => base,
    }
}

/// The prefix of a request's path.
pub(super) fn root_of<'a>(base: &'a str, native: &NativeCall<'_>) -> &'a str {
    if native.below_base { base } else { root(base, native.usual) }
}

/// The request below this root, with its credential.
pub(super) fn request(call: &Call<'_>, native: &NativeCall<'_>, root: &str) -> Result<http::Request<Bytes>> {
    let mut request = unauthorized(call, native, root)?;
    authorize(call, request.headers_mut())?;
    Ok(request)
}

/// The same before it has a credential.
pub(super) fn unauthorized(
    call: &Call<'_>,
    native: &NativeCall<'_>,
    root: &str,
) -> Result<http::Request<Bytes>> {
    let question_mark = if native.query.is_empty() { "" } else { "?" };
    let url = format!("{root}{}{question_mark}{}", native.path, native.query);
    let request = http::Request::builder().method(native.method).uri(url).body(call.body.clone());
    let mut request =
        request.map_err(|_| misconfigured("The provider's URL is not valid; check its base_url."))?;
    let headers = request.headers_mut();
    for (name, value) in call.passed {
        headers.append(name, value.clone());
    }
    // The caller's version and feature headers take precedence over those of the catalog.
    for (name, value) in call.headers {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
            return Err(misconfigured(format!("The provider's header {name:?} is not valid.")));
        };
        if let Entry::Vacant(vacant) = headers.entry(name) {
            vacant.insert(value);
        }
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::super::{Auth, CallStyle, Credential, endpoint};
    use super::*;
    use crate::Protocol;

    #[test]
    fn the_root_has_no_version() {
        let openai = Some("https://api.openai.com/v1");
        let groq = Some("https://api.groq.com/openai/v1");
        for (base, usual, expected) in [
            ("https://api.openai.com/v1", openai, "https://api.openai.com"),
            ("http://proxy/x/v1", openai, "http://proxy/x"),
            ("https://api.groq.com/openai/v1", groq, "https://api.groq.com"),
            ("http://proxy/groq/v1", groq, "http://proxy/groq"),
            ("http://own/api/v3", None, "http://own/api"),
            ("http://own/api", None, "http://own/api"),
            ("http://v1", None, "http://v1"),
            ("https://api.anthropic.com", Some("https://api.anthropic.com"), "https://api.anthropic.com"),
            ("http://mock/v1beta", Some("https://google"), "http://mock"),
        ] {
            assert_eq!(root(base, usual), expected, "{base}");
        }
    }

    fn sent(
        style: CallStyle,
        base_url: &str,
        native: NativeCall<'_>,
        credential: &Credential,
    ) -> http::Request<Bytes> {
        let settings = [
            ("resource", "mine"),
            ("region", "eu-west-1"),
            ("project", "p"),
            ("deployments.gpt-5", "my-five"),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let headers = [("anthropic-version".to_owned(), "2023-06-01".to_owned())].into();
        let passed = [("x-own", "1"), ("x-own", "2"), ("anthropic-version", "2024-01-01")];
        let passed =
            passed.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let call = Call {
            base_url,
            protocol: Protocol::OpenaiChat,
            model: "",
            streaming: false,
            body: Bytes::new(),
            credential,
            auth: &Auth::Bearer,
            headers: &headers,
            passed: &passed,
            path: None,
            settings: &settings,
            now: std::time::UNIX_EPOCH,
        };
        endpoint(style).native_request(&call, &native).unwrap()
    }

    /// Requests the path (below the base URL or beside it), and compares the address and the form of the
    /// credential.
    #[track_caller]
    fn assert_asks(
        (style, base, path, below_base): (CallStyle, &str, &str, bool),
        credential: &Credential,
        url: &str,
        (header, value): (&str, &str),
    ) {
        let native = NativeCall { method: &Method::GET, path, query: "a=%2F", usual: None, below_base };
        let request = sent(style, base, native, credential);
        assert_eq!(request.uri().to_string(), url);
        let proof = request.headers()[header].to_str().unwrap();
        assert!(proof.starts_with(value), "{url}: {proof}");
        let count = |name: &str| request.headers().get_all(name).iter().count();
        assert_eq!((count("x-own"), count("anthropic-version")), (2, 1));
        assert_eq!(request.headers()["anthropic-version"], "2024-01-01");
    }

    #[test]
    fn each_kind_of_provider_has_its_own_address_and_credential() {
        use CallStyle::{AwsBedrock, Azure, Compatible, GoogleVertex};
        let key = Credential::Key(canon::Secret::new("k".to_owned()));
        let aws = Credential::Aws {
            access_key_id: "AKID".to_owned(),
            secret_access_key: canon::Secret::new("s".to_owned()),
            session_token: None,
        };
        let (bearer, api_key) = (("authorization", "Bearer k"), ("api-key", "k"));
        let files = "https://mine.openai.azure.com/openai/v1/files?a=%2F";
        let converse = "https://bedrock-runtime.eu-west-1.amazonaws.com/model/m/converse?a=%2F";
        let signed = "AWS4-HMAC-SHA256 Credential=AKID/19700101/eu-west-1/bedrock/aws4_request";
        assert_asks((Compatible, "http://h/v1", "/v1/files", false), &key, "http://h/v1/files?a=%2F", bearer);
        let below = "http://h/openai/v1/files?a=%2F";
        assert_asks((Compatible, "http://h/openai/v1", "/files", true), &key, below, bearer);
        assert_asks((Azure, "", "/openai/v1/files", false), &key, files, api_key);
        assert_asks((Azure, "", "/files", true), &key, files, api_key);
        let messages = "https://mine.services.ai.azure.com/anthropic/v1/messages?a=%2F";
        assert_asks((Azure, "", "/anthropic/v1/messages", false), &key, messages, api_key);
        let vertex = "https://eu-west-1-aiplatform.googleapis.com/v1/projects/p?a=%2F";
        assert_asks((GoogleVertex, "", "/v1/projects/p", false), &key, vertex, bearer);
        assert_asks((AwsBedrock, "", "/model/m/converse", false), &key, converse, bearer);
        assert_asks((AwsBedrock, "", "/model/m/converse", false), &aws, converse, ("authorization", signed));
    }

    #[test]
    fn the_model_of_a_deployment_is_found() {
        let settings = [("deployments.gpt-5".to_owned(), "my-five".to_owned())].into();
        assert_eq!(endpoint(CallStyle::Azure).model_named("my-five", &settings), "gpt-5");
        assert_eq!(endpoint(CallStyle::Azure).model_named("other", &settings), "other");
    }
}
