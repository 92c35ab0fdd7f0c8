//! Between callers and providers that both speak chat completions.

pub(crate) mod forward;
pub(crate) mod media;
pub(crate) mod relay;
mod strictness;
mod thoughts;

use canon::{Quirks, Result, Target};

use super::OpenaiChat;
use crate::proofs::Refusal;
use crate::{
    Encoded, Forwarding, Intake, MediaSlots, Passthrough, ThinkingRepair, Transcoder, TranscoderParts,
};
use forward::forward_with;
use media::MediaUrls;
use relay::{RelayParts, relay};

impl Passthrough for OpenaiChat {
    fn media(&self, intake: &Intake, target: Target<'_>) -> Option<Box<dyn MediaSlots>> {
        let urls = target.quirks.no_media_urls.then(|| MediaUrls::of(intake)).flatten()?;
        Some(Box::new(urls))
    }

    fn forward(&self, intake: &Intake, forwarding: Forwarding<'_>) -> Result<Encoded> {
        forward_with(intake, forwarding.target, forwarding.memory)
    }

    fn relay(&self, parts: TranscoderParts<'_>) -> Box<dyn Transcoder> {
        relay(RelayParts {
            form: parts.form,
            annotator: Box::new(parts.annotator),
            gathers: parts.quirks.reasoning_field.is_some(),
            cached_outside_prompt: parts.decoding.cached_outside_prompt,
        })
    }

    /// By other quirks: which fields of thinking a provider wants or does not know is what providers of this format differ
    /// in.
    fn thinking_repair(&self, refusal: Refusal, usual: &Quirks) -> Option<ThinkingRepair> {
        Some(ThinkingRepair { quirks: refusal.quirks(usual)?, without_thinking: false })
    }
}
