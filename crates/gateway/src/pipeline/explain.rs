//! What would happen to a request: the plan with its reasons, and the request that the first provider would get.

use std::fmt::Write;
use std::time::SystemTime;

use canon::{Error, Target};
use routing::Timestamp;
use wire::Dialect;
use wire::protocols::openai_chat::{OpenaiChat, Outline, forward};
use wire::providers::Call;
use wire::{Encoded, Protocol, adapter};

use super::plan;
use super::resolve::{Offer, resolve_all};
use crate::snapshot::Snapshot;

/// The explanation as text. Nothing is sent.
pub fn explain(snapshot: &Snapshot, body: &[u8]) -> Result<String, Error> {
    let outline = Outline::read(body)?;
    let resolved = resolve_all(snapshot, &outline.model, &plan::further_models(&outline)?, 0)?;
    let candidates = plan::candidates(&resolved.offers, &outline);
    let settings = &snapshot.routing;
    let preferences = plan::preferences(&outline, &resolved.offers)?;
    let needs = plan::needs(&outline);
    let found = routing::plan(&needs, &candidates, &preferences, &snapshot.health, settings, Timestamp(0), 0);
    let plan = found.map_err(|none| none.to_error())?;
    let selection = plan.selection(&candidates);
    let mut text = String::new();
    let _ = writeln!(text, "model      {}", outline.model);
    let _ = writeln!(
        text,
        "needs      {:?}, about {} prompt tokens",
        outline.needs,
        outline.estimated_prompt_tokens()
    );
    let _ = writeln!(text, "selection  {}", serde_json::to_string_pretty(&selection).unwrap_or_default());
    let first = &resolved.offers[plan.order[0].index];
    let encoded = encode(first, &outline, body)?;
    let _ =
        writeln!(text, "losses     {}", serde_json::to_string_pretty(&encoded.losses).unwrap_or_default());
    let _ = write!(text, "{}", request(first, &outline, encoded)?);
    Ok(text)
}

fn encode(offer: &Offer, outline: &Outline<'_>, body: &[u8]) -> Result<Encoded, Error> {
    let target = Target { model: &offer.model, facts: offer.facts(), quirks: &offer.provider.row.quirks };
    match offer.protocol {
        Protocol::OpenaiChat => forward(outline, target),
        protocol => adapter(protocol).encode_request(&OpenaiChat.decode_request(body)?, target),
    }
}

fn request(offer: &Offer, outline: &Outline<'_>, encoded: Encoded) -> Result<String, Error> {
    let provider = &offer.provider;
    let request = provider.calling.request(&Call {
        base_url: &provider.settings.base_url,
        protocol: offer.protocol,
        model: &offer.model,
        streaming: outline.stream,
        body: encoded.body,
        credential: &provider.credentials.example(),
        auth: &provider.row.auth,
        headers: &provider.row.headers,
        path: provider.row.path.as_deref(),
        settings: &provider.settings.settings,
        now: SystemTime::UNIX_EPOCH,
    })?;
    let mut text = format!("request    {} {}\n", request.method(), request.uri());
    for (name, value) in request.headers() {
        let shown = if value.is_sensitive() { "***" } else { value.to_str().unwrap_or("") };
        let _ = writeln!(text, "           {name}: {shown}");
    }
    let pretty: serde_json::Value = serde_json::from_slice(request.body()).unwrap_or_default();
    let _ = writeln!(text, "{}", serde_json::to_string_pretty(&pretty).unwrap_or_default());
    Ok(text)
}
