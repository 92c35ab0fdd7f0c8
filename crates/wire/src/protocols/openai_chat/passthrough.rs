//! Between callers and providers that both use chat completions.

pub(crate) mod forward;
pub(crate) mod media;
pub(crate) mod relay;
mod strictness;
mod thoughts;

use canon::{Quirks, Result, Target};

use super::OpenaiChat;
use crate::json::may_say;
use crate::proofs::Refusal;
use crate::{
    Encoded, Intake, MediaSlots, Passthrough, PassthroughInputs, ThinkingRepair, Transcoder, TranscoderParts,
};
use forward::forward_with;
use media::MediaUrls;
use relay::{RelayParts, relay};

impl Passthrough for OpenaiChat {
    /// Free-text tools and a choice among several tools need a translation where the provider supports
    /// neither.
    fn fits(&self, intake: &Intake, target: Target<'_>) -> bool {
        target.quirks.takes_custom_tools || !(has_tools_of(intake, "custom") || chooses_among(intake))
    }

    fn media(&self, intake: &Intake, target: Target<'_>) -> Option<Box<dyn MediaSlots>> {
        let urls = target.quirks.no_media_urls.then(|| MediaUrls::of(intake)).flatten()?;
        Some(Box::new(urls))
    }

    fn forward(&self, intake: &Intake, forwarding: PassthroughInputs<'_>) -> Result<Encoded> {
        forward_with(intake, forwarding.target, forwarding.memory)
    }

    fn relay(&self, parts: TranscoderParts<'_>) -> Box<dyn Transcoder> {
        relay(RelayParts {
            form: parts.form,
            annotator: Box::new(parts.annotator),
            gathers: parts.quirks.reasoning_field.is_some(),
            cached_outside_prompt: parts.decoding.cached_outside_prompt,
            taken_ids: parts.decoding.taken_ids.clone(),
        })
    }

    /// Changes quirks: providers of this format differ in the fields of thinking that they require or refuse.
    fn thinking_repair(&self, refusal: Refusal, usual: &Quirks) -> Option<ThinkingRepair> {
        Some(ThinkingRepair { quirks: refusal.quirks(usual)?, without_thinking: false })
    }
}

/// A tool, or the choice of one.
#[derive(serde::Deserialize)]
struct Typed<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: std::borrow::Cow<'a, str>,
}

/// Whether tools of this type are offered.
fn has_tools_of(intake: &Intake, kind: &str) -> bool {
    // The name may occur elsewhere in the tools, so they are read only if it occurs.
    intake.field("tools").is_some_and(|tools| may_say(tools, kind))
        && intake
            .read_as::<Vec<Typed<'_>>>("tools")
            .is_some_and(|tools| tools.iter().any(|tool| tool.kind == kind))
}

fn chooses_among(intake: &Intake) -> bool {
    intake.read_as::<Typed<'_>>("tool_choice").is_some_and(|choice| choice.kind == "allowed_tools")
}
