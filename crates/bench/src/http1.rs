//! The part of HTTP/1.1 that both ends of a benchmark need: complete messages over one connection, with
//! little work for each.

use std::io;

use memchr::{memchr, memmem};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LARGEST_HEAD: usize = 64 * 1024;

/// A connection that messages are read from, one after the other.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// What has been read of the buffer.
    start: usize,
    /// Messages whose head has been read.
    heads: usize,
    /// Bytes since the last head.
    came: usize,
}

pub struct Head {
    /// `POST /v1/chat/completions HTTP/1.1` or `HTTP/1.1 200 OK`
    pub first_line: String,
    length: Length,
    /// Whether the connection can carry another message.
    pub keep_alive: bool,
}

enum Length {
    Bytes(usize),
    Chunked,
}

impl Connection {
    /// Over a connected socket.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(16 * 1024), start: 0, heads: 0, came: 0 })
    }

    /// The progress so far, for an error message about a timeout.
    pub fn state(&self) -> String {
        let ports = self.stream.local_addr().ok().zip(self.stream.peer_addr().ok());
        let ports = ports.map_or_else(String::new, |(own, peer)| format!(", {own} to {peer}"));
        format!("{} heads have been read, and {} bytes came after the last{ports}", self.heads, self.came)
    }

    /// Writes all of it.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The next head, or none if the other end closed the connection between two messages.
    pub async fn read_head(&mut self) -> io::Result<Option<Head>> {
        self.buffer.drain(..self.start);
        self.start = 0;
        loop {
            if let Some(end) = memmem::find(&self.buffer, b"\r\n\r\n") {
                self.start = end + 4;
                (self.heads, self.came) = (self.heads + 1, self.buffer.len() - self.start);
                return head(&self.buffer[..end]).map(Some).ok_or_else(|| broken("the head"));
            }
            if self.buffer.len() > LARGEST_HEAD {
                return Err(broken("the head is too long"));
            }
            let clean = self.buffer.is_empty();
            if self.read().await? == 0 {
                return if clean { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// Reads the body that belongs to `head` and passes it on in pieces as they arrive.
    pub async fn read_body(&mut self, head: &Head, mut piece: impl FnMut(&[u8])) -> io::Result<()> {
        match head.length {
            Length::Bytes(mut left) => {
                while left > 0 {
                    self.need(1).await?;
                    let taken = left.min(self.buffer.len() - self.start);
                    piece(self.take(taken));
                    left -= taken;
                }
                Ok(())
            }
            Length::Chunked => loop {
                let size = self.chunk_size().await?;
                self.need(size + 2).await?;
                let chunk = self.take(size + 2);
                if &chunk[size..] != b"\r\n" {
                    return Err(broken("the end of a chunk"));
                }
                if size == 0 {
                    return Ok(());
                }
                piece(&chunk[..size]);
            },
        }
    }

    async fn chunk_size(&mut self) -> io::Result<usize> {
        loop {
            if let Some(end) = memchr(b'\n', &self.buffer[self.start..]) {
                let line = self.take(end + 1);
                let size = std::str::from_utf8(line).ok().and_then(|line| line.split([';', '\r']).next());
                let size = size.and_then(|size| usize::from_str_radix(size, 16).ok());
                return size.ok_or_else(|| broken("the size of a chunk"));
            }
            let more = self.buffer.len() - self.start + 1;
            self.need(more).await?;
        }
    }

    fn take(&mut self, length: usize) -> &[u8] {
        self.start += length;
        &self.buffer[self.start - length..self.start]
    }

    /// Waits until this many unread bytes have arrived.
    async fn need(&mut self, length: usize) -> io::Result<()> {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        }
        while self.buffer.len() - self.start < length {
            if self.read().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    async fn read(&mut self) -> io::Result<usize> {
        let length = self.stream.read_buf(&mut self.buffer).await?;
        self.came += length;
        Ok(length)
    }
}

fn head(bytes: &[u8]) -> Option<Head> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut lines = text.split("\r\n");
    let first_line = lines.next()?.to_owned();
    let mut head = Head { first_line, length: Length::Bytes(0), keep_alive: true };
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            head.length = Length::Bytes(value.parse().ok()?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            head.length = Length::Chunked;
        } else if name.eq_ignore_ascii_case("connection") {
            head.keep_alive = !value.eq_ignore_ascii_case("close");
        }
    }
    Some(head)
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("broken HTTP: {what}"))
}
