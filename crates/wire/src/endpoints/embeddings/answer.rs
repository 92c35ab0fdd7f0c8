//! Providers' answers: the vectors as text, in the order of the inputs, and the token count.

use canon::{Error, ErrorKind, Result, Retry};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::json::List;
use crate::protocols::counts::count_of;

/// The format of a provider's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerFormat {
    /// `data[].embedding`, as OpenAI's API.
    Openai,
    /// `embeddings[].values`, or `embedding.values` for one input: Google's Gemini API.
    Gemini,
    /// `predictions[].embeddings.values`: Vertex AI's `:predict`.
    VertexPredict,
    /// `embeddings` by type, or a plain list of vectors: Cohere.
    Cohere,
    /// `embedding` and `inputTextTokenCount`: Amazon Titan.
    Titan,
    /// `embeddings[].embedding`: Amazon Nova.
    Nova,
    /// `embeddings`, a list of vectors; `embedding` of the older API: Ollama.
    Ollama,
    /// A bare list of vectors: Text Embeddings Inference.
    List,
}

/// A decoded answer.
#[derive(Debug, Default)]
pub struct Vectors<'a> {
    /// One per input, in the order of the inputs.
    pub vectors: Vec<&'a RawValue>,
    /// The tokens of the inputs; none where the body has no count.
    pub tokens: Option<u64>,
    /// The provider's name of the model.
    pub model: Option<String>,
}

impl AnswerFormat {
    /// Reads an answer to this many inputs. An answer with more or fewer vectors cannot be assigned to its
    /// inputs and is an error.
    pub fn read(self, body: &[u8], inputs: usize) -> Result<Vectors<'_>> {
        let read = match self {
            Self::Openai => parse::<Openai<'_>>(body)?.read(inputs)?,
            Self::Gemini => parse::<Gemini<'_>>(body)?.read(inputs)?,
            Self::VertexPredict => parse::<Predict<'_>>(body)?.read(inputs)?,
            Self::Cohere => parse::<Cohere<'_>>(body)?.read(inputs)?,
            Self::Titan => parse::<Titan<'_>>(body)?.read(),
            Self::Nova => parse::<Nova<'_>>(body)?.read(inputs)?,
            Self::Ollama => parse::<Ollama<'_>>(body)?.read(inputs)?,
            Self::List => Vectors {
                vectors: listed(parse::<List<'_, &RawValue>>(body)?, inputs)?,
                ..Vectors::default()
            },
        };
        let found = read.vectors.len();
        if found == inputs { Ok(read) } else { Err(mismatch(found, inputs)) }
    }
}

#[derive(Deserialize)]
struct Openai<'a> {
    #[serde(borrow)]
    data: List<'a, OpenaiEntry<'a>>,
    #[serde(default)]
    model: Value,
    #[serde(default)]
    usage: Value,
}

#[derive(Deserialize)]
struct OpenaiEntry<'a> {
    #[serde(borrow)]
    embedding: &'a RawValue,
    #[serde(default)]
    index: Option<usize>,
}

impl<'a> Openai<'a> {
    fn read(self, inputs: usize) -> Result<Vectors<'a>> {
        let mut vectors: Vec<Option<&RawValue>> = vec![None; inputs];
        for (position, entry) in self.data.iter().enumerate() {
            let entry = entry.map_err(unreadable)?;
            match vectors.get_mut(entry.index.unwrap_or(position)) {
                Some(place @ None) => *place = Some(entry.embedding),
                _ => {
                    let count = self.data.iter().count();
                    return Err(broken(format!(
                        "The provider's answer has {count} embeddings to {inputs} inputs, and their indices do not match."
                    )));
                }
            }
        }
        // Voyage has only the total.
        let tokens = ["prompt_tokens", "total_tokens"].iter().find_map(|name| count_of(&self.usage[*name]));
        let vectors = vectors.into_iter().flatten().collect();
        Ok(Vectors { vectors, tokens, model: name_of(&self.model) })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Gemini<'a> {
    #[serde(borrow, default)]
    embeddings: List<'a, Values<'a>>,
    #[serde(borrow, default)]
    embedding: Option<Values<'a>>,
    #[serde(default)]
    usage_metadata: Value,
}

#[derive(Deserialize)]
struct Values<'a> {
    #[serde(borrow)]
    values: &'a RawValue,
}

impl<'a> Gemini<'a> {
    fn read(self, inputs: usize) -> Result<Vectors<'a>> {
        let mut vectors = listed(self.embeddings, inputs)?;
        vectors.extend(self.embedding.map(Vector::vector));
        let tokens = count_of(&self.usage_metadata["promptTokenCount"]);
        Ok(Vectors { vectors, tokens, model: None })
    }
}

#[derive(Deserialize)]
struct Predict<'a> {
    #[serde(borrow)]
    predictions: List<'a, Prediction<'a>>,
}

#[derive(Deserialize)]
struct Prediction<'a> {
    #[serde(borrow)]
    embeddings: PredictedValues<'a>,
}

#[derive(Deserialize)]
struct PredictedValues<'a> {
    #[serde(borrow)]
    values: &'a RawValue,
    #[serde(default)]
    statistics: Value,
}

impl<'a> Predict<'a> {
    fn read(self, inputs: usize) -> Result<Vectors<'a>> {
        let mut read = Vectors { tokens: Some(0), ..Vectors::default() };
        for prediction in self.predictions.iter() {
            if read.vectors.len() == inputs {
                return Err(mismatch(self.predictions.iter().count(), inputs));
            }
            let Prediction { embeddings } = prediction.map_err(unreadable)?;
            let tokens = count_of(&embeddings.statistics["token_count"]);
            // A sum without some of the counts would be wrong.
            read.tokens = read.tokens.zip(tokens).map(|(sum, tokens)| sum.saturating_add(tokens));
            read.vectors.push(embeddings.values);
        }
        Ok(read)
    }
}

#[derive(Deserialize)]
struct Cohere<'a> {
    /// A list of vectors by default at Bedrock and in version 1; an object of such lists by type in version 2 and of embed-v4.
    #[serde(borrow)]
    embeddings: &'a RawValue,
    #[serde(default)]
    meta: Value,
}

#[derive(Deserialize)]
struct CohereByType<'a> {
    #[serde(borrow, default)]
    float: List<'a, &'a RawValue>,
    #[serde(borrow, default)]
    base64: List<'a, &'a RawValue>,
}

impl<'a> Cohere<'a> {
    fn read(self, inputs: usize) -> Result<Vectors<'a>> {
        let raw = self.embeddings.get();
        let vectors = match raw.as_bytes().first() {
            Some(b'[') => List::of(raw),
            _ => match parse::<CohereByType<'_>>(raw.as_bytes())? {
                CohereByType { float, base64 } if float.is_empty() => base64,
                CohereByType { float, .. } => float,
            },
        };
        let tokens = count_of(&self.meta["billed_units"]["input_tokens"]);
        Ok(Vectors { vectors: listed(vectors, inputs)?, tokens, model: None })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Titan<'a> {
    #[serde(borrow)]
    embedding: &'a RawValue,
    #[serde(default)]
    input_text_token_count: Value,
}

impl<'a> Titan<'a> {
    fn read(self) -> Vectors<'a> {
        Vectors { vectors: vec![self.embedding], tokens: count_of(&self.input_text_token_count), model: None }
    }
}

#[derive(Deserialize)]
struct Nova<'a> {
    #[serde(borrow)]
    embeddings: List<'a, NovaEntry<'a>>,
}

#[derive(Deserialize)]
struct NovaEntry<'a> {
    #[serde(borrow)]
    embedding: &'a RawValue,
}

impl<'a> Nova<'a> {
    fn read(self, inputs: usize) -> Result<Vectors<'a>> {
        Ok(Vectors { vectors: listed(self.embeddings, inputs)?, ..Vectors::default() })
    }
}

#[derive(Deserialize)]
struct Ollama<'a> {
    #[serde(borrow, default)]
    embeddings: List<'a, &'a RawValue>,
    #[serde(borrow, default)]
    embedding: Option<&'a RawValue>,
    #[serde(default)]
    model: Value,
    #[serde(default)]
    prompt_eval_count: Value,
}

impl<'a> Ollama<'a> {
    fn read(self, inputs: usize) -> Result<Vectors<'a>> {
        let mut vectors = listed(self.embeddings, inputs)?;
        vectors.extend(self.embedding);
        Ok(Vectors { vectors, tokens: count_of(&self.prompt_eval_count), model: name_of(&self.model) })
    }
}

/// An entry of a list of vectors.
trait Vector<'a>: Deserialize<'a> {
    fn vector(self) -> &'a RawValue;
}

impl<'a> Vector<'a> for &'a RawValue {
    fn vector(self) -> &'a RawValue {
        self
    }
}

impl<'a> Vector<'a> for Values<'a> {
    fn vector(self) -> &'a RawValue {
        self.values
    }
}

impl<'a> Vector<'a> for NovaEntry<'a> {
    fn vector(self) -> &'a RawValue {
        self.embedding
    }
}

/// The vectors of a list that has no more of them than there are inputs.
fn listed<'a, T: Vector<'a>>(list: List<'a, T>, inputs: usize) -> Result<Vec<&'a RawValue>> {
    let mut vectors = Vec::with_capacity(inputs);
    for entry in list.iter() {
        if vectors.len() == inputs {
            return Err(mismatch(list.iter().count(), inputs));
        }
        vectors.push(entry.map_err(unreadable)?.vector());
    }
    Ok(vectors)
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(unreadable)
}

fn unreadable(error: serde_json::Error) -> Error {
    broken(format!("The provider's embeddings cannot be read: {error}."))
}

fn mismatch(found: usize, inputs: usize) -> Error {
    broken(format!("The provider answered with {found} embeddings to {inputs} inputs."))
}

fn name_of(model: &Value) -> Option<String> {
    model.as_str().map(str::to_owned)
}

fn broken(message: String) -> Error {
    Error::upstream(ErrorKind::Upstream, Retry::Elsewhere, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: AnswerFormat, body: &str, inputs: usize) -> (Vec<String>, Option<u64>) {
        let read = format.read(body.as_bytes(), inputs).unwrap();
        (read.vectors.iter().map(|vector| vector.get().to_owned()).collect(), read.tokens)
    }

    #[test]
    fn every_format_gives_vectors_and_tokens_as_written() {
        use AnswerFormat::*;
        let cases = [
            (
                Openai,
                r#"{"data":[{"embedding":[0.10,1],"index":0},{"embedding":"AACAPw==","index":1}],"usage":{"prompt_tokens":3,"total_tokens":4}}"#,
                vec!["[0.10,1]", "\"AACAPw==\""],
                Some(3),
            ),
            (
                Openai,
                r#"{"data":[{"embedding":[2],"index":1},{"embedding":[1],"index":0}],"usage":{"total_tokens":4}}"#,
                vec!["[1]", "[2]"],
                Some(4),
            ),
            (Openai, r#"{"data":[{"embedding":[1]},{"embedding":[2]}]}"#, vec!["[1]", "[2]"], None),
            (
                Gemini,
                r#"{"embeddings":[{"values":[1]},{"values":[2]}],"usageMetadata":{"promptTokenCount":5}}"#,
                vec!["[1]", "[2]"],
                Some(5),
            ),
            (Gemini, r#"{"embedding":{"values":[1]}}"#, vec!["[1]"], None),
            (
                VertexPredict,
                r#"{"predictions":[{"embeddings":{"values":[1],"statistics":{"token_count":2.0}}},{"embeddings":{"values":[2],"statistics":{"token_count":3}}}]}"#,
                vec!["[1]", "[2]"],
                Some(5),
            ),
            (VertexPredict, r#"{"predictions":[{"embeddings":{"values":[1]}}]}"#, vec!["[1]"], None),
            (Cohere, r#"{"embeddings":[[1],[2]],"texts":["a","b"]}"#, vec!["[1]", "[2]"], None),
            (
                Cohere,
                r#"{"embeddings":{"float":[[1]]},"meta":{"billed_units":{"input_tokens":2.0}}}"#,
                vec!["[1]"],
                Some(2),
            ),
            (Cohere, r#"{"embeddings":{"base64":["AACAPw=="],"float":null}}"#, vec!["\"AACAPw==\""], None),
            (
                Titan,
                r#"{"embedding":[1],"embeddingsByType":{"float":[1]},"inputTextTokenCount":7}"#,
                vec!["[1]"],
                Some(7),
            ),
            (Nova, r#"{"embeddings":[{"embeddingType":"TEXT","embedding":[1]}]}"#, vec!["[1]"], None),
            (
                Ollama,
                r#"{"model":"m","embeddings":[[1],[2]],"prompt_eval_count":9}"#,
                vec!["[1]", "[2]"],
                Some(9),
            ),
            (Ollama, r#"{"embedding":[1]}"#, vec!["[1]"], None),
            (List, "[[1],[2]]", vec!["[1]", "[2]"], None),
        ];
        for (format, body, vectors, tokens) in cases {
            let vectors: Vec<String> = vectors.into_iter().map(str::to_owned).collect();
            assert_eq!(read(format, body, vectors.len()), (vectors, tokens), "{body}");
        }
    }

    #[test]
    fn vectors_that_do_not_match_the_inputs_are_an_error() {
        use AnswerFormat::*;
        let cases = [
            (Openai, r#"{"data":[]}"#),
            (Openai, r#"{"data":[{"embedding":[1],"index":0}]}"#),
            (Openai, r#"{"data":[{"embedding":[1],"index":0},{"embedding":[1],"index":0}]}"#),
            (Openai, r#"{"data":[{"embedding":[1],"index":0},{"embedding":[1],"index":2}]}"#),
            (Openai, r#"{"data":[{"embedding":[1]},{"embedding":[1]},{"embedding":[1]}]}"#),
            (Openai, r#"{"error":{"message":"no"}}"#),
            (Gemini, "{}"),
            (Cohere, r#"{"embeddings":{"int8":[[1],[2]]}}"#),
            (Titan, r#"{"embedding":[1]}"#),
            (Ollama, "{}"),
            (List, "[[1]]"),
            (List, "<html>"),
        ];
        for (format, body) in cases {
            let error = format.read(body.as_bytes(), 2).unwrap_err();
            assert_eq!((error.kind, error.retry), (ErrorKind::Upstream, Retry::Elsewhere), "{body}");
        }
    }
}
