//! Requests in formats other than OpenAI's. Texts are copied as they are in the caller's JSON.

use canon::write::{push_array, push_count, push_key, push_string, push_text};

use super::vector::VectorForm;
use super::{EmbeddingsFormat, EmbeddingsRequest};
use crate::json::Span;

/// The content of one request in a provider's own format.
pub(super) struct NativeInput<'a> {
    pub request: &'a EmbeddingsRequest,
    pub format: EmbeddingsFormat,
    pub model: &'a str,
    /// The texts of this part.
    pub inputs: &'a [Span],
    /// The requested length of vectors.
    pub dimensions: Option<usize>,
    /// The provider's name of the purpose.
    pub purpose: Option<&'a str>,
    /// The text before each input.
    pub prefix: &'a str,
}

impl NativeInput<'_> {
    pub(super) fn body(&self) -> Vec<u8> {
        let length: usize = self.inputs.iter().map(|place| place.len() + self.prefix.len() + 1).sum();
        let mut out = Vec::with_capacity(length + 256);
        out.push(b'{');
        match self.format {
            EmbeddingsFormat::Gemini => self.gemini(&mut out),
            EmbeddingsFormat::VertexPredict => self.vertex_predict(&mut out),
            EmbeddingsFormat::VertexContent => self.vertex_content(&mut out),
            EmbeddingsFormat::Nova => self.nova(&mut out),
            EmbeddingsFormat::Titan | EmbeddingsFormat::Bedrock => self.titan(&mut out),
            EmbeddingsFormat::Cohere | EmbeddingsFormat::BedrockCohere => self.cohere(&mut out),
            EmbeddingsFormat::Ollama => {
                push_text(&mut out, "model", self.model);
                self.texts("input", &mut out);
                self.length(&mut out);
            }
            EmbeddingsFormat::Tei => {
                self.texts("inputs", &mut out);
                self.length(&mut out);
            }
            // This format is always forwarded, so it never comes here.
            EmbeddingsFormat::Openai => {}
        }
        for name in self.format.passes() {
            if let Some(value) = self.request.intake.non_null(name) {
                push_key(&mut out, name);
                out.extend_from_slice(value);
            }
        }
        out.push(b'}');
        out
    }

    fn gemini(&self, out: &mut Vec<u8>) {
        let name = format!("models/{}", self.model.strip_prefix("models/").unwrap_or(self.model));
        push_key(out, "requests");
        push_array(out, self.inputs.iter().copied(), |place, out| {
            out.push(b'{');
            push_text(out, "model", &name);
            self.content(place, out);
            if let Some(word) = self.purpose {
                push_text(out, "taskType", word);
            }
            self.title(out);
            self.length(out);
            out.push(b'}');
        });
    }

    fn vertex_content(&self, out: &mut Vec<u8>) {
        let Some(place) = self.inputs.first().copied() else { return };
        self.content(place, out);
        if self.purpose.is_none() && self.dimensions.is_none() {
            return;
        }
        push_key(out, "embedContentConfig");
        out.push(b'{');
        if let Some(word) = self.purpose {
            push_text(out, "taskType", word);
        }
        self.title(out);
        self.length(out);
        out.push(b'}');
    }

    fn vertex_predict(&self, out: &mut Vec<u8>) {
        push_key(out, "instances");
        push_array(out, self.inputs.iter().copied(), |place, out| {
            out.push(b'{');
            push_key(out, "content");
            self.text(place, out);
            if let Some(word) = self.purpose {
                push_text(out, "task_type", word);
            }
            self.title(out);
            out.push(b'}');
        });
        if self.dimensions.is_some() {
            push_key(out, "parameters");
            out.push(b'{');
            self.length(out);
            out.push(b'}');
        }
    }

    fn nova(&self, out: &mut Vec<u8>) {
        let Some(place) = self.inputs.first().copied() else { return };
        push_text(out, "taskType", "SINGLE_EMBEDDING");
        push_key(out, "singleEmbeddingParams");
        out.push(b'{');
        push_text(out, "embeddingPurpose", self.purpose.unwrap_or("GENERIC_INDEX"));
        self.length(out);
        push_key(out, "text");
        out.push(b'{');
        push_key(out, "value");
        self.text(place, out);
        // The API refuses a request without this member.
        push_text(out, "truncationMode", "NONE");
        out.extend_from_slice(b"}}");
    }

    fn titan(&self, out: &mut Vec<u8>) {
        let Some(place) = self.inputs.first().copied() else { return };
        push_key(out, "inputText");
        self.text(place, out);
        self.length(out);
    }

    fn cohere(&self, out: &mut Vec<u8>) {
        if self.format == EmbeddingsFormat::Cohere {
            push_text(out, "model", self.model);
        }
        self.texts("texts", out);
        if let Some(word) = self.purpose {
            push_text(out, "input_type", word);
        }
        self.length(out);
        if self.format == EmbeddingsFormat::Cohere {
            push_key(out, "embedding_types");
            let word = if self.request.form == VectorForm::Base64 { "base64" } else { "float" };
            push_array(out, &[word], |word, out| push_string(out, word));
        }
    }

    fn content(&self, place: Span, out: &mut Vec<u8>) {
        push_key(out, "content");
        out.extend_from_slice(b"{\"parts\":[{\"text\":");
        self.text(place, out);
        out.extend_from_slice(b"}]}");
    }

    fn texts(&self, name: &str, out: &mut Vec<u8>) {
        push_key(out, name);
        push_array(out, self.inputs.iter().copied(), |place, out| self.text(place, out));
    }

    fn text(&self, place: Span, out: &mut Vec<u8>) {
        let raw = self.request.input(place);
        match self.prefix {
            "" => out.extend_from_slice(raw),
            prefix => {
                out.push(b'"');
                out.extend_from_slice(prefix.as_bytes());
                out.extend_from_slice(&raw[1..]);
            }
        }
    }

    fn title(&self, out: &mut Vec<u8>) {
        if let Some(title) = self.request.intake.non_null("title") {
            push_key(out, "title");
            out.extend_from_slice(title);
        }
    }

    fn length(&self, out: &mut Vec<u8>) {
        if let Some(length) = self.dimensions {
            push_count(out, self.format.dimensions_field(), length as u64);
        }
    }
}
