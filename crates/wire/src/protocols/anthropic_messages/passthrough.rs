//! Callers and providers that both use Messages: the raw request with only the edits that routing and the
//! model's facts require. Every edit that removes something is a loss.

mod history;
mod media;
mod plain;
mod relay;

use bytes::Bytes;
use canon::{Error, Feature, Losses, Result, Target};
use serde::Deserialize;

use super::request::write::thinking::{Generation, ThinkingKind, takes_effort, takes_kind};
use super::{AnthropicMessages, request};
use crate::json::{Edit, may_say, quoted};
use crate::{
    DecoderContext, Encoded, Intake, MediaSlots, Passthrough, PassthroughInputs, ROUTING_FIELDS, Transcoder,
    TranscoderParts,
};
use history::{HistoryChanges, OutgoingTurns};
use media::media_urls;

/// The gateway's own object: it replaces that of another gateway.
const OWN: &str = "llmgateway";
/// Space for additions: a longer model name.
const SPARE: usize = 64;
/// Blocks of the history that need a full check.
const CLOSE_LOOKS: [&str; 3] = ["thinking", "redacted_thinking", "tool_use"];

/// With this beta a provider stores conversations.
const THREADS_BETA: &str = "message-threads-2026-08-12";

impl Passthrough for AnthropicMessages {
    /// Whether the request was written for this generation of models. An alias or a fallback may lead to
    /// another one: it is then translated.
    fn fits(&self, intake: &Intake, target: Target<'_>) -> bool {
        let fields = GenerationFields::of(intake);
        let refuses_forced = || Generation::of(target.model).is_some_and(Generation::refuses_forced_tools);
        (!intake.needs.has(Feature::JsonSchema) || request::write::takes_schemas(target))
            && fields.thinking.is_none_or(|kind| takes_kind(kind, target))
            && (!fields.effort || takes_effort(target))
            && !(fields.forces_a_call && refuses_forced())
            && !(intake.non_null("thread").is_some() && target.quirks.refuses_beta(THREADS_BETA))
    }

    fn media(&self, intake: &Intake, target: Target<'_>) -> Option<Box<dyn MediaSlots>> {
        let wants = intake.needs.has(Feature::Vision) || intake.needs.has(Feature::Documents);
        Some(Box::new(wants.then(|| media_urls(intake, target)).flatten()?))
    }

    fn forward(&self, intake: &Intake, forwarding: PassthroughInputs<'_>) -> Result<Encoded> {
        let mut forward = Forward {
            intake,
            forwarding,
            edit: intake.edit(),
            losses: Losses::new(),
            decoding: DecoderContext::default(),
        };
        forward.model();
        forward.check_betas()?;
        forward.refused_fields();
        forward.history();
        let Forward { edit, losses, decoding, .. } = forward;
        Ok(Encoded { body: Bytes::from(edit.write(SPARE)), losses, decoding })
    }

    fn relay(&self, parts: TranscoderParts<'_>) -> Box<dyn Transcoder> {
        relay::relay(parts)
    }
}

/// Fields that differ between generations of models.
#[derive(Default)]
struct GenerationFields {
    thinking: Option<ThinkingKind>,
    effort: bool,
    forces_a_call: bool,
}

impl GenerationFields {
    fn of(intake: &Intake) -> Self {
        #[derive(Deserialize)]
        struct Typed {
            #[serde(rename = "type")]
            kind: Option<String>,
        }
        #[derive(Deserialize)]
        struct Config {
            effort: Option<serde::de::IgnoredAny>,
        }
        let kind = |name: &str| intake.read_as::<Typed>(name).and_then(|typed| typed.kind);
        Self {
            thinking: kind("thinking").as_deref().and_then(ThinkingKind::parse),
            effort: intake.read_as::<Config>("output_config").is_some_and(|config| config.effort.is_some()),
            forces_a_call: matches!(kind("tool_choice").as_deref(), Some("any" | "tool")),
        }
    }
}

struct Forward<'a> {
    intake: &'a Intake,
    forwarding: PassthroughInputs<'a>,
    edit: Edit<'a>,
    losses: Losses,
    decoding: DecoderContext,
}

impl Forward<'_> {
    fn model(&mut self) {
        let target = self.forwarding.target;
        self.edit.set("model", &quoted(target.model));
        if !target.quirks.takes_routing_fields {
            // The gateway itself has read them.
            for name in ROUTING_FIELDS {
                self.edit.remove(name);
            }
        }
    }

    /// Features that need a beta. Without it the provider would not serve the request as asked.
    fn check_betas(&self) -> Result<()> {
        const FEATURES: [(&str, &str); 2] =
            [("mcp_servers", "mcp-client-2025-11-20"), ("container", "skills-2025-10-02")];
        let quirks = self.forwarding.target.quirks;
        let refused = FEATURES
            .iter()
            .find(|(name, beta)| self.intake.non_null(name).is_some() && quirks.refuses_beta(beta));
        match refused {
            Some((name, beta)) => {
                let message = format!("{name} needs the beta {beta}, which the provider does not have.");
                Err(Error::unsupported(*name, message))
            }
            None => Ok(()),
        }
    }

    /// Fields that this model or this provider refuses.
    fn refused_fields(&mut self) {
        const MODEL_LACKS: &str = "The model does not accept this parameter.";
        const PROVIDER_LACKS: &str = "The provider does not accept this parameter.";
        let target = self.forwarding.target;
        let by_name: &[&str] = match Generation::of(target.model) {
            Some(generation) if generation.refuses_sampling() => &["temperature", "top_p", "top_k"],
            _ => &[],
        };
        for name in target.facts.rejects.iter().map(String::as_str).chain(by_name.iter().copied()) {
            let name = match name {
                "stop" => "stop_sequences",
                "user" => "metadata",
                // Checked when the fit of the request is decided.
                "tool_choice" => continue,
                name => name,
            };
            // A temperature of one is the default.
            let says_nothing = name == "temperature" && self.intake.whole(name) == Some(1);
            if self.edit.remove(name) && !says_nothing {
                self.losses.dropped(name.to_owned(), MODEL_LACKS);
            }
        }
        for name in &target.quirks.drop {
            if self.edit.remove(name) {
                self.losses.dropped(name.clone(), PROVIDER_LACKS);
            }
        }
    }

    /// Restores thinking that callers dropped, removes foreign thinking, and rewrites ids that the API
    /// refuses.
    fn history(&mut self) {
        let Some(raw) = self.intake.non_null("messages") else { return };
        // A string has no blocks.
        if !self.intake.seen.content_lists || !CLOSE_LOOKS.iter().any(|name| may_say(raw, name)) {
            return;
        }
        let PassthroughInputs { target, memory, without_thinking } = self.forwarding;
        let generation = Generation::of(target.model);
        let thinks = match GenerationFields::of(self.intake).thinking {
            Some(kind) => kind != ThinkingKind::Disabled,
            None => generation.is_some_and(Generation::thinks_by_default),
        };
        let history = HistoryChanges {
            signs: generation.is_some() || target.model.contains("claude"),
            without_thinking,
            memory: memory.filter(|_| thinks && !without_thinking),
        };
        let OutgoingTurns { messages, is_thoughtless, called } = history.outgoing(raw, &mut self.losses);
        self.decoding.taken_ids = called;
        if let Some(messages) = messages {
            self.edit.put("messages", messages);
        }
        // A thinking budget requires the thinking before the last calls.
        let wants_thinking = || GenerationFields::of(self.intake).thinking == Some(ThinkingKind::Enabled);
        if (without_thinking || history.signs && is_thoughtless) && wants_thinking() {
            const REASON: &str = "The thinking in front of the last tool calls is missing.";
            for name in ["thinking", "context_management"] {
                if self.edit.remove(name) {
                    self.losses.dropped(name, REASON);
                }
            }
        }
    }
}
