//! Loops of gateways: a base URL that leads back to this gateway, directly or through others, would repeat a
//! request until a timeout ends it. Each gateway therefore adds its name to a header, and refuses a request
//! that already has it.

use canon::{Error, ErrorKind};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The gateways that a request has passed, separated by commas.
pub const HOPS: HeaderName = HeaderName::from_static("x-llmgateway-hops");
/// Longest list that is passed on. A longer chain of gateways is treated as a loop.
const LONGEST: usize = 1024;

/// This gateway's name in the header: random at each start.
pub struct Hops {
    own: String,
}

impl Default for Hops {
    fn default() -> Self {
        Self { own: format!("{:016x}", uuid::Uuid::new_v4().as_u64_pair().0) }
    }
}

impl Hops {
    /// The gateways that the request has passed; none for nearly every request. Refuses a request that has
    /// passed this one.
    pub fn passed(&self, headers: &HeaderMap) -> Result<Option<String>, Error> {
        if !headers.contains_key(&HOPS) {
            return Ok(None);
        }
        let values = headers.get_all(&HOPS).iter().filter_map(|value| value.to_str().ok());
        let passed = values.collect::<Vec<_>>().join(",");
        let is_again = passed.split(',').any(|name| name.trim() == self.own);
        if is_again || passed.len() > LONGEST {
            let message = "The request has come back to a gateway that it had passed: the base_url of a provider leads \
                           to this gateway, directly or through others.";
            return Err(Error::gateway(ErrorKind::LoopDetected, message));
        }
        Ok(Some(passed))
    }

    /// The header for the next gateway.
    pub fn onward(&self, passed: Option<&str>) -> Option<HeaderValue> {
        let text = match passed {
            Some(passed) => &format!("{passed},{}", self.own),
            None => &self.own,
        };
        HeaderValue::from_str(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_passes_each_gateway_once() {
        let (first, second) = (Hops::default(), Hops::default());
        let mut headers = HeaderMap::new();
        assert_eq!(first.passed(&headers).unwrap(), None);
        headers.insert(HOPS, first.onward(None).unwrap());
        let passed = second.passed(&headers).unwrap();
        headers.insert(HOPS, second.onward(passed.as_deref()).unwrap());
        for gateway in [&first, &second] {
            assert_eq!(gateway.passed(&headers).unwrap_err().kind, ErrorKind::LoopDetected);
        }
        headers.insert(HOPS, HeaderValue::from_str(&"x,".repeat(LONGEST)).unwrap());
        assert_eq!(first.passed(&headers).unwrap_err().kind, ErrorKind::LoopDetected);
    }
}
