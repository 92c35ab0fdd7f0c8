//! A small HTTP client: one request per connection, the answer parsed by hand.

use mock::{Mock, Options, start};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    /// Whether the body ended as its framing says.
    pub complete: bool,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The JSON of the `data:` lines; `[DONE]` is left out.
    pub fn events(&self) -> Vec<Value> {
        let text = self.text();
        let data =
            text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
        data.map(|data| serde_json::from_str(data).unwrap()).collect()
    }
}

/// A mock with plain answers on a free port.
pub async fn plain() -> Mock {
    with(Options::plain()).await
}

pub async fn with(options: Options) -> Mock {
    start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), options).await.unwrap()
}

/// Posts JSON with the headers that Anthropic requires; other providers ignore them.
pub async fn post(mock: &Mock, path: &str, body: &Value) -> Answer {
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: mock\r\ncontent-type: application/json\r\nanthropic-version: 2023-06-01\r\n\
         authorization: Bearer secret-key\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    send(mock, &format!("{head}{body}")).await
}

pub async fn get(mock: &Mock, path: &str) -> Answer {
    send(mock, &format!("GET {path} HTTP/1.1\r\nhost: mock\r\nconnection: close\r\n\r\n")).await
}

pub async fn send(mock: &Mock, request: &str) -> Answer {
    let mut socket = TcpStream::connect(mock.address()).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    // A cut connection may be reported as an error; the bytes before it count.
    let _ = socket.read_to_end(&mut bytes).await;
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_string()))
        .collect();
    let rest = &bytes[end + 4..];
    let (body, complete) = if headers.get("transfer-encoding").is_some_and(|value| value == "chunked") {
        dechunk(rest)
    } else {
        let announced: usize = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        (rest.to_vec(), rest.len() == announced)
    };
    Answer { status, headers, body, complete }
}

fn dechunk(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|window| window == b"\r\n") else { return (body, false) };
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return (body, true);
        }
        let Some(chunk) = rest.get(end + 2..end + 2 + size) else { return (body, false) };
        body.extend_from_slice(chunk);
        rest = &rest[end + 2 + size + 2..];
    }
}

/// The weather tool of the documentation, as a schema.
pub fn weather_schema() -> Value {
    serde_json::json!({
        "type": "object", "properties": { "location": { "type": "string" } }, "required": ["location"]
    })
}
