//! Answers of endpoints without a conversation that are cut or damaged give an error or valid JSON, and never
//! a panic.

use crate::checks;

/// One of each shape, as the providers' documents show them.
const ANSWERS: [&str; 20] = [
    r#"{"object":"list","data":[{"index":1,"embedding":[0.5,-1]},{"index":0,"embedding":[1,2e-3]}],"usage":{"prompt_tokens":2}}"#,
    r#"{"embeddings":[{"values":[0.5,-1]},{"values":[1,2]}]}"#,
    r#"{"embeddings":{"float":[[0.5],[1]]},"meta":{"billed_units":{"input_tokens":2}}}"#,
    r#"{"results":[{"index":1,"relevance_score":0.9},{"index":0,"relevance_score":0.1}],"meta":{"billed_units":{"search_units":1}}}"#,
    r#"{"id":"m","results":[{"flagged":true,"categories":{"violence":true},"category_scores":{"violence":0.9}}]}"#,
    r#"{"audio_data":"UklGRg=="}"#,
    r#"{"candidates":[{"content":{"parts":[{"inlineData":{"mimeType":"image/png","data":"UklGRg=="}}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":9,"candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":9}]}}"#,
    r#"{"images":["AAAA"],"seeds":[1],"finish_reasons":[null]}"#,
    r#"{"base64":["data:image/png;base64,AAAA"],"finishReason":"SUCCESS"}"#,
    r#"{"language_code":"eng","text":"Hi.","words":[{"text":"Hi.","start":0,"end":1e0,"type":"word","speaker_id":"s"}]}"#,
    r#"{"metadata":{"duration":1.5},"results":{"channels":[{"alternatives":[{"transcript":"Hi.","words":[{"word":"hi","start":0,"end":1,"speaker":0}]}]}],"utterances":[{"start":0,"end":1,"transcript":"Hi."}]}}"#,
    r#"{"text":"Hi.","language":"en","duration":1.5,"words":[{"text":"Hi.","start":0,"end":1,"speaker":1}],"usage":{"seconds":2}}"#,
    r#"{"predictions":[{"embeddings":{"values":[0.5,-1],"statistics":{"token_count":2}}}]}"#,
    r#"{"embedding":[0.5,-1],"inputTextTokenCount":2}"#,
    r#"{"embeddings":[{"embeddingType":"TEXT","embedding":[0.5,-1]}]}"#,
    r#"[[0.5,-1],[1,2]]"#,
    r#"{"object":"list","data":[{"index":1,"relevance_score":0.9,"document":"b"},{"index":0,"relevance_score":0.1}],"usage":{"total_tokens":4}}"#,
    r#"{"scores":[0.1,0.9],"input_tokens":4}"#,
    r#"{"data":[{"b64_json":"AAAA","media_type":"image/png"}],"usage":{"prompt_tokens":1,"completion_tokens":9,"completion_tokens_details":{"image_tokens":9},"cost":0.1}}"#,
    "event: image_generation.completed\ndata: {\"type\":\"image_generation.completed\",\"b64_json\":\"AAAA\",\"usage\":{\"input_tokens\":1,\"output_tokens\":9,\"total_tokens\":10}}\n\ndata: {\"type\":\"error\",\"error\":{\"message\":\"a\"}}\n\n",
];

#[test]
fn no_cut_or_damage_makes_a_reader_panic() {
    for answer in ANSWERS {
        checks::endpoint_answer(answer.as_bytes());
        for at in (0..answer.len()).step_by(2) {
            checks::endpoint_answer(&answer.as_bytes()[..at]);
            let mut damaged = answer.as_bytes().to_vec();
            damaged[(at + 1).min(answer.len() - 1)] = [b'"', b'-', b'9', b'}', 0xFF][at % 5];
            checks::endpoint_answer(&damaged);
        }
    }
}
