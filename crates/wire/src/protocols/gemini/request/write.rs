//! Writes a request for Google: a canonical request as a `generateContent` body.

pub(crate) mod generation;
mod history;
mod limits;
pub(crate) mod media;
mod names;
mod schema;
mod thinking;
pub(crate) mod tools;

use canon::{Request, Result, Target};

use super::types::Settings;
use crate::json::{FormatOverhead, Output};
use crate::protocols::tool_names::Names;
use crate::protocols::unsupported::{lose_hints, refuse_fields};
use crate::{DecoderContext, Encoded};
use generation::{extra, generation_config};
use history::History;
use names::NAMES;
use tools::tools;

/// Bytes of JSON around the texts of a conversation, for the size of the output.
const AROUND: FormatOverhead = FormatOverhead {
    message: 28,
    part: 12,
    answer: 12,
    only: 12,
    call: 47,
    result: 70,
    tool: 12,
    joins: true,
};

pub(crate) fn request(request: &Request, target: Target<'_>) -> Result<Encoded> {
    refuse_fields(request, &["cachedContent", "cached_content"])?;
    let mut losses = request.losses.clone();
    let names = Names::of(request, NAMES);
    let history = History::of(request);
    let mut output = Output::for_request(request, &AROUND);
    output.push(b"{");
    let tools = tools(request, target, &names, &mut losses, &mut output)?;
    output.raw("contents", "[");
    let instructions = history.write(target, &names, &mut losses, &mut output)?;
    output.push(b"]");
    let (generation_config, told) = generation_config(request, target, tools.has_functions, &mut losses)?;
    instructions.write(told.as_deref(), &mut output)?;
    lose_hints(request, &CARRIED, &mut losses);
    output.members_of(&Settings {
        tool_config: tools.config,
        generation_config,
        safety_settings: extra(request, "safetySettings", "safety_settings"),
        cached_content: extra(request, "cachedContent", "cached_content"),
        labels: extra(request, "labels", "labels"),
    })?;
    let decoding = DecoderContext {
        tool_names: names.into_originals(),
        custom_tools: tools.custom,
        ..DecoderContext::default()
    };
    Ok(Encoded { body: output.into_bytes(), losses, decoding })
}

/// Fields that other modules of this folder handle, in either spelling.
const CARRIED: [&str; 16] = [
    "top_k",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "parallel_tool_calls",
    "safetySettings",
    "safety_settings",
    "cachedContent",
    "cached_content",
    "labels",
    "imageConfig",
    "image_config",
    "mediaResolution",
    "media_resolution",
    "stream",
    "stream_options",
];
