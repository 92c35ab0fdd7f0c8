//! Conversations over a WebSocket: OpenAI's Realtime API and Gemini Live, with texts for answers.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

use crate::body::PacedBody;
use crate::format::{fragments, items, text};
use crate::server::{self, State};

/// Which protocol is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RealtimeProtocol {
    OpenAi,
    Gemini,
}

/// Opens a WebSocket, if the request asks for one where there is one.
pub fn open(state: &Arc<State>, request: &mut Request<Incoming>) -> Option<Response<PacedBody>> {
    let path = request.uri().path();
    let talk = match path {
        _ if path.ends_with("/realtime") => RealtimeProtocol::OpenAi,
        _ if path.ends_with("BidiGenerateContent") => RealtimeProtocol::Gemini,
        _ => return None,
    };
    let key = request.headers().get(SEC_WEBSOCKET_KEY)?;
    let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes())).ok()?;
    let query = request.uri().query().unwrap_or_default();
    let model =
        query.split('&').find_map(|pair| pair.strip_prefix("model=")).unwrap_or("gpt-realtime").to_owned();
    let protocols = request.headers().get(SEC_WEBSOCKET_PROTOCOL).and_then(|list| list.to_str().ok());
    let protocol = protocols
        .and_then(|list| list.split(',').next())
        .and_then(|one| HeaderValue::from_str(one.trim()).ok());
    let number = state.journal.record("GET", (path, query), request.headers(), b"");
    state.journal.answered(number, 101, b"");
    let upgrade = hyper::upgrade::on(request);
    let state = Arc::clone(state);
    #[expect(clippy::disallowed_methods, reason = "ends with the connection")]
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        Session { state, socket, talk, model, said: String::new(), serial: 0 }.run().await;
    });
    let mut response = Response::new(PacedBody::nothing());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(protocol) = protocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    Some(response)
}

/// One open WebSocket.
struct Session {
    state: Arc<State>,
    socket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>,
    talk: RealtimeProtocol,
    model: String,
    /// The user's texts since the last answer.
    said: String,
    serial: u64,
}

impl Session {
    async fn run(mut self) {
        if self.talk == RealtimeProtocol::OpenAi {
            let session = self.session();
            self.send(json!({"type": "session.created", "session": session})).await;
        }
        while let Some(Ok(message)) = self.socket.next().await {
            let bytes = match message {
                Message::Text(text) => text.as_bytes().to_vec(),
                Message::Binary(bytes) => bytes.to_vec(),
                Message::Close(_) => break,
                _ => continue,
            };
            let event: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let events = match self.talk {
                RealtimeProtocol::OpenAi => self.openai(&event),
                RealtimeProtocol::Gemini => self.gemini(&event),
            };
            for event in events {
                self.send(event).await;
            }
        }
    }

    /// Google sends its messages as binary ones. That the peer is gone is noticed by the next read.
    async fn send(&mut self, mut event: Value) {
        if self.talk == RealtimeProtocol::OpenAi {
            event["event_id"] = format!("event_mock{}", self.next()).into();
        }
        let message = match self.talk {
            RealtimeProtocol::OpenAi => Message::text(event.to_string()),
            RealtimeProtocol::Gemini => Message::binary(event.to_string().into_bytes()),
        };
        let _ = self.socket.send(message).await;
    }

    fn next(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn session(&self) -> Value {
        json!({
            "type": "realtime", "object": "realtime.session", "id": "sess_mock", "model": self.model,
            "output_modalities": ["text"], "instructions": "", "tools": [], "tool_choice": "auto", "max_output_tokens": "inf"
        })
    }

    /// The answer of the mock's brain, and its number of tokens.
    fn answer(&mut self) -> (String, u64, u64) {
        let said = std::mem::take(&mut self.said);
        let body = json!({"model": self.model, "messages": [{"role": "user", "content": said}]});
        let reply = server::ask(&self.state, "/v1/chat/completions", Default::default(), body);
        let answer: Value = serde_json::from_slice(&reply.frames.concat()).unwrap_or_default();
        let words = answer["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned();
        let count = |name: &str| answer["usage"][name].as_u64().unwrap_or(0);
        (words, count("prompt_tokens"), count("completion_tokens"))
    }

    fn openai(&mut self, event: &Value) -> Vec<Value> {
        match text(event, "type") {
            "session.update" => {
                let mut session = self.session();
                if let (Some(session), Some(given)) = (session.as_object_mut(), event["session"].as_object())
                {
                    session.extend(given.clone());
                }
                vec![json!({"type": "session.updated", "session": session})]
            }
            "conversation.item.create" => {
                let mut item = event["item"].clone();
                if !item.is_object() {
                    return vec![mistake("Missing required parameter: 'item'.")];
                }
                for part in items(&item, "content") {
                    self.said.push_str(text(part, "text"));
                }
                item["id"] = format!("item_mock{}", self.next()).into();
                item["object"] = "realtime.item".into();
                item["status"] = "completed".into();
                let about = |kind: &str| json!({"type": kind, "previous_item_id": null, "item": item});
                vec![about("conversation.item.added"), about("conversation.item.done")]
            }
            "response.create" => self.openai_response(),
            kind if kind.starts_with("input_audio_buffer.") => Vec::new(),
            kind => vec![mistake(&format!("Invalid value: '{kind}'."))],
        }
    }

    fn openai_response(&mut self) -> Vec<Value> {
        let (words, read, written) = self.answer();
        let (id, item_id) = (format!("resp_mock{}", self.next()), format!("item_mock{}", self.next()));
        let item = |status: &str, content: Value| {
            json!({
                "id": item_id, "object": "realtime.item", "type": "message", "status": status, "role": "assistant", "content": content
            })
        };
        let response = |status: &str, output: Value, usage: Value| {
            json!({
                "object": "realtime.response", "id": id, "status": status, "status_details": null, "output": output,
                "conversation_id": "conv_mock", "output_modalities": ["text"], "max_output_tokens": "inf",
                "usage": usage, "metadata": null
            })
        };
        let at = |mut event: Value| {
            event["response_id"] = id.as_str().into();
            event["item_id"] = item_id.as_str().into();
            event["output_index"] = 0.into();
            event["content_index"] = 0.into();
            event
        };
        let done = item("completed", json!([{"type": "output_text", "text": words}]));
        let begun = item("in_progress", json!([]));
        let mut events = vec![
            json!({"type": "response.created", "response": response("in_progress", json!([]), Value::Null)}),
            json!({"type": "response.output_item.added", "response_id": id, "output_index": 0, "item": begun}),
            at(json!({"type": "response.content_part.added", "part": {"type": "text", "text": ""}})),
        ];
        events.extend(
            fragments(&words)
                .iter()
                .map(|piece| at(json!({"type": "response.output_text.delta", "delta": piece}))),
        );
        let usage = json!({
            "total_tokens": read + written, "input_tokens": read, "output_tokens": written,
            "input_token_details": {"text_tokens": read, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": 0},
            "output_token_details": {"text_tokens": written, "audio_tokens": 0}
        });
        events.extend([
            at(json!({"type": "response.output_text.done", "text": words})),
            at(json!({"type": "response.content_part.done", "part": {"type": "text", "text": words}})),
            json!({"type": "response.output_item.done", "response_id": id, "output_index": 0, "item": done}),
            json!({"type": "response.done", "response": response("completed", json!([done]), usage)}),
        ]);
        events
    }

    fn gemini(&mut self, event: &Value) -> Vec<Value> {
        if let Some(setup) = event.get("setup") {
            let model = text(setup, "model");
            self.model = model.strip_prefix("models/").unwrap_or(model).to_owned();
            return vec![json!({"setupComplete": {}})];
        }
        let content = event.get("clientContent").or(event.get("client_content"));
        let Some(content) = content else {
            self.said.push_str(text(&event["realtimeInput"], "text"));
            return if self.said.is_empty() { Vec::new() } else { self.gemini_turn() };
        };
        for turn in items(content, "turns") {
            for part in items(turn, "parts") {
                self.said.push_str(text(part, "text"));
            }
        }
        let is_complete = content["turnComplete"].as_bool().or(content["turn_complete"].as_bool());
        if is_complete.unwrap_or(false) { self.gemini_turn() } else { Vec::new() }
    }

    fn gemini_turn(&mut self) -> Vec<Value> {
        let (words, read, written) = self.answer();
        let turn = |piece: &String| json!({"serverContent": {"modelTurn": {"parts": [{"text": piece}]}}});
        let mut events: Vec<Value> = fragments(&words).iter().map(turn).collect();
        events.push(json!({"serverContent": {"generationComplete": true}}));
        events.push(json!({
            "serverContent": {"turnComplete": true},
            "usageMetadata": {
                "promptTokenCount": read, "responseTokenCount": written, "totalTokenCount": read + written,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": read}],
                "responseTokensDetails": [{"modality": "TEXT", "tokenCount": written}]
            }
        }));
        events
    }
}

fn mistake(message: &str) -> Value {
    json!({"type": "error", "error": {"type": "invalid_request_error", "code": "invalid_value", "message": message, "param": "type"}})
}
