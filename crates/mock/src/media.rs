//! Audio and images in OpenAI's shapes, as they were recorded.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::format::{Call, Reply, text};

/// One red pixel.
const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC";

/// `POST …/audio/speech`: half a second of silence for each word, as streaming WAV or as meaningless bytes.
pub fn speech(call: &Call) -> Reply {
    let words = text(&call.body, "input").split_whitespace().count();
    if words == 0 {
        return invalid("input", "Input should be a non-empty string");
    }
    if text(&call.body, "voice").is_empty() && !call.body["voice"].is_object() {
        return invalid("voice", "Field required");
    }
    let format = match text(&call.body, "response_format") {
        "" => "mp3",
        given => given,
    };
    let Some((content_type, head)) = sound(format) else {
        return invalid("response_format", "Input should be 'mp3', 'opus', 'aac', 'flac', 'wav' or 'pcm'");
    };
    let pieces: Vec<Bytes> = (0..words).map(|_| Bytes::from(vec![0; 24_000])).collect();
    if text(&call.body, "stream_format") == "sse" {
        let delta = |piece: &Bytes| json!({"type": "speech.audio.delta", "audio": STANDARD.encode(piece)});
        let (read, made) = (words * 2, words * 10);
        let usage = json!({"input_tokens": read, "output_tokens": made, "total_tokens": read + made});
        let done = json!({"type": "speech.audio.done", "usage": usage});
        let events = pieces.iter().map(delta).chain([done]).map(|event| crate::format::data_frame(&event));
        return Reply::stream("text/event-stream; charset=utf-8", events.collect());
    }
    let frames = [Bytes::from(head)].into_iter().chain(pieces).collect();
    Reply::stream(content_type, frames)
}

/// The content type of a format, and its first bytes.
fn sound(format: &str) -> Option<(&'static str, Vec<u8>)> {
    Some(match format {
        "mp3" => ("audio/mpeg", vec![0xFF, 0xF3, 0xE4, 0xC4]),
        "opus" => ("audio/ogg", b"OggS".to_vec()),
        "aac" => ("audio/aac", vec![0xFF, 0xF1]),
        "flac" => ("audio/flac", b"fLaC".to_vec()),
        "pcm" => ("audio/pcm", Vec::new()),
        // The header is sent before the sizes are known.
        "wav" => ("audio/wav", b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0\xc0\x5d\0\0\x80\xbb\0\0\x02\0\x10\0data\xff\xff\xff\xff".to_vec()),
        _ => return None,
    })
}

/// `POST …/audio/transcriptions` and `…/translations`: the transcript names the file and its size. A second
/// is 32,000 bytes of it.
pub fn transcript(call: &Call) -> Reply {
    if call.body["input_audio"].is_object() {
        return openrouter_transcript(call);
    }
    let file = &call.body["file"];
    let Some(bytes) = file["bytes"].as_u64() else { return invalid("file", "Field required") };
    let is_translation = call.path.ends_with("/translations");
    let words = format!("I heard {bytes} bytes of {}.", text(file, "filename"));
    let seconds = bytes as f64 / 32_000.0;
    let usage = if call.model.starts_with("gpt-4o") {
        let heard = (seconds * 10.0).ceil() as u64;
        json!({
            "type": "tokens", "input_tokens": heard, "output_tokens": 8, "total_tokens": heard + 8,
            "input_token_details": {"text_tokens": 0, "audio_tokens": heard}
        })
    } else {
        json!({"type": "duration", "seconds": seconds.ceil()})
    };
    if call.streaming && call.model != "whisper-1" {
        let deltas =
            words.split_inclusive(' ').map(|word| json!({"type": "transcript.text.delta", "delta": word}));
        let done = json!({"type": "transcript.text.done", "text": words, "usage": usage});
        let line = |event: String| Bytes::from(format!("data: {event}\r\n\r\n"));
        let events = deltas.chain([done]).map(|event| event.to_string()).chain(["[DONE]".to_owned()]);
        return Reply::stream("text/event-stream; charset=utf-8", events.map(line).collect());
    }
    let plain = |text: String| Reply::whole(200, "text/plain; charset=utf-8", text);
    let stamp = |comma: char| {
        let milliseconds = (seconds * 1000.0) as u64;
        let (whole, rest) = (milliseconds / 1000, milliseconds % 1000);
        format!("{:02}:{:02}:{:02}{comma}{rest:03}", whole / 3600, whole / 60 % 60, whole % 60)
    };
    let asked = |wanted: &str| {
        let granularities = crate::format::items(&call.body, "timestamp_granularities");
        granularities.iter().any(|given| given == wanted)
    };
    match text(&call.body, "response_format") {
        "" | "json" => {
            let mut answer = json!({"text": words, "usage": usage});
            // Mistral's transcripts have times in JSON.
            if text(&call.body, "timestamp_granularities") == "segment" {
                answer["segments"] =
                    json!([{"type": "transcription_segment", "text": words, "start": 0.0, "end": seconds}]);
            }
            Reply::json(200, &answer)
        }
        "text" => plain(format!("{words}\n")),
        "srt" => plain(format!("1\n00:00:00,000 --> {}\n{words}\n\n\n", stamp(','))),
        "vtt" => plain(format!("WEBVTT\n\n00:00:00.000 --> {}\n{words}\n\n", stamp('.'))),
        "verbose_json" if call.model.starts_with("gpt-4o") => {
            invalid("response_format", "response_format 'verbose_json' is not compatible with this model.")
        }
        "verbose_json" => {
            let task = if is_translation { "translate" } else { "transcribe" };
            let mut answer = json!({
                "task": task, "language": "english", "duration": seconds, "text": words, "usage": usage
            });
            if asked("word") {
                let each = seconds / words.split(' ').count() as f64;
                let timed = |(index, word): (usize, &str)| {
                    let start = each * index as f64;
                    json!({"word": word, "start": start, "end": start + each})
                };
                answer["words"] = words.split(' ').enumerate().map(timed).collect();
            }
            if asked("segment") || !asked("word") {
                answer["segments"] = json!([{
                    "id": 0, "seek": 0, "start": 0.0, "end": seconds, "text": format!(" {words}"), "tokens": [1],
                    "temperature": 0.0, "avg_logprob": -0.2, "compression_ratio": 1.0, "no_speech_prob": 0.01
                }]);
            }
            Reply::json(200, &answer)
        }
        "diarized_json" => Reply::json(
            200,
            &json!({
                "task": "transcribe", "duration": seconds, "text": words, "usage": usage,
                "segments": [{"type": "transcript.text.segment", "id": "seg_0", "start": 0.0, "end": seconds, "text": words, "speaker": "A"}]
            }),
        ),
        _ => invalid(
            "response_format",
            "Input should be 'json', 'text', 'srt', 'verbose_json', 'vtt' or 'diarized_json'",
        ),
    }
}

/// OpenRouter's transcript: the recording is in JSON.
fn openrouter_transcript(call: &Call) -> Reply {
    let Ok(sound) = STANDARD.decode(text(&call.body["input_audio"], "data")) else {
        return invalid("input_audio.data", "Invalid base64");
    };
    let seconds = sound.len() as f64 / 32_000.0;
    let said = format!("I heard {} bytes.", sound.len());
    Reply::json(200, &json!({"text": said, "usage": {"seconds": seconds, "cost": 0.0}}))
}

/// OpenRouter's images, with its names of the counts. Edits have references.
fn openrouter_images(call: &Call) -> Reply {
    let read = text(&call.body, "prompt").split_whitespace().count();
    Reply::json(
        200,
        &json!({
            "created": call.created, "data": [{"b64_json": PNG, "media_type": "image/png"}],
            "usage": {
                "prompt_tokens": read, "completion_tokens": 1120, "total_tokens": read + 1120, "cost": 0.03,
                "completion_tokens_details": {"reasoning_tokens": 0, "image_tokens": 1120}
            }
        }),
    )
}

/// ElevenLabs' speech: the voice is in the path, the audio format in the query.
pub fn elevenlabs_speech(call: &Call) -> Reply {
    let words = text(&call.body, "text").split_whitespace().count();
    if words == 0 || text(&call.body, "model_id").is_empty() {
        return elevenlabs_refusal("text and model_id are required");
    }
    let format = call.query_value("output_format").unwrap_or("mp3_44100_128");
    let Some((content_type, head)) = sound(format.split('_').next().unwrap_or_default()) else {
        return elevenlabs_refusal("output_format is unknown");
    };
    let pieces = (0..words).map(|_| Bytes::from(vec![0; 24_000]));
    Reply::stream(content_type, [Bytes::from(head)].into_iter().chain(pieces).collect())
}

/// ElevenLabs' transcript: the spaces between words are entries too.
pub fn elevenlabs_transcript(call: &Call) -> Reply {
    let file = &call.body["file"];
    let (Some(bytes), false) = (file["bytes"].as_u64(), text(&call.body, "model_id").is_empty()) else {
        return elevenlabs_refusal("file and model_id are required");
    };
    let said = format!("I heard {bytes} bytes of {}.", text(file, "filename"));
    let seconds = bytes as f64 / 32_000.0;
    let each = seconds / said.split(' ').count() as f64;
    let mut words = Vec::new();
    for (index, word) in said.split(' ').enumerate() {
        let start = each * index as f64;
        if index > 0 {
            words.push(json!({"text": " ", "start": start, "end": start, "type": "spacing", "speaker_id": "speaker_0"}));
        }
        words.push(json!({"text": word, "start": start, "end": start + each, "type": "word", "speaker_id": "speaker_0"}));
    }
    Reply::json(
        200,
        &json!({
            "language_code": "eng", "language_probability": 0.98, "text": said, "words": words,
            "transcription_id": format!("mock{}", call.serial), "audio_duration_secs": seconds
        }),
    )
}

fn elevenlabs_refusal(message: &str) -> Reply {
    Reply::json(422, &json!({"detail": {"status": "invalid_request", "message": message}}))
}

/// `POST …/images/generations` and `POST …/images/edits`.
pub fn images(call: &Call) -> Reply {
    let is_edit = call.path.ends_with("/edits");
    let prompt = text(&call.body, "prompt");
    if prompt.is_empty() {
        return invalid("prompt", "Invalid 'prompt': empty string.");
    }
    if call.path.ends_with("/api/v1/images") {
        return openrouter_images(call);
    }
    if call.body.get("response_format").is_some() && call.model.starts_with("gpt-image") {
        let error = json!({"error": {
            "message": "Unknown parameter: 'response_format'.", "type": "invalid_request_error",
            "param": "response_format", "code": "unknown_parameter"
        }});
        return Reply::json(400, &error);
    }
    let count = call.body.get("n").and_then(Value::as_u64).unwrap_or(1);
    let read = prompt.split_whitespace().count() as u64 + if is_edit { 388 } else { 0 };
    let usage = |count: u64| {
        let made = count * 1056;
        json!({
            "input_tokens": read,
            "input_tokens_details": {"image_tokens": if is_edit { 388 } else { 0 }, "text_tokens": read - if is_edit { 388 } else { 0 }},
            "output_tokens": made,
            "output_tokens_details": {"image_tokens": made, "text_tokens": 0},
            "total_tokens": read + made
        })
    };
    let facts =
        json!({"background": "opaque", "output_format": "png", "quality": "medium", "size": "1024x1024"});
    if !call.streaming {
        let data: Vec<Value> = (0..count).map(|_| json!({"b64_json": PNG})).collect();
        let mut answer = json!({"created": call.created, "data": data, "usage": usage(count)});
        extend(&mut answer, &facts);
        return Reply::json(200, &answer);
    }
    let kind = if is_edit { "image_edit" } else { "image_generation" };
    let partial = call.body.get("partial_images").and_then(Value::as_u64).unwrap_or(0);
    let mut events = Vec::new();
    for index in 0..partial {
        let name = format!("{kind}.partial_image");
        let mut event =
            json!({"type": name, "b64_json": PNG, "partial_image_index": index, "created_at": call.created});
        extend(&mut event, &facts);
        events.push(Bytes::from(format!("event: {name}\ndata: {event}\n\n")));
    }
    let name = format!("{kind}.completed");
    let mut event = json!({"type": name, "b64_json": PNG, "created_at": call.created, "usage": usage(1)});
    extend(&mut event, &facts);
    events.push(Bytes::from(format!("event: {name}\ndata: {event}\n\n")));
    Reply::stream("text/event-stream; charset=utf-8", events)
}

fn extend(object: &mut Value, more: &Value) {
    if let (Value::Object(object), Value::Object(more)) = (object, more) {
        object.extend(more.clone());
    }
}

fn invalid(param: &str, message: &str) -> Reply {
    let error = json!({"message": message, "type": "invalid_request_error", "param": param, "code": null});
    Reply::json(400, &json!({ "error": error }))
}

/// The output of Gemini's models where the request asks for images or audio: a picture and a sentence, or half a second of silence for each
/// word, as a whole WAV.
pub fn gemini(call: &Call) -> Option<Reply> {
    let modalities = crate::format::items(&call.body["generationConfig"], "responseModalities");
    let asks = |modality: &str| modalities.iter().any(|asked| asked == modality);
    let turns = crate::format::items(&call.body, "contents").iter();
    let parts = turns.flat_map(|turn| crate::format::items(turn, "parts"));
    let words = parts.map(|part| text(part, "text").split_whitespace().count()).sum::<usize>();
    let (parts, modality, made) = match (asks("IMAGE"), asks("AUDIO")) {
        (true, _) => {
            let image = json!({"inlineData": {"mimeType": "image/png", "data": PNG}});
            (json!([{"text": "Here it is."}, image]), "IMAGE", 1290)
        }
        (_, true) => {
            let (_, mut wav) = sound("wav")?;
            wav.resize(wav.len() + words * 24_000, 0);
            let sound = json!({"inlineData": {"mimeType": "audio/wav", "data": STANDARD.encode(wav)}});
            (json!([sound]), "AUDIO", words * 12)
        }
        _ => return None,
    };
    let answer = json!({
        "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {
            "promptTokenCount": words, "candidatesTokenCount": made, "totalTokenCount": words + made,
            "candidatesTokensDetails": [{"modality": modality, "tokenCount": made}]
        },
        "modelVersion": call.model, "responseId": call.id("")
    });
    Some(Reply::json(200, &answer))
}

/// Stability's models on Bedrock.
pub fn stability(call: &Call) -> Reply {
    if text(&call.body, "prompt").is_empty() {
        return Reply::json(400, &json!({"message": "prompt is required"}));
    }
    Reply::json(200, &json!({"images": [PNG], "seeds": [call.serial], "finish_reasons": [null]}))
}

/// FLUX at Fireworks: the answer is the image.
pub fn flux(call: &Call) -> Reply {
    if text(&call.body, "prompt").is_empty() {
        return invalid("prompt", "Field required");
    }
    Reply::whole(200, "image/png", STANDARD.decode(PNG).unwrap_or_default())
}

/// FLUX Kontext at Fireworks: the image is made in the background. The first question for it comes too early.
pub fn kontext(call: &Call) -> Reply {
    if text(&call.body, "prompt").is_empty() {
        return invalid("prompt", "Field required");
    }
    Reply::json(200, &json!({"request_id": format!("work-{}", call.serial)}))
}

/// The result of that work.
pub fn kontext_result(call: &Call) -> Reply {
    let id = text(&call.body, "id");
    let Some(began) = id.strip_prefix("work-").and_then(|serial| serial.parse::<u64>().ok()) else {
        return Reply::json(200, &json!({"id": id, "status": "Task not found", "result": null}));
    };
    if call.serial <= began + 1 {
        return Reply::json(200, &json!({"id": id, "status": "Pending", "result": null, "progress": 0.5}));
    }
    let sample = format!("https://delivery.example/{id}.png");
    Reply::json(200, &json!({"id": id, "status": "Ready", "result": {"sample": sample}, "progress": 1}))
}

/// Deepgram's speech, and xAI's: the text in JSON, the audio format in the query or the body.
pub fn spoken(call: &Call) -> Reply {
    let words = text(&call.body, "text").split_whitespace().count();
    if words == 0 {
        return Reply::json(
            400,
            &json!({"err_code": "Bad Request", "err_msg": "text is required", "request_id": call.id("")}),
        );
    }
    let format = match (call.query_value("container"), call.query_value("encoding")) {
        (Some("wav"), _) => "wav",
        (_, Some("linear16")) => "pcm",
        (_, Some(encoding)) => encoding,
        (_, None) => match text(&call.body["output_format"], "codec") {
            "" => "mp3",
            codec => codec,
        },
    };
    let Some((content_type, head)) = sound(format) else { return invalid("encoding", "unknown") };
    let pieces = (0..words).map(|_| Bytes::from(vec![0; 24_000]));
    Reply::stream(content_type, [Bytes::from(head)].into_iter().chain(pieces).collect())
        .header("dg-char-count", text(&call.body, "text").chars().count().to_string())
}

/// Deepgram's transcript: the recording is the body, which the journal alone sees.
pub fn deepgram_transcript(call: &Call) -> Reply {
    let length =
        call.headers.get("content-length").and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let bytes = length.unwrap_or(0);
    let said = format!("I heard {bytes} bytes.");
    let seconds = bytes as f64 / 32_000.0;
    let words = timed(&said, seconds, |word, (start, end)| {
        json!({
            "word": word.to_lowercase(), "punctuated_word": word, "start": start, "end": end, "confidence": 0.99, "speaker": 0
        })
    });
    let utterance =
        json!({"start": 0.0, "end": seconds, "transcript": said, "speaker": 0, "id": call.id("")});
    let alternative = json!({"transcript": said, "confidence": 0.99, "words": words});
    let channel = json!({"alternatives": [alternative], "detected_language": "en"});
    let mut results = json!({ "channels": [channel] });
    if call.query_value("utterances") == Some("true") {
        results["utterances"] = json!([utterance]);
    }
    Reply::json(
        200,
        &json!({"metadata": {"request_id": call.id(""), "duration": seconds, "channels": 1}, "results": results}),
    )
}

/// xAI's transcript: a form without a model.
pub fn xai_transcript(call: &Call) -> Reply {
    let file = &call.body["file"];
    let (Some(bytes), false) = (file["bytes"].as_u64(), call.body["model"].is_string()) else {
        return invalid("file", "file is required, and nothing is known of model");
    };
    let said = format!("I heard {bytes} bytes of {}.", text(file, "filename"));
    let seconds = bytes as f64 / 32_000.0;
    let words = timed(&said, seconds, |word, (start, end)| json!({"text": word, "start": start, "end": end}));
    Reply::json(200, &json!({"text": said, "language": "en", "duration": seconds, "words": words}))
}

fn timed(said: &str, seconds: f64, of: impl Fn(&str, (f64, f64)) -> Value) -> Vec<Value> {
    let each = seconds / said.split(' ').count() as f64;
    let word = |(index, word): (usize, &str)| of(word, (each * index as f64, each * (index + 1) as f64));
    said.split(' ').enumerate().map(word).collect()
}
