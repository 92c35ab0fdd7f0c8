//! Endpoints without a conversation: embeddings, rerank and moderations in the providers' formats.
//!
//! A vector counts the words of its text, so that texts with common words are similar. A document's score is
//! the number of words that it shares with the query.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};

use crate::format::{Call, Reply, items, strings, text};

/// The handler of a path of these kinds.
pub fn find(method: &Method, path: &str) -> Option<fn(&Call) -> Reply> {
    if *method != Method::POST {
        return None;
    }
    let page: fn(&Call) -> Reply = if path.ends_with("/v2/embed") || path.ends_with("/v1/embed") {
        cohere_embed
    } else if path.ends_with("/api/embed") {
        ollama_embed
    } else if path.ends_with("/embeddings") {
        openai_embeddings
    } else if path.ends_with("/embed") {
        tei_embed
    } else if path.ends_with(":batchEmbedContents") {
        gemini_batch
    } else if path.ends_with(":embedContent") {
        vertex_content
    } else if path.ends_with(":predict") {
        vertex_predict
    } else if path.ends_with("/moderations") {
        moderations
    } else if path.ends_with("/reranking") || path.ends_with("/ranking") {
        nvidia_rerank
    } else if path.ends_with("/rerank") {
        rerank
    } else if path.contains("/inference/") && !path.contains("/inference/v1/") {
        deepinfra_scores
    } else {
        return None;
    };
    Some(page)
}

/// Bedrock's models that embed or rerank, called by InvokeModel.
pub fn invoked(model: &str) -> Option<fn(&Call) -> Reply> {
    if model.contains("rerank") {
        return Some(invoked_rerank);
    }
    if model.contains("stability.") {
        return Some(crate::media::stability);
    }
    if model.contains("titan-embed") {
        return Some(titan);
    }
    if model.contains("multimodal-embeddings") {
        return Some(nova);
    }
    model.contains("cohere.embed").then_some(bedrock_cohere as fn(&Call) -> Reply)
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

fn tokens(text: &str) -> u64 {
    words(text).count().max(1) as u64
}

/// Unit length, `length` numbers.
fn vector(text: &str, length: usize) -> Vec<f64> {
    let mut counts = vec![0.0; length];
    for word in words(text) {
        let hash = word.bytes().fold(5381_usize, |hash, byte| hash.wrapping_mul(33) ^ usize::from(byte));
        counts[hash % length] += 1.0;
    }
    let norm = counts.iter().map(|count| count * count).sum::<f64>().sqrt();
    counts.iter().map(|count| if norm > 0.0 { f64::from((count / norm) as f32) } else { 0.0 }).collect()
}

fn base64(vector: &[f64]) -> String {
    STANDARD.encode(vector.iter().flat_map(|number| (*number as f32).to_le_bytes()).collect::<Vec<_>>())
}

fn length(body: &Value, name: &str, usual: usize) -> usize {
    body[name].as_u64().map_or(usual, |length| length.clamp(1, 4096) as usize)
}

fn bad(message: &str) -> Reply {
    Reply::json(
        400,
        &json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": null}}),
    )
}

/// Texts, or lists of token numbers as the texts of their numbers.
fn openai_inputs(body: &Value) -> Vec<String> {
    let of = |input: &Value| match input {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match &body["input"] {
        Value::Array(list) if !list.first().is_some_and(Value::is_number) => list.iter().map(of).collect(),
        Value::Null => Vec::new(),
        one => vec![of(one)],
    }
}

fn openai_embeddings(call: &Call) -> Reply {
    let body = &call.body;
    let inputs = openai_inputs(body);
    if inputs.is_empty() {
        return bad(
            "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference.",
        );
    }
    if inputs.len() > 2048 {
        return bad("'$.input' is invalid: at most 2048 inputs are taken.");
    }
    let usual = match call.model.as_str() {
        model if model.contains("nomic") => 768,
        model if model.contains("large") => 3072,
        _ => 1536,
    };
    let length = length(
        body,
        if body["output_dimension"].is_u64() { "output_dimension" } else { "dimensions" },
        usual,
    );
    let asks_base64 = [text(body, "encoding_format"), text(body, "embedding_type")].contains(&"base64");
    let entry = |(index, text): (usize, &String)| {
        let numbers = vector(text, length);
        let embedding = if asks_base64 { json!(base64(&numbers)) } else { json!(numbers) };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    };
    let data: Vec<Value> = inputs.iter().enumerate().map(entry).collect();
    let count: u64 = inputs.iter().map(|text| tokens(text)).sum();
    let mut answer = json!({
        "object": "list", "data": data, "model": call.model, "usage": {"prompt_tokens": count, "total_tokens": count}
    });
    if call.model.contains("mistral") {
        answer["id"] = call.id("").into();
    }
    Reply::json(200, &answer)
}

fn cohere_embed(call: &Call) -> Reply {
    let texts = strings(call.body.get("texts"));
    if text(&call.body, "input_type").is_empty() || texts.is_empty() || texts.len() > 96 {
        return Reply::json(
            400,
            &json!({"id": call.id(""), "message": "invalid request: 1 to 96 texts and an input_type"}),
        );
    }
    let length = length(&call.body, "output_dimension", 1536);
    let kind = strings(call.body.get("embedding_types"));
    let embeddings = match kind.first().map(String::as_str) {
        Some("base64") => {
            json!({"base64": texts.iter().map(|text| base64(&vector(text, length))).collect::<Vec<_>>()})
        }
        _ => json!({"float": texts.iter().map(|text| vector(text, length)).collect::<Vec<_>>()}),
    };
    let count: u64 = texts.iter().map(|text| tokens(text)).sum();
    let meta = json!({"api_version": {"version": "2"}, "billed_units": {"input_tokens": count}});
    Reply::json(
        200,
        &json!({"id": call.id(""), "texts": texts, "embeddings": embeddings, "meta": meta, "response_type": "embeddings_by_type"}),
    )
}

fn bedrock_cohere(call: &Call) -> Reply {
    let reply = cohere_embed(call);
    let count: u64 = strings(call.body.get("texts")).iter().map(|text| tokens(text)).sum();
    reply.header(TOKENS, count.to_string())
}

const TOKENS: &str = "x-amzn-bedrock-input-token-count";

fn ollama_embed(call: &Call) -> Reply {
    let inputs = openai_inputs(&call.body);
    let length = length(&call.body, "dimensions", 768);
    let vectors: Vec<_> = inputs.iter().map(|text| vector(text, length)).collect();
    let count: u64 = inputs.iter().map(|text| tokens(text)).sum();
    Reply::json(
        200,
        &json!({"model": call.model, "embeddings": vectors, "total_duration": 1, "load_duration": 1, "prompt_eval_count": count}),
    )
}

fn tei_embed(call: &Call) -> Reply {
    let vectors: Vec<_> = strings(call.body.get("inputs")).iter().map(|text| vector(text, 384)).collect();
    Reply::json(200, &json!(vectors))
}

fn parts(content: &Value) -> String {
    items(content, "parts").iter().map(|part| text(part, "text")).collect()
}

fn gemini_batch(call: &Call) -> Reply {
    let requests = items(&call.body, "requests");
    if requests.is_empty() || requests.len() > 100 {
        let message = "* BatchEmbedContentsRequest.requests: at most 100 requests can be in one batch";
        return Reply::json(
            400,
            &json!({"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}),
        );
    }
    let values = |request: &Value| json!({"values": vector(&parts(&request["content"]), length(request, "outputDimensionality", 3072))});
    let embeddings: Vec<Value> = requests.iter().map(values).collect();
    Reply::json(200, &json!({"embeddings": embeddings}))
}

fn vertex_content(call: &Call) -> Reply {
    let words = parts(&call.body["content"]);
    let values = vector(&words, length(&call.body["embedContentConfig"], "outputDimensionality", 3072));
    let count = tokens(&words);
    Reply::json(
        200,
        &json!({"embedding": {"values": values}, "usageMetadata": {"promptTokenCount": count, "totalTokenCount": count}, "truncated": false}),
    )
}

fn vertex_predict(call: &Call) -> Reply {
    let length = length(&call.body["parameters"], "outputDimensionality", 768);
    let predict = |instance: &Value| {
        let words = text(instance, "content");
        let statistics = json!({"token_count": tokens(words), "truncated": false});
        json!({"embeddings": {"values": vector(words, length), "statistics": statistics}})
    };
    let predictions: Vec<Value> = items(&call.body, "instances").iter().map(predict).collect();
    Reply::json(200, &json!({"predictions": predictions, "metadata": {"billableCharacterCount": 1}}))
}

fn titan(call: &Call) -> Reply {
    let words = text(&call.body, "inputText");
    let numbers = vector(words, length(&call.body, "dimensions", 1024));
    let body = json!({"embedding": numbers, "embeddingsByType": {"float": numbers}, "inputTextTokenCount": tokens(words)});
    Reply::json(200, &body).header(TOKENS, tokens(words).to_string())
}

fn nova(call: &Call) -> Reply {
    let params = &call.body["singleEmbeddingParams"];
    if text(params, "embeddingPurpose").is_empty() || text(&params["text"], "truncationMode").is_empty() {
        return Reply::json(
            400,
            &json!({"message": "embeddingPurpose and text.truncationMode are required"}),
        );
    }
    let words = text(&params["text"], "value");
    let numbers = vector(words, length(params, "embeddingDimension", 3072));
    Reply::json(200, &json!({"embeddings": [{"embeddingType": "TEXT", "embedding": numbers}]}))
        .header(TOKENS, tokens(words).to_string())
}

/// Documents as texts, with their number of words in common with the query, best first.
fn ranked(query: &str, documents: &[Value]) -> Vec<(usize, f64)> {
    let asked: Vec<String> = words(query).collect();
    let score = |document: &Value| {
        let words: Vec<String> = words(&document_text(document)).collect();
        let shared = asked.iter().filter(|word| words.contains(word)).count();
        0.05 + 0.9 * shared as f64 / asked.len().max(1) as f64
    };
    let mut all: Vec<(usize, f64)> = documents.iter().map(score).enumerate().collect();
    all.sort_by(|left, right| right.1.total_cmp(&left.1));
    all
}

fn document_text(document: &Value) -> String {
    document.as_str().or(document["text"].as_str()).map_or_else(|| document.to_string(), str::to_owned)
}

fn rerank(call: &Call) -> Reply {
    let body = &call.body;
    if body["sources"].is_array() {
        return bedrock_rerank(call);
    }
    if body["texts"].is_array() {
        return tei_rerank(call);
    }
    let documents = items(body, "documents");
    if documents.is_empty() {
        return bad("\"documents\" must be a non-empty string array");
    }
    let all = ranked(text(body, "query"), documents);
    let most = body["top_n"].as_u64().or(body["top_k"].as_u64()).map_or(all.len(), |most| most as usize);
    let wants = body["return_documents"].as_bool().unwrap_or(false);
    let as_data = body.get("top_k").is_some() || call.path.contains("voyage");
    let result = |(index, score): &(usize, f64)| {
        let mut result = json!({"index": index, "relevance_score": score});
        if wants {
            let words = document_text(&documents[*index]);
            result["document"] = if as_data { json!(words) } else { json!({"text": words}) };
        }
        result
    };
    let results: Vec<Value> = all.iter().take(most).map(result).collect();
    let count = tokens(text(body, "query"))
        + documents.iter().map(|document| tokens(&document_text(document))).sum::<u64>();
    if as_data {
        return Reply::json(
            200,
            &json!({"object": "list", "data": results, "model": call.model, "usage": {"total_tokens": count}}),
        );
    }
    if call.path.ends_with("/v2/rerank") {
        let units = documents.len().div_ceil(100);
        let meta = json!({"api_version": {"version": "2"}, "billed_units": {"search_units": units}});
        return Reply::json(200, &json!({"id": call.id(""), "results": results, "meta": meta}));
    }
    Reply::json(
        200,
        &json!({"id": call.id("rerank-"), "model": call.model, "results": results, "usage": {"prompt_tokens": count, "total_tokens": count}}),
    )
}

fn bedrock_rerank(call: &Call) -> Reply {
    let text_of = |source: &Value| source["inlineDocumentSource"]["textDocument"]["text"].clone();
    let documents: Vec<Value> = items(&call.body, "sources").iter().map(text_of).collect();
    let query = call.body["queries"][0]["textQuery"]["text"].as_str().unwrap_or_default();
    let settings = &call.body["rerankingConfiguration"]["bedrockRerankingConfiguration"];
    let most = settings["numberOfResults"].as_u64().map_or(documents.len(), |most| most as usize);
    let result = |(index, score): (usize, f64)| json!({"index": index, "relevanceScore": score});
    let results: Vec<Value> = ranked(query, &documents).into_iter().take(most).map(result).collect();
    Reply::json(200, &json!({"results": results}))
}

fn invoked_rerank(call: &Call) -> Reply {
    let documents = items(&call.body, "documents");
    let most = call.body["top_n"].as_u64().map_or(documents.len(), |most| most as usize);
    let result = |(index, score): (usize, f64)| json!({"index": index, "relevance_score": score});
    let query = text(&call.body, "query");
    let results: Vec<Value> = ranked(query, documents).into_iter().take(most).map(result).collect();
    Reply::json(200, &json!({"results": results}))
}

fn tei_rerank(call: &Call) -> Reply {
    let documents = items(&call.body, "texts");
    let result = |(index, score): (usize, f64)| json!({"index": index, "score": score});
    let results: Vec<Value> = ranked(text(&call.body, "query"), documents).into_iter().map(result).collect();
    Reply::json(200, &json!(results))
}

/// DeepInfra's own API: the scores in the order of the documents. The path names the model.
fn deepinfra_scores(call: &Call) -> Reply {
    let documents = items(&call.body, "documents");
    let queries = strings(call.body.get("queries"));
    let Some(query) = queries.first().filter(|_| !documents.is_empty()) else {
        return bad("\"queries\" and \"documents\" must be non-empty lists");
    };
    let mut all = ranked(query, documents);
    all.sort_by_key(|(index, _)| *index);
    let scores: Vec<f64> = all.iter().map(|(_, score)| *score).collect();
    let count =
        tokens(query) + documents.iter().map(|document| tokens(&document_text(document))).sum::<u64>();
    Reply::json(
        200,
        &json!({"scores": scores, "input_tokens": count, "request_id": call.id(""),
            "inference_status": {"status": "succeeded", "tokens_input": count}}),
    )
}

fn nvidia_rerank(call: &Call) -> Reply {
    let passages = items(&call.body, "passages");
    let result = |(index, score): (usize, f64)| json!({"index": index, "logit": (score - 0.5) * 10.0});
    let query = text(&call.body["query"], "text");
    let rankings: Vec<Value> = ranked(query, passages).into_iter().map(result).collect();
    Reply::json(200, &json!({"rankings": rankings, "usage": {"prompt_tokens": 7, "total_tokens": 7}}))
}

const CATEGORIES: [&str; 13] = [
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/intent",
    "self-harm/instructions",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
];
const MISTRALS: [&str; 8] = [
    "sexual",
    "hate_and_discrimination",
    "violence_and_threats",
    "dangerous",
    "criminal",
    "selfharm",
    "health",
    "pii",
];

/// Judges by the words "kill" and "hurt".
fn moderations(call: &Call) -> Reply {
    let is_mistral = call.model.contains("mistral");
    let inputs: Vec<String> = match &call.body["input"] {
        Value::Array(list) if list.iter().all(Value::is_object) => {
            vec![list.iter().map(|part| text(part, "text")).collect::<Vec<_>>().join(" ")]
        }
        _ => strings(call.body.get("input")),
    };
    if inputs.is_empty() {
        return bad("Invalid value for 'input': it must not be empty.");
    }
    let judge = |input: &String| {
        let is_bad = words(input).any(|word| word == "kill" || word == "hurt");
        let names: &[&str] = if is_mistral { &MISTRALS } else { &CATEGORIES };
        let hit = |name: &str| is_bad && name.starts_with("violence") && !name.contains("graphic");
        let categories: serde_json::Map<String, Value> =
            names.iter().map(|name| ((*name).to_owned(), json!(hit(name)))).collect();
        let scores: serde_json::Map<String, Value> = names
            .iter()
            .map(|name| ((*name).to_owned(), json!(if hit(name) { 0.93 } else { 0.000_1 })))
            .collect();
        let mut result = json!({"categories": categories, "category_scores": scores});
        if !is_mistral {
            result["flagged"] = json!(is_bad);
            let applied: serde_json::Map<String, Value> =
                names.iter().map(|name| ((*name).to_owned(), json!(["text"]))).collect();
            result["category_applied_input_types"] = json!(applied);
        }
        result
    };
    let results: Vec<Value> = inputs.iter().map(judge).collect();
    Reply::json(200, &json!({"id": call.id("modr-"), "model": call.model, "results": results}))
}
