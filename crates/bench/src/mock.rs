//! The mock upstream: three formats on one port, selected by path, with answers prepared at the start.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use memchr::memmem;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};

use crate::answers::{Answers, Format};
use crate::http1::Connection;
use crate::large;

/// When the events of a stream are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// All in one write: the size of the reader's pieces then depends on nothing else.
    Together,
    /// Immediately, each with its own write.
    Burst,
    /// One after the other, with this pause.
    Every(Duration),
    /// The first ten, then nothing until the caller hangs up.
    Held,
}

struct Upstream {
    pace: Pace,
    openai: Answers,
    anthropic: Answers,
    gemini: Answers,
}

/// Listens on a free port of loopback and serves as long as this runtime runs. Upstream and load share a
/// thread, so that they do not preempt each other.
pub async fn start(pace: Pace) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let upstream = Arc::new(Upstream {
        pace,
        openai: Answers::of(Format::OpenAi),
        anthropic: Answers::of(Format::Anthropic),
        gemini: Answers::of(Format::Gemini),
    });
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(serve(upstream.clone(), stream))),
                // The other end counts the missing answer. The usual cause is a lack of file descriptors, for which an
                // immediate retry would fail again.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    });
    Ok(address)
}

/// A broken connection is counted by the caller, who misses an answer.
async fn serve(upstream: Arc<Upstream>, stream: TcpStream) {
    let Ok(mut connection) = Connection::new(stream) else { return };
    while let Ok(true) = upstream.exchange(&mut connection).await {}
}

async fn write_json(connection: &mut Connection, body: &[u8]) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    connection.write(head.as_bytes()).await?;
    connection.write(body).await
}

impl Upstream {
    /// Reads one request and answers it. False at the end of the connection.
    async fn exchange(&self, connection: &mut Connection) -> io::Result<bool> {
        let Some(head) = connection.read_head().await? else { return Ok(false) };
        let path = head.first_line.split(' ').nth(1).unwrap_or_default().to_owned();
        if path.ends_with("/audio/transcriptions") {
            let mut arrived = 0;
            connection.read_body(&head, |piece| arrived += piece.len()).await?;
            write_json(connection, &large::transcript(arrived)).await?;
            return Ok(true);
        }
        let mut body = Vec::new();
        connection.read_body(&head, |piece| body.extend_from_slice(piece)).await?;
        let stream =
            path.contains(":streamGenerateContent") || memmem::find(&body, b"\"stream\":true").is_some();
        let answers = match path.split('?').next().unwrap_or_default() {
            path if path.ends_with("/chat/completions") => &self.openai,
            path if path.ends_with("/messages") => &self.anthropic,
            path if path.ends_with("enerateContent") => &self.gemini,
            path if path.ends_with("/embeddings") => {
                write_json(connection, &large::vectors()).await?;
                return Ok(true);
            }
            _ => {
                connection.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await?;
                return Ok(true);
            }
        };
        if stream {
            self.stream(connection, answers).await?
        } else {
            connection.write(&answers.whole).await?
        }
        Ok(true)
    }

    async fn stream(&self, connection: &mut Connection, answers: &Answers) -> io::Result<()> {
        connection.write(&answers.stream_head).await?;
        if self.pace == Pace::Together {
            return connection.write(&answers.events.concat()).await;
        }
        let start = Instant::now();
        for (at, event) in answers.events.iter().enumerate() {
            match self.pace {
                Pace::Together | Pace::Burst => {}
                Pace::Every(pause) => sleep_until(start + pause * at as u32).await,
                Pace::Held if at == 10 => {
                    // Nothing more is expected: reading ends when the caller hangs up.
                    connection.read_head().await?;
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                Pace::Held => {}
            }
            connection.write(event).await?;
        }
        Ok(())
    }
}
