//! A provider that plays exact bytes and remembers what it was asked.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub struct Upstream {
    pub address: SocketAddr,
    heard: Arc<Mutex<Vec<ReceivedRequest>>>,
    lines: mpsc::UnboundedReceiver<Line>,
    accepting: JoinHandle<()>,
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct ReceivedRequest {
    pub head: String,
    pub body: Vec<u8>,
}

/// A request that waits for its answer.
pub struct Line {
    socket: TcpStream,
}

impl Upstream {
    /// Answers the first request with the first reply, and so on. The last reply answers all further requests.
    pub async fn playing(replies: Vec<Vec<u8>>) -> Self {
        Self::start(Some(replies.into())).await
    }

    /// Answers nothing: the test takes each request with [`Upstream::next`].
    pub async fn by_hand() -> Self {
        Self::start(None).await
    }

    async fn start(script: Option<VecDeque<Vec<u8>>>) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard: Arc<Mutex<Vec<ReceivedRequest>>> = Arc::default();
        let (sender, lines) = mpsc::unbounded_channel();
        let accepting = tokio::spawn(accept(listener, script, heard.clone(), sender));
        Self { address, heard, lines, accepting }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its section of the configuration.
    pub fn provider(&self, id: &str, protocol: &str) -> String {
        format!(
            "[providers.{id}]\nprotocol = \"{protocol}\"\nbase_url = \"http://{}/v1\"\napi_key = \"{id}-key\"\n",
            self.address
        )
    }

    /// The section of a provider of the catalog that is played here.
    pub fn known(&self, id: &str) -> String {
        format!("[providers.{id}]\nbase_url = \"http://{}/v1\"\napi_key = \"{id}-key\"\n", self.address)
    }

    pub async fn next(&mut self) -> Line {
        self.lines.recv().await.unwrap()
    }

    /// The requests so far.
    pub fn received(&self) -> Vec<ReceivedRequest> {
        self.heard.lock().unwrap().clone()
    }

    /// The bodies of the requests so far.
    pub fn bodies(&self) -> Vec<Value> {
        self.received().iter().map(|heard| serde_json::from_slice(&heard.body).unwrap()).collect()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl ReceivedRequest {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (given, value) = line.split_once(':')?;
            given.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

impl Line {
    /// Sends bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Waits for this many bytes.
    pub async fn receive(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.socket.read_exact(&mut bytes).await.unwrap();
        bytes
    }

    /// Waits until the gateway has closed the connection.
    pub async fn hung_up(mut self) {
        let mut rest = [0; 64];
        while !matches!(self.socket.read(&mut rest).await, Ok(0) | Err(_)) {}
    }

    /// Waits for the next request on the same connection; none when the gateway closed it.
    pub async fn again(mut self) -> Option<Self> {
        read_request(&mut self.socket).await?;
        Some(self)
    }
}

async fn accept(
    listener: TcpListener,
    mut script: Option<VecDeque<Vec<u8>>>,
    heard: Arc<Mutex<Vec<ReceivedRequest>>>,
    lines: mpsc::UnboundedSender<Line>,
) {
    let mut open = Vec::new();
    loop {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.set_nodelay(true).unwrap();
        let Some(request) = read_request(&mut socket).await else { continue };
        heard.lock().unwrap().push(request.clone());
        match &mut script {
            None => drop(lines.send(Line { socket })),
            Some(script) => {
                let reply = if script.len() > 1 { script.pop_front() } else { script.front().cloned() };
                let reply = reply.unwrap_or_default();
                let _ = socket.write_all(&reply).await;
                // An empty reply hangs; any other reply ends with the connection.
                if reply.is_empty() { open.push(socket) } else { drop(socket.shutdown().await) }
            }
        }
    }
}

async fn read_request(socket: &mut TcpStream) -> Option<ReceivedRequest> {
    let mut buffer = Vec::new();
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if socket.read_buf(&mut buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
    let mut heard = ReceivedRequest { head, body: buffer[end..].to_vec() };
    let length = heard.header("content-length").map_or(0, |value| value.parse().unwrap());
    while heard.body.len() < length {
        if socket.read_buf(&mut heard.body).await.ok()? == 0 {
            return None;
        }
    }
    Some(heard)
}

/// Any answer, byte by byte.
pub fn raw(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

/// No answer, and no end.
pub fn nothing() -> Vec<u8> {
    Vec::new()
}

/// A JSON answer.
pub fn whole(status: &str, body: &Value) -> Vec<u8> {
    raw(status, "content-type: application/json\r\n", body.to_string())
}

/// An error in OpenAI's shape.
pub fn error(status: &str) -> Vec<u8> {
    let body =
        json!({"error": {"message": format!("status {status}"), "type": "t", "param": null, "code": null}});
    whole(status, &body)
}

/// A good answer with this text.
pub fn answer(text: &str) -> Vec<u8> {
    whole("200 OK", &answer_of(json!({"role": "assistant", "content": text}), "stop"))
}

/// A good answer with this message. It used 10 tokens, 4 of them from the cache, and made 5.
pub fn answer_of(message: Value, finish: &str) -> Value {
    json!({
        "id": "chatcmpl-upstream", "object": "chat.completion", "created": 1_700_000_000, "model": "ran-this",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {
            "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 4}
        }
    })
}

/// The head of a stream that ends with its connection.
pub fn stream_head() -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\n\r\n".to_vec()
}

/// A chunk with one choice.
pub fn chunk(delta: Value, finish: Option<&str>) -> String {
    let chunk = json!({
        "id": "chatcmpl-upstream", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "ran-this",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]
    });
    format!("data: {chunk}\n\n")
}

/// A stream of these events, as they are.
pub fn events(events: &[String]) -> Vec<u8> {
    [stream_head(), events.concat().into_bytes()].concat()
}

/// A good stream with these pieces of text and usage at its end, in chunked framing, which marks the end of the body.
pub fn stream_of(pieces: &[&str]) -> Vec<u8> {
    let usage = json!({
        "id": "chatcmpl-upstream", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "ran-this",
        "choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    });
    let mut all = vec![chunk(json!({"role": "assistant", "content": ""}), None)];
    all.extend(pieces.iter().map(|piece| chunk(json!({"content": piece}), None)));
    all.push(chunk(json!({}), Some("stop")));
    all.push(format!("data: {usage}\n\n"));
    all.push("data: [DONE]\n\n".to_owned());
    events(&all)
}
