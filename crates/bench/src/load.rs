//! The load generator. Every answer is read to its end and compared with what the upstream sent.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::task::LocalSet;

use crate::answers::{self, Format, Prompt};
use crate::check;
use crate::http1::{Connection, Head};
use crate::works::{self, Work};

const PATIENCE: Duration = Duration::from_secs(60);

/// The request that is sent repeatedly.
pub struct Request {
    address: SocketAddr,
    bytes: Vec<u8>,
    caller: Format,
    stream: bool,
    expected: String,
}

/// The number of requests and their rate.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub requests: usize,
    /// No new request after this.
    pub limit: Duration,
    /// Connections.
    pub concurrency: usize,
    /// Requests per second, independent of the answers (open loop): latencies count from the due time of a
    /// request, so that the wait for a slow answer is included. None: a connection sends when its answer is
    /// complete.
    pub rate: Option<f64>,
}

#[derive(Clone, Debug, Default)]
pub struct LoadResult {
    /// Complete and correct answers.
    pub good: usize,
    /// All others.
    pub failed: usize,
    /// Why the first of them failed.
    pub failure: Option<String>,
    /// From the first request to the last answer.
    pub wall: Duration,
    latencies: Vec<Duration>,
}

impl LoadResult {
    /// The latency below which this share of the answers stayed.
    pub fn quantile(&self, share: f64) -> Duration {
        let at = (self.latencies.len() as f64 * share) as usize;
        self.latencies.get(at.min(self.latencies.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    /// Correct answers per second.
    pub fn rate(&self) -> f64 {
        self.good as f64 / self.wall.as_secs_f64()
    }

    /// An error if anything failed.
    pub fn all_good(&self) -> Result<()> {
        match &self.failure {
            None if self.good > 0 => Ok(()),
            None => bail!("there was no answer"),
            Some(why) => bail!("{} of {} answers were wrong: {why}", self.failed, self.good + self.failed),
        }
    }
}

impl Request {
    /// A chat request to this address.
    pub fn new(address: SocketAddr, key: &str, model: &str, prompt: Prompt, stream: bool) -> Self {
        let work = Work { prompt, stream, ..works::UNARY };
        Self::asking(address, key, model, &work)
    }

    /// A request of this work, in the caller's format.
    pub fn of(address: SocketAddr, work: &Work) -> Self {
        Self::asking(address, work.key, work.model, work)
    }

    fn asking(address: SocketAddr, key: &str, model: &str, work: &Work) -> Self {
        let Work { caller, prompt, stream, .. } = *work;
        let (path, body) = match caller {
            Format::Anthropic => ("/v1/messages", answers::messages_body(model, prompt, stream)),
            Format::OpenAi | Format::Gemini => {
                ("/v1/chat/completions", answers::request_body(model, prompt, stream))
            }
        };
        let accept = if stream { "text/event-stream" } else { "application/json" };
        let version = if caller == Format::Anthropic { "anthropic-version: 2023-06-01\r\n" } else { "" };
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\naccept: {accept}\r\n{version}user-agent: llmgateway-bench\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        let expected = if stream { answers::stream_text() } else { answers::whole_text() };
        Self { address, bytes: [head.as_bytes(), &body].concat(), caller, stream, expected }
    }

    /// Sends it on this connection, reads the answer, notes the time, and checks the answer.
    async fn exchange(&self, connection: &mut Connection) -> Result<(Head, Instant)> {
        connection.write(&self.bytes).await?;
        let head = connection.read_head().await?.ok_or_else(|| anyhow!("the connection was closed"))?;
        let mut body = Vec::new();
        connection.read_body(&head, |piece| body.extend_from_slice(piece)).await?;
        let arrived = Instant::now();
        if !head.first_line.starts_with("HTTP/1.1 200") {
            let body = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
            bail!("{}: {body}", head.first_line);
        }
        check::answer(self.caller, self.stream, &body, &self.expected)?;
        Ok((head, arrived))
    }

    /// Opens a connection and a stream on it, and returns after its first piece. The connection stays open.
    pub async fn open(&self) -> Result<Connection> {
        let mut connection = connect(self.address).await?;
        connection.write(&self.bytes).await?;
        let head = connection.read_head().await?.ok_or_else(|| anyhow!("the connection was closed"))?;
        if !head.first_line.starts_with("HTTP/1.1 200") {
            bail!("{}", head.first_line);
        }
        Ok(connection)
    }
}

async fn connect(address: SocketAddr) -> Result<Connection> {
    Ok(Connection::new(TcpStream::connect(address).await?)?)
}

struct RunningLoad {
    request: Rc<Request>,
    left: Cell<usize>,
    end: Instant,
    outcome: RefCell<LoadResult>,
}

/// Sends the load and waits for all answers.
pub async fn run(request: &Rc<Request>, load: Load) -> LoadResult {
    let start = Instant::now();
    let running = Rc::new(RunningLoad {
        request: request.clone(),
        left: Cell::new(load.requests),
        end: start + load.limit,
        outcome: RefCell::new(LoadResult::default()),
    });
    let callers = LocalSet::new();
    match load.rate {
        None => {
            for _ in 0..load.concurrency {
                callers.spawn_local(running.clone().closed_loop());
            }
        }
        Some(rate) => {
            let (sender, receiver) = mpsc::unbounded_channel();
            callers.spawn_local(tick(load, rate, sender));
            let receiver = Rc::new(Mutex::new(receiver));
            for _ in 0..load.concurrency {
                callers.spawn_local(running.clone().open_loop(receiver.clone()));
            }
        }
    }
    callers.await;
    let mut outcome = running.outcome.take();
    outcome.wall = start.elapsed();
    outcome.latencies.sort_unstable();
    outcome
}

impl RunningLoad {
    async fn closed_loop(self: Rc<Self>) {
        let mut connection = None;
        while self.left.get() > 0 && Instant::now() < self.end {
            self.left.set(self.left.get() - 1);
            self.one(&mut connection, Instant::now()).await;
        }
    }

    async fn open_loop(self: Rc<Self>, due: Rc<Mutex<mpsc::UnboundedReceiver<Instant>>>) {
        let mut connection = None;
        loop {
            let next = due.lock().await.recv().await;
            let Some(next) = next else { break };
            self.one(&mut connection, next).await;
        }
    }

    /// One request. Its latency counts from when it was due.
    async fn one(&self, connection: &mut Option<Connection>, due: Instant) {
        let answer = tokio::time::timeout(PATIENCE, self.answer(connection)).await;
        let mut outcome = self.outcome.borrow_mut();
        let failure = match answer {
            Ok(Ok((head, arrived))) => {
                outcome.good += 1;
                outcome.latencies.push(arrived - due);
                if !head.keep_alive {
                    *connection = None;
                }
                return;
            }
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => {
                let state = connection.as_ref().map_or("it was connecting".to_owned(), Connection::state);
                format!("no answer within {} s: {state}", PATIENCE.as_secs())
            }
        };
        *connection = None;
        outcome.failed += 1;
        outcome.failure.get_or_insert(failure);
    }

    /// The head, and when the answer was complete.
    async fn answer(&self, kept: &mut Option<Connection>) -> Result<(Head, Instant)> {
        let connection = match kept {
            Some(connection) => connection,
            None => kept.insert(connect(self.request.address).await?),
        };
        self.request.exchange(connection).await
    }
}

/// Announces the due time of each request, at the times of a Poisson process.
async fn tick(load: Load, rate: f64, sender: mpsc::UnboundedSender<Instant>) {
    let start = Instant::now();
    let mut after = 0.0;
    let mut random: u64 = 0x9E37_79B9_7F4A_7C15;
    for _ in 0..load.requests {
        let due = start + Duration::from_secs_f64(after);
        if due > start + load.limit {
            break;
        }
        wait_until(due).await;
        if sender.send(due).is_err() {
            break;
        }
        // xorshift: arrivals need no better randomness.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let uniform = ((random >> 11) as f64 + 1.0) / ((1_u64 << 53) as f64 + 1.0);
        after -= uniform.ln() / rate;
    }
}

/// The runtime's timer counts milliseconds, which is too coarse here: the rest of the wait is a busy loop
/// that yields to the other tasks of this thread.
async fn wait_until(due: Instant) {
    let asleep = due.saturating_duration_since(Instant::now()).saturating_sub(Duration::from_millis(2));
    if !asleep.is_zero() {
        tokio::time::sleep(asleep).await;
    }
    while Instant::now() < due {
        tokio::task::yield_now().await;
    }
}
