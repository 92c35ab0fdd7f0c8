//! Requests and answers far larger than a conversation: a recording that is uploaded, and vectors of many texts.

use std::fmt::Write;

use anyhow::{Context, Result, bail, ensure};
use memchr::memmem;

use crate::http1::Connection;
use crate::targets::KEY;

/// The bytes of the recording.
pub const RECORDING: usize = 200 << 20;
pub const VECTORS: usize = 2_048;
pub const LENGTH: usize = 1_536;
/// The recording is written in pieces of this size.
const PIECE: usize = 64 << 10;
const BOUNDARY: &str = "bench-boundary";

/// The upstream's vectors: all equal, with nine decimals as providers send them.
pub fn vectors() -> Vec<u8> {
    let numbers: Vec<String> = (0..LENGTH).map(|index| format!("{:.9}", number(index))).collect();
    let numbers = numbers.join(",");
    let mut body = String::with_capacity(VECTORS * (numbers.len() + 64));
    body.push_str("{\"object\":\"list\",\"data\":[");
    for index in 0..VECTORS {
        let comma = if index == 0 { "" } else { "," };
        // Writing to a string cannot fail.
        let _ =
            write!(body, "{comma}{{\"object\":\"embedding\",\"index\":{index},\"embedding\":[{numbers}]}}");
    }
    body.push_str(
        "],\"model\":\"text-embedding-3-small\",\"usage\":{\"prompt_tokens\":2048,\"total_tokens\":2048}}",
    );
    body.into_bytes()
}

/// Multiples of 2^-16: exact as `f32`, and in nine decimals nearly so.
fn number(index: usize) -> f64 {
    (index * 7_919 % 2_000) as f64 / 65_536.0 - 0.015_258_789
}

/// The upstream's transcript: it says how many bytes arrived.
pub fn transcript(arrived: usize) -> Vec<u8> {
    let text = format!("{{\"text\":\"{arrived}\",\"usage\":{{\"type\":\"duration\",\"seconds\":6554}}}}");
    text.into_bytes()
}

/// Uploads a recording of this size and checks that all of it arrived at the upstream.
pub async fn upload(connection: &mut Connection, size: usize) -> Result<()> {
    let before = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nopenai/whisper-1\r\n\
         --{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\
         Content-Type: audio/wav\r\n\r\n"
    );
    let after = format!("\r\n--{BOUNDARY}--\r\n");
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    let length = before.len() + size + after.len();
    connection.write(head("/v1/audio/transcriptions", &kind, length).as_bytes()).await?;
    connection.write(before.as_bytes()).await?;
    let piece = vec![0x5A; PIECE];
    let mut left = size;
    while left > 0 {
        let now = left.min(PIECE);
        connection.write(&piece[..now]).await?;
        left -= now;
    }
    connection.write(after.as_bytes()).await?;
    let answer = answer(connection).await?;
    let value: serde_json::Value = serde_json::from_slice(&answer)?;
    let arrived: usize = value["text"].as_str().context("no text")?.parse()?;
    ensure!(arrived > size, "only {arrived} of {length} bytes arrived");
    Ok(())
}

/// Asks for the vectors of many texts in base64, which the upstream sends as numbers, and checks them.
pub async fn embed(connection: &mut Connection) -> Result<()> {
    let texts = vec!["\"a text\""; VECTORS].join(",");
    let body = format!(
        "{{\"model\":\"openai/text-embedding-3-small\",\"input\":[{texts}],\"encoding_format\":\"base64\"}}"
    );
    connection.write(head("/v1/embeddings", "application/json", body.len()).as_bytes()).await?;
    connection.write(body.as_bytes()).await?;
    let answer = answer(connection).await?;
    let start = b"\"embedding\":\"";
    let places: Vec<usize> = memmem::find_iter(&answer, start).map(|at| at + start.len()).collect();
    ensure!(places.len() == VECTORS, "{} of {VECTORS} vectors came", places.len());
    // Four bytes a number, four letters for three bytes.
    let letters = LENGTH * 4 / 3 * 4;
    let first = answer.get(places[0]..places[0] + letters).context("the first vector is cut")?;
    for at in places {
        ensure!(answer.get(at..at + letters) == Some(first), "two vectors differ");
        ensure!(answer.get(at + letters) == Some(&b'"'), "a vector has another length");
    }
    Ok(())
}

fn head(path: &str, kind: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {KEY}\r\ncontent-type: {kind}\r\n\
         content-length: {length}\r\n\r\n"
    )
}

async fn answer(connection: &mut Connection) -> Result<Vec<u8>> {
    let head = connection.read_head().await?.context("the connection was closed")?;
    let mut body = Vec::new();
    connection.read_body(&head, |piece| body.extend_from_slice(piece)).await?;
    if !head.first_line.starts_with("HTTP/1.1 200") {
        bail!("{}: {}", head.first_line, String::from_utf8_lossy(&body[..body.len().min(300)]));
    }
    Ok(body)
}
