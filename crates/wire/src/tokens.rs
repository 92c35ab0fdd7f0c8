//! How many tokens a prompt has, estimated from its content: for counts that no provider makes, and for tests
//! that compare the estimate with providers' reports.
//!
//! There is no tokenizer: those of the newest models are not public, and one family's would be wrong for the
//! next. Text is cut the way all of them cut it (words, runs of digits, of punctuation, of white space), and
//! each kind of piece has its average weight ([`text`]). The differences of a family are data: [`Rules`], in
//! the catalog's `tokens.toml`.

mod media;
mod text;

use canon::{Message, OutputFormat, Part, PartKind, Request, Role, Source, Tool, ToolKind};
use serde::Deserialize;

pub use media::Picture;
use text::{TokenWeights, json_pieces, pieces};

/// Characters of encrypted thinking per token: base64 of about 6 bytes.
const ENCRYPTED_PER_TOKEN: usize = 8;

/// How a family of models counts, besides the pieces of its text.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// Tokens of words, punctuation and white space, as a multiple of those of OpenAI's `o200k_base`.
    pub text: f64,
    /// The same for scripts other than Latin.
    pub scripts: f64,
    /// The same for digits, where they are grouped by three.
    pub digits: f64,
    /// Tokens of each digit; none for groups of three.
    pub digit: Option<f64>,
    /// Tokens of the JSON schemas of tools, as a multiple of the same text in a message.
    pub schema: f64,
    /// The same for the schema of the answer; 0 where it controls the sampling and is not in the prompt.
    pub answer_schema: f64,
    /// Tokens of every request.
    pub request: f64,
    /// Tokens of every message besides its content.
    pub message: f64,
    /// Tokens of instructions that the provider adds where there are tools.
    pub tools: f64,
    /// Tokens of every tool besides its text.
    pub tool: f64,
    /// Tokens of every call and of every result besides their text.
    pub call: f64,
    /// Tokens of instructions that the provider adds where the answer has a JSON schema.
    pub json: f64,
    /// Tokens of instructions that the provider adds for a request with thinking.
    pub thinking: f64,
    /// Tokens of each character of a signature: thinking of the turn that is not shown.
    pub signature: f64,
    /// How pictures count.
    pub picture: Picture,
    /// Tokens of a page of a PDF.
    pub page: f64,
    /// Tokens of a second of audio.
    pub audio: f64,
    /// Tokens of a second of video.
    pub video: f64,
}

/// The tokens of a text for a model whose vocabulary is unknown, estimated by that of OpenAI.
pub fn text_tokens(text: &str) -> u64 {
    let TokenWeights { latin, scripts, triplets, .. } = pieces(text);
    (latin + scripts + triplets).ceil() as u64
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            text: 1.0,
            scripts: 1.0,
            digits: 1.0,
            digit: None,
            schema: 0.9,
            answer_schema: 0.0,
            request: 3.0,
            message: 4.0,
            tools: 0.0,
            tool: 8.0,
            call: 8.0,
            json: 0.0,
            thinking: 0.0,
            signature: 0.0,
            picture: Picture::default(),
            page: 1500.0,
            audio: 32.0,
            video: 300.0,
        }
    }
}

impl Rules {
    /// The number of tokens that a request's prompt has by these rules.
    pub fn estimate(&self, request: &Request) -> u64 {
        let mut sum = Sum { rules: self, tokens: self.request };
        if request.reasoning.is_on() {
            sum.tokens += self.thinking;
        }
        sum.tools(&request.tools);
        if let OutputFormat::JsonSchema { schema: Some(schema), .. } = &request.output {
            sum.tokens += self.json;
            sum.add(&json_pieces(schema.as_str()), self.answer_schema);
        }
        // Thinking counts until its turn ends with the next message of the user.
        let is_asking = |message: &Message| message.role == Role::User;
        let turn = request.messages.iter().rposition(is_asking).unwrap_or(0);
        for (index, message) in request.messages.iter().enumerate() {
            sum.message(message, index >= turn);
        }
        sum.tokens.round().max(1.0) as u64
    }
}

struct Sum<'a> {
    rules: &'a Rules,
    tokens: f64,
}

impl Sum<'_> {
    fn add(&mut self, pieces: &TokenWeights, times: f64) {
        let rules = self.rules;
        let digits = rules.digit.map_or(rules.digits * pieces.triplets, |digit| digit * pieces.digits);
        self.tokens += times * (rules.text * pieces.latin + rules.scripts * pieces.scripts + digits);
    }

    fn text(&mut self, text: &str) {
        self.add(&pieces(text), 1.0);
    }

    fn tools(&mut self, tools: &[Tool]) {
        if tools.is_empty() {
            return;
        }
        self.tokens += self.rules.tools;
        for tool in tools {
            self.tokens += self.rules.tool;
            self.text(&tool.name);
            self.text(tool.description.as_deref().unwrap_or_default());
            let (ToolKind::Function { parameters: json, .. } | ToolKind::Custom { format: json }) =
                &tool.kind
            else {
                continue;
            };
            if let Some(json) = json {
                self.add(&json_pieces(json.as_str()), self.rules.schema);
            }
        }
    }

    fn message(&mut self, message: &Message, is_of_turn: bool) {
        self.tokens += self.rules.message;
        self.text(message.name.as_deref().unwrap_or_default());
        for part in &message.parts {
            self.part(part, is_of_turn);
        }
    }

    fn part(&mut self, part: &Part, is_of_turn: bool) {
        if is_of_turn && let Some(signature) = &part.signature {
            self.tokens += self.rules.signature * signature.len() as f64;
        }
        match &part.kind {
            PartKind::Text(text) | PartKind::Refusal(text) => self.text(text),
            PartKind::Media(media) => match &media.source {
                Source::Text(text) => self.text(text),
                _ => self.tokens += media::tokens(media, self.rules),
            },
            PartKind::ToolCall(call) => {
                self.tokens += self.rules.call;
                self.text(&call.name);
                self.add(&json_pieces(&call.arguments), 1.0);
            }
            PartKind::ToolResult(result) => {
                self.tokens += self.rules.call;
                for part in &result.content {
                    self.part(part, is_of_turn);
                }
            }
            PartKind::Reasoning(thought) if is_of_turn => {
                self.text(&thought.text);
                if thought.text.is_empty() {
                    let encrypted = thought.encrypted.as_ref().map_or(0, String::len);
                    self.tokens += (encrypted / ENCRYPTED_PER_TOKEN) as f64;
                }
            }
            PartKind::Reasoning(_) | PartKind::Native(_) => {}
        }
    }
}
