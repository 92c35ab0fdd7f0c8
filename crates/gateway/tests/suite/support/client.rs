//! A small client: one request for each connection, the answer taken apart by hand, piece by piece.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{KEY, advance_seconds, settle};

/// A whole answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether the body ended as its framing says.
    pub complete: bool,
}

/// An answer whose head has arrived.
pub struct OpenAnswer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    socket: TcpStream,
    buffer: Vec<u8>,
    framing: Framing,
}

#[derive(Clone, Copy, PartialEq)]
enum Framing {
    Chunked,
    Length(usize),
    Ended,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The value at a JSON pointer of the body, or null.
    pub fn at(&self, pointer: &str) -> Value {
        self.json().pointer(pointer).cloned().unwrap_or_default()
    }

    /// The contents of the `data:` lines.
    pub fn data(&self) -> Vec<String> {
        self.text().lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect()
    }

    /// The events of a stream without `[DONE]`.
    pub fn events(&self) -> Vec<Value> {
        let data = self.data().into_iter().filter(|data| data != "[DONE]");
        data.map(|data| serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error}: {data}")))
            .collect()
    }

    /// The number of `[DONE]`.
    pub fn done(&self) -> usize {
        self.data().iter().filter(|data| *data == "[DONE]").count()
    }

    /// The text of a stream's first choice.
    pub fn content(&self) -> String {
        let text = |event: &Value| Some(event.pointer("/choices/0/delta/content")?.as_str()?.to_owned());
        self.events().iter().filter_map(text).collect()
    }

    /// The finish reasons of a stream, in order.
    pub fn finishes(&self) -> Vec<String> {
        let choices = |event: Value| event["choices"].as_array().cloned().unwrap_or_default();
        let reason = |choice: Value| choice["finish_reason"].as_str().map(str::to_owned);
        self.events().into_iter().flat_map(choices).filter_map(reason).collect()
    }

    /// Status, `error.type` and `error.code`.
    pub fn error(&self) -> (u16, String, String) {
        let text = |pointer: &str| self.at(pointer).as_str().unwrap_or_default().to_owned();
        (self.status, text("/error/type"), text("/error/code"))
    }

    /// `error.message`.
    pub fn message(&self) -> String {
        self.at("/error/message").as_str().unwrap_or_default().to_owned()
    }

    /// `metadata.routing` as `provider status error`, one for each attempt.
    pub fn routing(&self) -> Vec<String> {
        let routing = self.at("/metadata/routing");
        let text = |attempt: &Value| {
            let error = attempt["error_type"].as_str().unwrap();
            assert!(attempt["latency_ms"].is_u64() && attempt["model"].is_string(), "{attempt}");
            format!("{} {} {error}", attempt["provider"].as_str().unwrap(), attempt["status_code"])
        };
        routing.as_array().unwrap().iter().map(|attempt| text(attempt).trim().to_owned()).collect()
    }
}

impl OpenAnswer {
    /// The next piece as the gateway wrote it; none at the end. Panics where the connection breaks.
    pub async fn piece(&mut self) -> Option<String> {
        self.next().await.unwrap().map(|bytes| String::from_utf8(bytes).unwrap())
    }

    pub async fn rest(mut self) -> Reply {
        let mut body = Vec::new();
        let complete = loop {
            match self.next().await {
                Ok(Some(bytes)) => body.extend_from_slice(&bytes),
                Ok(None) => break true,
                Err(()) => break false,
            }
        };
        Reply { status: self.status, headers: self.headers, body, complete }
    }

    async fn next(&mut self) -> Result<Option<Vec<u8>>, ()> {
        match self.framing {
            Framing::Ended => Ok(None),
            Framing::Length(length) => {
                self.framing = Framing::Ended;
                self.take(length).await.map(Some)
            }
            Framing::Chunked => {
                let line = self.line().await?;
                let length = usize::from_str_radix(line.trim(), 16).unwrap();
                let bytes = self.take(length).await?;
                self.line().await?;
                if length == 0 {
                    self.framing = Framing::Ended;
                    return Ok(None);
                }
                Ok(Some(bytes))
            }
        }
    }

    async fn line(&mut self) -> Result<String, ()> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.buffer.drain(..end + 2).collect::<Vec<u8>>();
                return Ok(String::from_utf8(line).unwrap());
            }
            self.fill().await?;
        }
    }

    async fn take(&mut self, length: usize) -> Result<Vec<u8>, ()> {
        while self.buffer.len() < length {
            self.fill().await?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    async fn fill(&mut self) -> Result<(), ()> {
        match self.socket.read_buf(&mut self.buffer).await {
            Ok(0) | Err(_) => Err(()),
            Ok(_) => Ok(()),
        }
    }
}

/// A connection to send anything on.
pub async fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

/// Sends a chat request with the test's key and waits for the whole answer.
pub async fn chat(address: SocketAddr, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    open(address, headers, body).await.rest().await
}

/// Sends a chat request and returns once the head of the answer has arrived.
pub async fn open(address: SocketAddr, headers: &[(&str, &str)], body: &[u8]) -> OpenAnswer {
    let mut request = b"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\n".to_vec();
    let has = |name: &str| headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
    if !has("authorization") {
        request.extend_from_slice(format!("authorization: Bearer {KEY}\r\n").as_bytes());
    }
    if !has("content-type") {
        request.extend_from_slice(b"content-type: application/json\r\n");
    }
    for (name, value) in headers {
        request.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    request.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    request.extend_from_slice(body);
    let mut socket = connect(address).await;
    socket.write_all(&request).await.unwrap();
    read_head(socket).await
}

/// `GET` with the test's key.
pub async fn get(address: SocketAddr, path: &str) -> Reply {
    let request = format!("GET {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {KEY}\r\n\r\n");
    send(address, request.as_bytes()).await
}

/// Sends these bytes on a new connection and returns the answer.
pub async fn send(address: SocketAddr, bytes: &[u8]) -> Reply {
    let mut socket = connect(address).await;
    socket.write_all(bytes).await.unwrap();
    read_head(socket).await.rest().await
}

/// The whole answer to `HEAD`, as text.
pub async fn head_of(gateway: &super::TestGateway, path: &str) -> String {
    let mut socket = connect(gateway.address).await;
    let request = format!(
        "HEAD {path} HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {KEY}\r\nconnection: close\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    text
}

/// The caller is refused after a pause of so many seconds, by this setting. Within [`with_held_clock`].
pub async fn assert_late(caller: TcpStream, pause: u64, setting: &str) {
    settle().await;
    advance_seconds(pause).await;
    let reply = read_head(caller).await.rest().await;
    assert_eq!(reply.status, 408, "{}", reply.text());
    assert!(reply.message().contains(setting), "{}", reply.text());
}

pub async fn read_head(socket: TcpStream) -> OpenAnswer {
    let mut open =
        OpenAnswer { status: 0, headers: Vec::new(), socket, buffer: Vec::new(), framing: Framing::Ended };
    let first = open.line().await.expect("an answer");
    open.status = first.split(' ').nth(1).unwrap().parse().unwrap();
    loop {
        let line = open.line().await.unwrap();
        let Some((name, value)) = line.trim().split_once(':') else { break };
        open.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = find(&open.headers, "content-length").map(|value| value.parse().unwrap());
    open.framing = match length {
        Some(length) => Framing::Length(length),
        None if find(&open.headers, "transfer-encoding").is_some() => Framing::Chunked,
        None => Framing::Ended,
    };
    open
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
}
