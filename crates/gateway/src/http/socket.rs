//! A client's socket. It notes arriving bytes, and closes so that the client can read the last answer.
//!
//! A socket that is closed while bytes of the client are unread, or still on their way, is reset, and the
//! client may lose the answer that it was sent before (RFC 9112, 9.6). It therefore ends with a half close:
//! nothing more is written, and arriving bytes are read and discarded until the client closes too, within
//! limits.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::connections::Slot;
use crate::clock;

/// How long a client may send after the last answer, how long it may pause, and how much it may send.
const LONGEST: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(2);
const MOST: usize = 256 << 20;

pub struct Socket {
    stream: TcpStream,
    slot: Arc<Slot>,
    is_read_to_end: bool,
    /// Boxed because it is rare: unboxed it would enlarge every connection.
    lingering: Option<Box<LingerState>>,
}

struct LingerState {
    end: Instant,
    pause: Pin<Box<Sleep>>,
    seen: usize,
}

impl Socket {
    /// The socket of a connection.
    pub fn new(stream: TcpStream, slot: Arc<Slot>) -> Self {
        Self { stream, slot, is_read_to_end: false, lingering: None }
    }

    /// A client that has closed, or that was idle when it was closed, cannot lose an answer.
    fn has_to_linger(&self) -> bool {
        !self.is_read_to_end && !self.slot.is_closing()
    }

    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let lingering = self.lingering.get_or_insert_with(|| {
            let now = clock::now();
            let pause = Box::pin(tokio::time::sleep_until(now + PAUSE));
            Box::new(LingerState { end: now + LONGEST, pause, seen: 0 })
        });
        let mut scratch = [0; 8 << 10];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Poll::Ready(()),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => {
                    lingering.seen += buffer.filled().len();
                    let now = clock::now();
                    if lingering.seen > MOST || now >= lingering.end {
                        return Poll::Ready(());
                    }
                    lingering.pause.as_mut().reset(lingering.end.min(now + PAUSE));
                }
                Poll::Pending => return lingering.pause.as_mut().poll(context),
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() == before {
            self.is_read_to_end = true
        } else {
            self.slot.note_bytes()
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            if !self.has_to_linger() {
                return Poll::Ready(Ok(()));
            }
        }
        self.poll_linger(context).map(Ok)
    }
}
