//! Base URLs as people write them. The SDK of each format has its own convention (OpenAI's base URL ends with
//! a version, Anthropic's does not), and base URLs are copied from one tool to another.

use super::CallStyle;
use super::compatible::usual_path;
use crate::Protocol;

/// The provider of a base URL.
#[derive(Clone, Copy, Debug)]
pub struct UrlMatch<'a> {
    /// How the provider is called.
    pub calling: CallStyle,
    /// The wire format of its API.
    pub protocol: Protocol,
    /// The path below the base URL, where it is not the protocol's default.
    pub path: Option<&'a str>,
    /// The provider's default base URL, if it has one.
    pub usual: Option<&'a str>,
}

impl UrlMatch<'_> {
    /// The base URL by the convention of the call style, without a trailing slash: without a version that the
    /// path contains as well, without the path itself, and for OpenAI's format with a version where only a
    /// host is given.
    pub fn base_url(&self, given: &str) -> String {
        let given = given.trim_end_matches('/');
        let base = self.endings().into_iter().find_map(|ending| without(given, ending)).unwrap_or(given);
        if self.calling == CallStyle::Compatible && self.path.is_none() && path_of(base).is_empty() {
            return format!("{base}{}", self.version());
        }
        base.to_owned()
    }

    /// The suffixes to remove, longest first.
    fn endings(&self) -> Vec<&str> {
        match self.calling {
            CallStyle::Compatible => {
                let further: &[&str] = match self.protocol {
                    Protocol::AnthropicMessages => &["/v1"],
                    // One base URL serves both of OpenAI's formats.
                    Protocol::OpenaiChat => &["/responses", "/completions"],
                    Protocol::OpenaiResponses => &["/chat/completions"],
                    Protocol::OpenaiCompletions => &["/chat/completions", "/responses"],
                    Protocol::CohereChat => &["/v2", "/v1/chat", "/v1"],
                    Protocol::OllamaChat => &["/v1/chat/completions", "/api", "/v1"],
                    _ => &[],
                };
                [&[self.path.unwrap_or(usual_path(self.protocol))], further].concat()
            }
            CallStyle::GoogleAiStudio => vec!["/openai/chat/completions", "/openai", "/models"],
            CallStyle::GoogleVertex => Vec::new(),
            CallStyle::AwsBedrock => vec!["/model"],
            CallStyle::Azure => vec![
                "/openai/v1/chat/completions",
                "/openai/v1/responses",
                "/openai/v1",
                "/openai/deployments",
                "/openai",
                "/anthropic/v1/messages",
                "/anthropic/v1",
                "/anthropic",
                "/v1/chat/completions",
            ],
        }
    }

    /// The suffix of a host in OpenAI's format: as at the provider's default URL, else `/v1`.
    fn version(&self) -> &str {
        match (self.protocol, self.usual) {
            (Protocol::OpenaiChat | Protocol::OpenaiResponses, Some(usual)) => path_of(usual),
            (Protocol::OpenaiChat | Protocol::OpenaiResponses, None) => "/v1",
            _ => "",
        }
    }
}

fn without<'a>(url: &'a str, ending: &str) -> Option<&'a str> {
    let base = url.strip_suffix(ending)?;
    // At least a host must remain.
    base.split_once("://").is_some_and(|(_, rest)| !rest.is_empty()).then_some(base)
}

/// The path of a URL, without a trailing slash. Empty for a bare host.
pub(super) fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or("", |start| rest[start..].trim_end_matches('/'))
}
