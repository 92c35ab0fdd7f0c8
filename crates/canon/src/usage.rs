//! Token counts in buckets that do not overlap.

use std::ops::AddAssign;

/// Token counts of one answer. The buckets are disjoint, so that each token has one price; the counts of
/// OpenAI's format are sums of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Prompt tokens at the full price: neither cached nor audio.
    pub input: u64,
    /// Prompt tokens read from the provider's cache.
    pub cache_read: u64,
    /// Prompt tokens written to the provider's cache for its default time (usually 5 minutes).
    pub cache_write: u64,
    /// Prompt tokens written to the provider's cache for an hour.
    pub cache_write_1h: u64,
    /// Audio tokens of the prompt.
    pub audio_input: u64,
    /// Produced tokens: text, tool calls and thinking.
    pub output: u64,
    /// Produced audio tokens.
    pub audio_output: u64,
    /// Produced image tokens.
    pub image_output: u64,
    /// How many of `output` are thinking. Information only: not a bucket of its own.
    pub reasoning: u64,
    /// Searches that the provider ran.
    pub web_searches: u64,
}

/// No answer has this many tokens in one bucket: ten times the longest context on offer.
const MOST: u64 = 100_000_000;

impl Usage {
    /// False for counts that no answer can have. They are neither shown nor priced.
    pub fn is_plausible(&self) -> bool {
        let counts = [
            self.input,
            self.cache_read,
            self.cache_write,
            self.cache_write_1h,
            self.audio_input,
            self.output,
            self.audio_output,
            self.image_output,
            self.reasoning,
            self.web_searches,
        ];
        counts.into_iter().all(|count| count <= MOST)
    }

    /// OpenAI's `prompt_tokens`: the whole input, cache reads and writes included.
    pub fn prompt_tokens(&self) -> u64 {
        self.input + self.cache_read + self.cache_write + self.cache_write_1h + self.audio_input
    }

    /// OpenAI's `completion_tokens`: the whole output, thinking included.
    pub fn completion_tokens(&self) -> u64 {
        self.output + self.audio_output + self.image_output
    }

    /// OpenAI's `total_tokens`.
    pub fn total_tokens(&self) -> u64 {
        self.prompt_tokens() + self.completion_tokens()
    }

    /// Tokens written to a cache, whatever the time.
    pub fn cache_writes(&self) -> u64 {
        self.cache_write + self.cache_write_1h
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.input += other.input;
        self.cache_read += other.cache_read;
        self.cache_write += other.cache_write;
        self.cache_write_1h += other.cache_write_1h;
        self.audio_input += other.audio_input;
        self.output += other.output;
        self.audio_output += other.audio_output;
        self.image_output += other.image_output;
        self.reasoning += other.reasoning;
        self.web_searches += other.web_searches;
    }
}
