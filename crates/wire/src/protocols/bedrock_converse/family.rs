//! What differs by family of models behind one API. The family is read from the model's id.

/// A family of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Anthropic's Claude: major and minor version.
    Claude(u32, u32),
    /// Amazon's Nova; the second generation thinks.
    Nova { second: bool },
    /// OpenAI's open-weight models.
    GptOss,
    /// OpenAI's other models.
    Gpt,
    /// Meta's Llama.
    Llama,
    /// Mistral's models; the larger ones take a forced tool choice.
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
        if let Some(at) = model.find("claude") {
            let (major, minor) = claude_version(&model[at..]);
            return Self::Claude(major, minor);
        }
        if has("gpt-oss") {
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
        matches!(self, Self::Claude(..) | Self::Nova { .. } | Self::Mistral { large: true })
    }

    /// Others answer 400 to cache points ("Prompt caching" in the user guide).
    pub fn takes_cache_points(self) -> bool {
        matches!(self, Self::Claude(..) | Self::Nova { .. })
    }

    /// Claude 4.1 and later answer 400 to `temperature` together with `topP`.
    pub fn takes_one_of_temperature_and_top_p(self) -> bool {
        matches!(self, Self::Claude(major, minor) if (major, minor) >= (4, 1))
    }

    /// Claude 4.7 and later answer 400 to any sampling parameter.
    pub fn refuses_sampling(self) -> bool {
        matches!(self, Self::Claude(major, minor) if (major, minor) >= (4, 7))
    }

    /// Mistral's ids of tool calls are exactly nine letters or digits.
    pub fn has_short_call_ids(self) -> bool {
        matches!(self, Self::Mistral { .. })
    }
}

/// `claude-3-7-sonnet-20250219-v1:0` is 3.7, `claude-sonnet-4-20250514-v1:0` is 4.0, `claude-v2:1` is 2.0.
fn claude_version(name: &str) -> (u32, u32) {
    let mut numbers = name
        .split(['-', '.', '@', ':'])
        .map(|word| word.strip_prefix('v').unwrap_or(word))
        .skip_while(|word| word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_digit()))
        .map_while(|word| word.parse::<u32>().ok().filter(|number| *number < 100 && word.len() <= 2));
    let major = numbers.next().unwrap_or(2);
    let minor = if major >= 3 { numbers.next().unwrap_or(0) } else { 0 };
    (major, minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_read_from_ids() {
        use Family::*;
        let cases = [
            ("anthropic.claude-3-haiku-20240307-v1:0", Claude(3, 0)),
            ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", Claude(3, 7)),
            ("eu.anthropic.claude-sonnet-4-20250514-v1:0", Claude(4, 0)),
            ("global.anthropic.claude-sonnet-4-5-20250929-v1:0", Claude(4, 5)),
            ("anthropic.claude-opus-4-8", Claude(4, 8)),
            ("anthropic.claude-v2:1", Claude(2, 0)),
            ("anthropic.claude-instant-v1", Claude(1, 0)),
            (
                "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-opus-4-1-20250805-v1:0",
                Claude(4, 1),
            ),
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
    }
}
