//! Differences between families of models behind one API. The family is derived from the model's id.

use crate::protocols::anthropic_messages::thinking::Generation;

/// A family of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Anthropic's Claude; none for a name without a version.
    Claude(Option<Generation>),
    /// Amazon's Nova; the second generation thinks.
    Nova { second: bool },
    /// OpenAI's open-weight models.
    GptOss,
    /// OpenAI's other models.
    Gpt,
    /// Meta's Llama.
    Llama,
    /// Mistral's models; the larger ones accept a forced tool choice.
    Mistral { large: bool },
    /// DeepSeek; the R1 generation always thinks.
    DeepSeek { r1: bool },
    /// Alibaba's Qwen.
    Qwen,
    /// Cohere's Command.
    Cohere,
    /// Any other.
    Other,
}

impl Family {
    /// The family of a model id, an inference profile or an ARN that names the model.
    pub fn of(model: &str) -> Self {
        let model = model.to_ascii_lowercase();
        let has = |word: &str| model.contains(word);
        if has("claude") {
            Self::Claude(Generation::of(&model))
        } else if has("gpt-oss") {
            Self::GptOss
        } else if has("openai.") {
            Self::Gpt
        } else if has("nova-") {
            Self::Nova { second: has("nova-2") }
        } else if has("llama") {
            Self::Llama
        } else if has("mistral") || has("pixtral") {
            Self::Mistral { large: has("large") }
        } else if has("deepseek") {
            Self::DeepSeek { r1: has("deepseek.r1") }
        } else if has("qwen") {
            Self::Qwen
        } else if has("cohere") {
            Self::Cohere
        } else {
            Self::Other
        }
    }

    pub fn is_claude(self) -> bool {
        matches!(self, Self::Claude(..))
    }

    /// Others answer 400 to `any` and `tool` (API reference of `ToolChoice`).
    pub fn takes_forced_choice(self) -> bool {
        match self {
            Self::Claude(generation) => !generation.is_some_and(Generation::refuses_forced_tools),
            Self::Nova { .. } | Self::Mistral { large: true } => true,
            _ => false,
        }
    }

    /// Others answer 400 to cache points ("Prompt caching" in the user guide).
    pub fn takes_cache_points(self) -> bool {
        matches!(self, Self::Claude(..) | Self::Nova { .. })
    }

    /// Claude 4.1 and later answer 400 to `temperature` together with `topP`.
    pub fn takes_one_of_temperature_and_top_p(self) -> bool {
        matches!(self, Self::Claude(Some(generation)) if generation.refuses_both_samplings())
    }

    /// Claude 4.7 and later answer 400 to any sampling parameter.
    pub fn refuses_sampling(self) -> bool {
        matches!(self, Self::Claude(Some(generation)) if generation.refuses_sampling())
    }

    /// Claude 4.6 and later do not continue an answer that the caller began.
    pub fn refuses_prefill(self) -> bool {
        matches!(self, Self::Claude(Some(generation)) if generation.refuses_prefill())
    }

    /// Mistral's ids of tool calls are exactly nine letters or digits.
    pub fn has_short_call_ids(self) -> bool {
        matches!(self, Self::Mistral { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_read_from_ids() {
        use Family::*;
        let cases = [
            ("us.amazon.nova-pro-v1:0", Nova { second: false }),
            ("us.amazon.nova-2-lite-v1:0", Nova { second: true }),
            ("openai.gpt-oss-120b-1:0", GptOss),
            ("openai.gpt-5.6", Gpt),
            ("us.meta.llama3-3-70b-instruct-v1:0", Llama),
            ("mistral.mistral-large-2407-v1:0", Mistral { large: true }),
            ("mistral.mistral-7b-instruct-v0:2", Mistral { large: false }),
            ("us.deepseek.r1-v1:0", DeepSeek { r1: true }),
            ("deepseek.v3-v1:0", DeepSeek { r1: false }),
            ("qwen.qwen3-32b-v1:0", Qwen),
            ("cohere.command-r-v1:0", Cohere),
            ("moonshot.kimi-k2-thinking", Other),
        ];
        for (id, family) in cases {
            assert_eq!(Family::of(id), family, "{id}");
        }
        let claude = [
            ("anthropic.claude-instant-v1", None),
            ("anthropic.claude-3-haiku-20240307-v1:0", Some((3, 0))),
            ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", Some((3, 7))),
            ("eu.anthropic.claude-sonnet-4-20250514-v1:0", Some((4, 0))),
            (
                "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-opus-4-1-20250805-v1:0",
                Some((4, 1)),
            ),
        ];
        for (id, version) in claude {
            let Family::Claude(generation) = Family::of(id) else { panic!("{id}") };
            assert_eq!(generation.map(|generation| generation.version), version, "{id}");
        }
    }
}
