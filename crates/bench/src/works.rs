//! The kinds of requests that are measured.

use crate::answers::{Format, Prompt};
use crate::targets::{GOVERNED_KEY, KEY};

/// One kind of request.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    pub name: &'static str,
    /// The caller's key at the gateway.
    pub key: &'static str,
    pub caller: Format,
    /// The model in the request, which selects the upstream and its format.
    pub model: &'static str,
    pub prompt: Prompt,
    pub stream: bool,
    /// Whether the upstream pauses between events.
    pub paced: bool,
    /// Maximum number of requests in one round.
    pub requests: usize,
    /// The target for the ratio of the gateway's CPU time to nginx's. nginx always forwards to the OpenAI
    /// upstream, at the same pace and in the same round.
    pub target: Option<f64>,
}

const SMALL: Prompt = Prompt::Text(400);

const fn unary(name: &'static str, model: &'static str, target: f64) -> Work {
    Work {
        name,
        key: KEY,
        caller: Format::OpenAi,
        model,
        prompt: SMALL,
        stream: false,
        paced: false,
        requests: 40_000,
        target: Some(target),
    }
}

const fn burst(name: &'static str, model: &'static str, target: f64) -> Work {
    Work { stream: true, requests: 6_000, ..unary(name, model, target) }
}

const fn paced(name: &'static str, model: &'static str, target: f64) -> Work {
    Work { stream: true, paced: true, requests: 320, ..unary(name, model, target) }
}

const OPENAI: &str = "openai/gpt-4o-mini";
const SECURE_OPENAI: &str = "secure-openai/gpt-4o-mini";
const CLAUDE: &str = "anthropic/claude-sonnet-4-5";
const GEMINI_FLASH: &str = "google-ai-studio/gemini-2.5-flash";

pub const UNARY: Work = unary("unary-400B", OPENAI, 1.8);
/// With a project, a budget and three limits. May cost 5 % more than without.
pub const GOVERNED: Work = Work { key: GOVERNED_KEY, ..unary("governed-unary-400B", OPENAI, 1.9) };
pub const UNARY_32K: Work = Work { prompt: Prompt::Text(32 << 10), ..unary("unary-32KB", OPENAI, 1.6) };
pub const UNARY_1M: Work =
    Work { prompt: Prompt::Image(1 << 20), requests: 3_000, ..unary("unary-1MB", OPENAI, 1.6) };
pub const BURST: Work = burst("stream-burst", OPENAI, 2.5);
pub const PACED: Work = paced("stream-5ms", "paced-openai/gpt-4o-mini", 1.6);
pub const ANTHROPIC: Work = unary("anthropic-unary-400B", CLAUDE, 2.6);
pub const ANTHROPIC_BURST: Work = burst("anthropic-stream-burst", CLAUDE, 4.5);
pub const ANTHROPIC_PACED: Work = paced("anthropic-stream-5ms", "paced-anthropic/claude-sonnet-4-5", 2.2);
/// Anthropic's format on both sides. May cost 10 % more than OpenAI's on both sides.
pub const MESSAGES: Work = Work { caller: Format::Anthropic, ..unary("messages-unary-400B", CLAUDE, 2.0) };
pub const MESSAGES_BURST: Work =
    Work { caller: Format::Anthropic, ..burst("messages-stream-burst", CLAUDE, 2.8) };
pub const GEMINI: Work = unary("gemini-unary-400B", GEMINI_FLASH, 2.6);
pub const GEMINI_BURST: Work = burst("gemini-stream-burst", GEMINI_FLASH, 4.5);
pub const GEMINI_PACED: Work = paced("gemini-stream-5ms", "paced-gemini/gemini-2.5-flash", 2.2);

/// As in production: TLS and HTTP/2 to the provider. nginx beside it forwards over clear HTTP/1.1, so there
/// is no target.
pub const SECURE: Work = Work { target: None, ..unary("tls-h2-unary-400B", SECURE_OPENAI, 0.0) };
pub const SECURE_BURST: Work = Work { target: None, ..burst("tls-h2-stream-burst", SECURE_OPENAI, 0.0) };

/// An open stream with few events and no end.
pub const HELD: Work = Work { target: None, ..paced("held", "held-openai/gpt-4o-mini", 0.0) };

/// The works that `run` compares.
pub const COMPARED: [Work; 16] = [
    UNARY,
    GOVERNED,
    UNARY_32K,
    UNARY_1M,
    BURST,
    PACED,
    ANTHROPIC,
    ANTHROPIC_BURST,
    ANTHROPIC_PACED,
    MESSAGES,
    MESSAGES_BURST,
    GEMINI,
    GEMINI_BURST,
    GEMINI_PACED,
    SECURE,
    SECURE_BURST,
];
