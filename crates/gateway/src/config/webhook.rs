//! An address of `[[webhooks]]`, and the signature of its requests.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use canon::Secret;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Uri};
use ring::hmac;

/// How a secret of Standard Webhooks begins; base64 follows.
const ENCODED_SECRET: &str = "whsec_";

/// The target of events.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    url: Uri,
    key: Vec<u8>,
    /// Identifies the address in the database, which does not store it.
    endpoint: String,
}

impl std::fmt::Debug for Webhook {
    /// Neither the address nor the secret.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Webhook").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Webhook {
    /// An address; with an empty secret nothing is signed. The error does not contain the URL, which may
    /// contain a secret.
    pub fn new(url: &str, secret: &Secret) -> Result<Self, &'static str> {
        let (base, _) = url.split_once('?').unwrap_or((url, ""));
        if let Some(mistake) = super::base_url::mistake(base) {
            return Err(mistake);
        }
        let uri = url.parse().map_err(|_| "is not a valid URL")?;
        let secret = secret.expose();
        let key = match secret.strip_prefix(ENCODED_SECRET) {
            Some(encoded) => STANDARD.decode(encoded).map_err(|_| "has a secret that is not base64")?,
            None => secret.as_bytes().to_vec(),
        };
        let endpoint = hash(url);
        Ok(Self { url: uri, key, endpoint })
    }

    /// Identifies the address in the database.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The host, for the log.
    pub fn host(&self) -> &str {
        self.url.host().unwrap_or_default()
    }

    /// The request for an event. A retry has the same id and another signature.
    pub fn request(&self, event: &str, body: &str, now_ms: i64) -> Option<Request<Bytes>> {
        let id = format!("evt_{}", hash(&format!("{event} {}", self.endpoint)));
        let seconds = (now_ms / 1000).to_string();
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header("webhook-id", &id)
            .header("webhook-timestamp", &seconds);
        if !self.key.is_empty() {
            let signed = format!("{id}.{seconds}.{body}");
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.key), signed.as_bytes());
            request = request.header("webhook-signature", format!("v1,{}", STANDARD.encode(tag)));
        }
        request.body(Bytes::from(body.to_owned())).ok()
    }
}

/// Twelve bytes of the SHA-256 of a text, in hexadecimal.
fn hash(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref()[..12].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let webhook = Webhook::new("https://example.com/hook?token=1", &secret).unwrap();
        let body = "{\"test\": 2432232314}";
        let request = webhook.request("e", body, 1_614_265_330_999).unwrap();
        let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("webhook-timestamp"), "1614265330");
        let signed = format!("{}.1614265330.{body}", header("webhook-id"));
        let key =
            hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap());
        let tag = STANDARD.decode(header("webhook-signature").strip_prefix("v1,").unwrap()).unwrap();
        hmac::verify(&key, signed.as_bytes(), &tag).unwrap();
        assert_eq!(request.uri().path_and_query().unwrap(), "/hook?token=1");
        assert!(!format!("{webhook:?}").contains("token"));
    }

    #[test]
    fn an_invalid_address_is_reported_without_repeating_it() {
        let secret = Secret::new("");
        for wrong in ["", "example.com", "ftp://x", "https://user:canary@x/", "https://x/#canary", "https://"]
        {
            let mistake = Webhook::new(wrong, &secret).unwrap_err();
            assert!(!mistake.contains("canary"), "{mistake}");
        }
        assert!(Webhook::new("https://x/", &Secret::new("whsec_!")).is_err());
    }
}
