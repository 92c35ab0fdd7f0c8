//! Writes a request for Google: a canonical request as a `generateContent` body.

pub(crate) mod generation;
mod history;
mod limits;
pub(crate) mod media;
mod names;
mod schema;
mod thinking;
pub(crate) mod tools;

use canon::{Request, Result, Target, ToolKind};

use super::types::Settings;
use crate::json::{Around, Output};
use crate::protocols::unsupported::{lose_hints, refuse_fields};
use crate::{DecoderContext, Encoded};
use generation::{extra, generation_config};
use history::history;
use names::Names;
use tools::tools;

/// Bytes of JSON around the texts of a conversation, for the size of the output.
const AROUND: Around = Around { message: 28, part: 12, only: 12 };

pub(crate) fn request(request: &Request, target: Target<'_>) -> Result<Encoded> {
    refuse_fields(request, &["cachedContent", "cached_content"])?;
    let mut losses = request.losses.clone();
    let mut names = Names::new(all_names(request));
    let mut output = Output::for_request(request, &AROUND);
    output.push(b"{");
    let tools = tools(request, target, &mut names, &mut losses, &mut output)?;
    output.raw("contents", "[");
    let instructions = history(request, target, &mut names, &mut losses, &mut output)?;
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

/// Every tool name in the request.
fn all_names(request: &Request) -> impl Iterator<Item = &str> {
    let declared = request.tools.iter().filter(|tool| !matches!(tool.kind, ToolKind::Native(_)));
    let called = request.messages.iter().flat_map(|message| message.tool_calls());
    declared.map(|tool| tool.name.as_str()).chain(called.map(|call| call.name.as_str()))
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
