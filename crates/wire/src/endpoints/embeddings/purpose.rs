//! What a text is embedded for. Most providers have a field for it, and each has words of its own.

use serde::{Deserialize, Serialize};

/// A purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// A question that documents are looked for by.
    Query,
    /// A document to be found.
    Document,
    /// To be sorted into classes.
    Classification,
    /// To be put together with what is like it.
    Clustering,
    /// To be compared.
    Similarity,
    /// A question that has an answer.
    Question,
    /// A claim to be checked.
    FactCheck,
    /// A question about code.
    CodeQuery,
}

impl Purpose {
    /// The purpose that a caller or a provider names so, whoever's word it is.
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

    /// What stands in front of a text for models that read it there ("Embeddings", Gemini API).
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
