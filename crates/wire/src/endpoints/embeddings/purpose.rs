//! The purpose of an embedded text. Most providers have a field for it, with their own values.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// A search query.
    Query,
    /// A document to be found.
    Document,
    /// Input of a classifier.
    Classification,
    /// Input of a clustering.
    Clustering,
    /// For comparison with other texts.
    Similarity,
    /// A question with an answer in the documents.
    Question,
    /// A claim to be verified.
    FactCheck,
    CodeQuery,
}

impl Purpose {
    /// The purpose of this name, in any caller's or provider's vocabulary.
    pub fn of_word(word: &str) -> Option<Self> {
        let plain: String = word
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|letter| letter.to_ascii_lowercase())
            .collect();
        Some(match plain.as_str() {
            "query" | "searchquery" | "retrievalquery" | "genericretrieval" | "textretrieval" => Self::Query,
            "document" | "passage" | "searchdocument" | "retrievaldocument" | "retrievalpassage"
            | "genericindex" => Self::Document,
            "classification" => Self::Classification,
            "clustering" | "separation" => Self::Clustering,
            "similarity" | "semanticsimilarity" | "textmatching" => Self::Similarity,
            "question" | "questionanswering" => Self::Question,
            "factverification" | "factcheck" | "factchecking" => Self::FactCheck,
            "codequery" | "coderetrievalquery" | "code" => Self::CodeQuery,
            _ => return None,
        })
    }

    /// The prefix of a text for models that read the purpose there ("Embeddings", Gemini API).
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Query => "task: search result | query: ",
            Self::Document => "title: none | text: ",
            Self::Classification => "task: classification | query: ",
            Self::Clustering => "task: clustering | query: ",
            Self::Similarity => "task: sentence similarity | query: ",
            Self::Question => "task: question answering | query: ",
            Self::FactCheck => "task: fact checking | query: ",
            Self::CodeQuery => "task: code retrieval | query: ",
        }
    }
}
