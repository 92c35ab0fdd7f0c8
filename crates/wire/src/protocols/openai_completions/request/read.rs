//! A completions request as a canonical one.

use canon::{Error, Losses, Message, Part, Place, Request, Result, Role, Sampling};
use serde::Deserialize;

use crate::Intake;
use crate::json::Items;
use crate::protocols::Protocol;
use crate::protocols::openai_chat::{extra, optional, stop};

/// Fields with a counterpart in a canonical request, or that the gateway serves; all others are kept
/// unchanged.
const KNOWN: [&str; 17] = [
    "model",
    "prompt",
    "suffix",
    "echo",
    "best_of",
    "logprobs",
    "n",
    "max_tokens",
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "stop",
    "stream",
    "stream_options",
    "user",
];

/// The prompt: one text, alone or in a list.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Prompt {
    Text(String),
    List([String; 1]),
}

impl Prompt {
    pub(crate) fn into_text(self) -> String {
        match self {
            Self::Text(text) | Self::List([text]) => text,
        }
    }
}

/// Reads the whole request; ranges were checked by the intake. Fields that a conversation cannot express are
/// refused by name: another provider may support text completions.
pub(crate) fn read(intake: &Intake) -> Result<Request> {
    check_for_conversation(intake)?;
    let prompt = optional::<Prompt>(intake, "prompt")?.map(Prompt::into_text).unwrap_or_default();
    let place = Place::entry(0);
    let message = Message::new(Role::User, vec![Part::text(prompt).at(place)]).at(place);
    let count = |name: &str| intake.whole(name).and_then(|count| u32::try_from(count).ok());
    let alternatives = count("logprobs");
    Ok(Request {
        format: Protocol::OpenaiChat.as_str(),
        model: intake.model.clone(),
        messages: vec![message],
        max_tokens: intake.max_output_tokens,
        sampling: Sampling {
            temperature: optional(intake, "temperature")?,
            top_p: optional(intake, "top_p")?,
            top_k: None,
            frequency_penalty: optional(intake, "frequency_penalty")?,
            presence_penalty: optional(intake, "presence_penalty")?,
            seed: intake.whole("seed"),
        },
        stop: stop(intake)?,
        n: count("n"),
        logprobs: alternatives.map(|_| true),
        top_logprobs: alternatives.filter(|count| *count > 0),
        stream: intake.form.stream,
        include_usage: intake.form.include_usage,
        user: optional(intake, "user")?,
        extra: extra(intake, &KNOWN)?,
        losses: losses(intake),
        ..Request::default()
    })
}

fn check_for_conversation(intake: &Intake) -> Result<()> {
    const CALLED: &str = "The provider of the model is called through its chat API";
    let prompt = intake.non_null("prompt").and_then(|prompt| std::str::from_utf8(prompt).ok());
    let prompts = Items::of(prompt.unwrap_or_default());
    let refuse =
        |field: &'static str, why: String| Err(Error::unsupported(field, format!("{CALLED}, {why}")));
    match (prompts.clone().next(), prompts.count()) {
        (Some(first), _) if !first.starts_with('"') => {
            return refuse("prompt", "which accepts no token numbers; send the prompt as text.".to_owned());
        }
        (Some(_), count @ 2..) => {
            return refuse("prompt", format!("which continues one text; prompt is a list of {count} texts."));
        }
        _ => {}
    }
    if intake.non_null("suffix").is_some_and(|suffix| suffix != b"\"\"") {
        return refuse("suffix", "which cannot insert text before a suffix.".to_owned());
    }
    if intake.non_null("echo") == Some(b"true") && intake.non_null("logprobs").is_some() {
        return refuse("echo", "which returns no log probabilities of the prompt.".to_owned());
    }
    Ok(())
}

fn losses(intake: &Intake) -> Losses {
    let mut losses = Losses::new();
    if intake.whole("best_of") > Some(intake.whole("n").unwrap_or(1)) {
        losses.dropped(
            "best_of",
            "No chat API selects the best of several answers: the first answers are returned.",
        );
    }
    losses
}
