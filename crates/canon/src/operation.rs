//! The operation that a request asks for: a conversation, or one of another endpoint.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// An operation. Health is kept per operation, and the catalog lists the operations of each model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// An answer in a conversation, or a text completion.
    Chat,
    /// The number of a prompt's tokens.
    CountTokens,
    /// Vectors of texts.
    Embeddings,
    /// Documents ordered by relevance.
    Rerank,
    /// Whether texts or images violate rules.
    Moderations,
    /// Images from a text.
    ImageGenerations,
    /// Images from images.
    ImageEdits,
    /// The text of a recording.
    Transcriptions,
    /// The text of a recording in English.
    Translations,
    /// Speech from a text.
    Speech,
    /// Files that a provider keeps for batches.
    Files,
    /// Many requests that a provider answers within hours.
    Batches,
    /// A request of a provider's own API, in its own format.
    Passthrough,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 13] = [
        Self::Chat,
        Self::CountTokens,
        Self::Embeddings,
        Self::Rerank,
        Self::Moderations,
        Self::ImageGenerations,
        Self::ImageEdits,
        Self::Transcriptions,
        Self::Translations,
        Self::Speech,
        Self::Files,
        Self::Batches,
        Self::Passthrough,
    ];

    /// The name in the catalog, in records and in `GET /v1/models`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::CountTokens => "count_tokens",
            Self::Embeddings => "embeddings",
            Self::Rerank => "rerank",
            Self::Moderations => "moderations",
            Self::ImageGenerations => "image_generations",
            Self::ImageEdits => "image_edits",
            Self::Transcriptions => "transcriptions",
            Self::Translations => "translations",
            Self::Speech => "speech",
            Self::Files => "files",
            Self::Batches => "batches",
            Self::Passthrough => "passthrough",
        }
    }

    /// The route that serves it, for callers who use another one.
    pub fn route(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::CountTokens => "/v1/messages/count_tokens",
            Self::Embeddings => "/v1/embeddings",
            Self::Rerank => "/v1/rerank",
            Self::Moderations => "/v1/moderations",
            Self::ImageGenerations => "/v1/images/generations",
            Self::ImageEdits => "/v1/images/edits",
            Self::Transcriptions => "/v1/audio/transcriptions",
            Self::Translations => "/v1/audio/translations",
            Self::Speech => "/v1/audio/speech",
            Self::Files => "/v1/files",
            Self::Batches => "/v1/batches",
            Self::Passthrough => "/p/{provider}/…",
        }
    }

    /// The name in a usage record; none for a conversation, which is the most frequent case.
    pub fn of_record(self) -> Option<Cow<'static, str>> {
        (self != Self::Chat).then(|| self.as_str().into())
    }

    /// True when no other model can answer instead of the requested one: vectors of two models are not
    /// comparable.
    pub fn keeps_model(self) -> bool {
        self == Self::Embeddings
    }

    /// True when an equal request may get an earlier answer: the answers are small, and a caller who enables the
    /// cache does not want a new one each time.
    pub fn is_cached(self) -> bool {
        matches!(self, Self::Chat | Self::Embeddings | Self::Rerank | Self::Moderations)
    }

    /// The operation that a model must serve for this one: a model of conversations has prompts whose tokens
    /// can be counted.
    pub fn of_model(self) -> Self {
        match self {
            Self::CountTokens => Self::Chat,
            other => other,
        }
    }
}

/// A set of operations.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Operations(u16);

impl Operations {
    /// Chat alone: the default for models without a list of operations.
    pub const CHAT: Self = Self(1 << Operation::Chat as u16);

    /// True when the operation is in the set.
    pub const fn has(self, operation: Operation) -> bool {
        self.0 & (1 << operation as u16) != 0
    }

    /// The operations in the set.
    pub fn iter(self) -> impl Iterator<Item = Operation> {
        Operation::ALL.into_iter().filter(move |operation| self.has(*operation))
    }
}

impl FromIterator<Operation> for Operations {
    fn from_iter<I: IntoIterator<Item = Operation>>(operations: I) -> Self {
        Self(operations.into_iter().fold(0, |set, operation| set | 1 << operation as u16))
    }
}

impl std::fmt::Debug for Operations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The unit that an answer is billed by when that is not tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// One query over up to a hundred documents.
    SearchUnit,
    /// One image.
    Image,
    /// One thousandth of a second of audio: durations are whole numbers.
    Millisecond,
    /// One character of text.
    Character,
}

impl Unit {
    /// Every unit.
    pub const ALL: [Self; 4] = [Self::SearchUnit, Self::Image, Self::Millisecond, Self::Character];

    /// The name in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SearchUnit => "search_unit",
            Self::Image => "image",
            Self::Millisecond => "millisecond",
            Self::Character => "character",
        }
    }
}

/// A quantity of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Of what.
    pub unit: Unit,
    /// How much.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_contains_the_operations_that_were_added() {
        let set: Operations = [Operation::Embeddings, Operation::Speech].into_iter().collect();
        for operation in Operation::ALL {
            let is_in = matches!(operation, Operation::Embeddings | Operation::Speech);
            assert_eq!(set.has(operation), is_in, "{operation:?}");
            let name = serde_json::to_value(operation).unwrap();
            assert_eq!(name, operation.as_str());
        }
        assert_eq!(Operations::CHAT.iter().collect::<Vec<_>>(), [Operation::Chat]);
        for unit in Unit::ALL {
            assert_eq!(serde_json::to_value(unit).unwrap(), unit.as_str());
        }
    }
}
