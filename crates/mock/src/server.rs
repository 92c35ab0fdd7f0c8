//! Listens, finds the format of each request by its path, and sends what the format writes.

use crate::body::PacedBody;
use crate::faults::Fault;
use crate::file_routes::{self, Visit};
use crate::format::{Call, Format, Refusal, Reply, text};
use crate::journal::{Journal, JournalEntry};
use crate::routes::{self, Route};
use crate::stored_files::Shelf;
use crate::{brain, openai_chat, realtime};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// How the mock presents itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// The built-in `demo` provider: its texts say that it is a demo.
    Demo,
    /// A replacement for a provider: its texts are the bare answers.
    Plain,
    /// The model behind a coding agent: does the task in the user's text, otherwise like `Plain`.
    Agent,
}

/// Settings of a mock.
#[derive(Clone, Debug)]
pub struct Options {
    /// Demo or plain texts.
    pub flavour: Flavour,
    /// Pause between two chunks of a stream.
    pub chunk_delay: Duration,
    /// How many requests the journal remembers; 0 switches it off.
    pub journal_limit: usize,
}

impl Options {
    /// For the `demo` provider: no journal, because it would contain users' text.
    pub fn demo() -> Options {
        Options { flavour: Flavour::Demo, chunk_delay: Duration::from_millis(20), journal_limit: 0 }
    }

    /// For tests: bare answers, no pauses, a journal.
    pub fn plain() -> Options {
        Options { flavour: Flavour::Plain, chunk_delay: Duration::ZERO, journal_limit: 1000 }
    }

    /// For tests of coding agents.
    pub fn agent() -> Options {
        Options { flavour: Flavour::Agent, ..Options::plain() }
    }
}

impl Default for Options {
    fn default() -> Options {
        Options::plain()
    }
}

/// A running mock; dropping it stops it.
pub struct Mock {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

/// Starts a mock. Port 0 takes a free port: see [`Mock::address`].
pub async fn start(listen: SocketAddr, options: Options) -> io::Result<Mock> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let journal = Journal::new(options.journal_limit);
    let state = Arc::new(State { options, journal, shelf: Shelf::default(), serial: AtomicU64::new(1) });
    #[expect(clippy::disallowed_methods, reason = "dropping the mock aborts it")]
    let accepting = tokio::spawn(accept(listener, Arc::clone(&state)));
    Ok(Mock { address, state, accepting })
}

impl Mock {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The received requests, oldest first.
    pub fn journal(&self) -> Vec<JournalEntry> {
        self.state.journal.entries()
    }

    /// Closes the listener and all connections.
    pub async fn stop(mut self) {
        self.accepting.abort();
        // The task ends only by the abort; the wait is for its completion.
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Larger bodies are refused with 413.
const BODY_LIMIT: usize = 64 << 20;

/// The state that all requests share.
pub struct State {
    options: Options,
    pub journal: Journal,
    shelf: Shelf,
    serial: AtomicU64,
}

/// The set of connections belongs to this task: aborting it closes them all.
async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => { connections.spawn(serve(socket, Arc::clone(&state))); }
                // Probably out of file descriptors: wait until some are closed.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(socket: TcpStream, state: Arc<State>) {
    // Without it small chunks wait for the peer's delayed acknowledgement.
    let _ = socket.set_nodelay(true);
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(respond(&state, request).await) }
    });
    // A client that hangs up is not an error.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades()
        .await;
}

async fn respond(state: &Arc<State>, mut request: Request<Incoming>) -> Response<PacedBody> {
    if let Some(response) = realtime::open(state, &mut request) {
        return response;
    }
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_string();
    let query = head.uri.query().unwrap_or_default().to_string();
    if path.starts_with("/__mock/") {
        return send(own_page(state, &head.method, &path), Duration::ZERO);
    }
    #[expect(clippy::disallowed_methods, reason = "`Limited` is the bound")]
    let Ok(body) = Limited::new(body, BODY_LIMIT).collect().await else {
        return send(
            Reply::json(413, &json!({ "error": { "message": "Request too large." } })),
            Duration::ZERO,
        );
    };
    let body = body.to_bytes();
    let number = state.journal.record(head.method.as_str(), (&path, &query), &head.headers, &body);
    let route = routes::find(&head.method, &path);
    let call = call(state, (path, query), head.headers, &body, &route);
    let reply = answer(state, (&head.method, &route), call, &body).await;
    let first = reply.frames.first().map_or(&[][..], |frame| frame.as_ref());
    state.journal.answered(number, reply.status.as_u16(), first);
    send(reply, state.options.chunk_delay)
}

/// Pages about the mock itself.
fn own_page(state: &State, method: &Method, path: &str) -> Reply {
    match (method, path) {
        (&Method::GET, "/__mock/journal") => {
            let entries: Vec<Value> = state.journal.entries().iter().map(JournalEntry::to_json).collect();
            Reply::json(200, &Value::Array(entries))
        }
        (&Method::DELETE, "/__mock/journal") => {
            state.journal.clear();
            Reply::json(200, &json!([]))
        }
        _ => Reply::json(404, &json!({ "error": { "message": "GET or DELETE /__mock/journal" } })),
    }
}

#[expect(clippy::disallowed_methods, reason = "answers say when they were made")]
fn call(
    state: &State,
    (path, query): (String, String),
    headers: HeaderMap,
    body: &[u8],
    route: &Route,
) -> Call {
    let read = serde_json::from_slice(body).ok().or_else(|| crate::form::read(&headers, body));
    let body: Value = read.unwrap_or(Value::Null);
    let in_body = || text(&body, "model").to_string();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Call {
        model: route.model.clone().unwrap_or_else(in_body),
        streaming: route.streaming.unwrap_or_else(|| wants_stream(&body, route.streams_by_default)),
        serial: state.serial.fetch_add(1, Ordering::Relaxed),
        created: now.as_secs(),
        path,
        query,
        headers,
        body,
    }
}

fn wants_stream(body: &Value, default: bool) -> bool {
    body.get("stream").and_then(Value::as_bool).unwrap_or(default)
}

async fn answer(state: &State, (method, route): (&Method, &Route), call: Call, body: &[u8]) -> Reply {
    let format = match &route.target {
        routes::Target::Chat(format) => *format,
        routes::Target::Page(page) => return page(&call),
        routes::Target::Kept(page) => return visit(state, *page, (method, &call), body),
        routes::Target::Nothing => return openai_chat::unknown_path(&call),
    };
    if let Some(refusal) = not_json(&call, body) {
        return format.refuse(&call, &refusal);
    }
    let fault = Fault::of_call(format, &call);
    if let Some(Fault::Slow(delay)) = fault {
        tokio::time::sleep(delay).await;
    }
    if let Some(reply) = fault.and_then(|fault| fault.instead(format, &call)) {
        return reply;
    }
    let reply = chat(format, &call, flavour_for(&call, state.options.flavour));
    match fault {
        Some(fault) if reply.status.is_success() => fault.spoil(reply, format, &call),
        _ => reply,
    }
}

fn visit(state: &State, page: file_routes::Page, (method, call): (&Method, &Call), body: &[u8]) -> Reply {
    let (place, rest) =
        file_routes::find(&call.path).map_or(("", Vec::new()), |(_, place, rest)| (place, rest));
    let headers = || call.headers.clone();
    let ask = |path: &str, body: Value| ask(state, path, headers(), body);
    page(&Visit { method, call, body, shelf: &state.shelf, place, rest, ask: &ask })
}

/// Answers a request of the mock's own, whole: it has no faults and is in no journal.
pub fn ask(state: &State, path: &str, headers: HeaderMap, mut body: Value) -> Reply {
    if let Some(body) = body.as_object_mut() {
        body.remove("stream");
    }
    let route = routes::find(&Method::POST, path);
    let call = call(state, (path.to_owned(), String::new()), headers, body.to_string().as_bytes(), &route);
    match route.target {
        routes::Target::Chat(format) => chat(format, &call, flavour_for(&call, state.options.flavour)),
        routes::Target::Page(page) => page(&call),
        routes::Target::Kept(_) | routes::Target::Nothing => openai_chat::unknown_path(&call),
    }
}

fn chat(format: &dyn Format, call: &Call, flavour: Flavour) -> Reply {
    match format.read(call) {
        Ok(prompt) => format.write(call, &prompt, &brain::answer(&prompt, flavour)),
        Err(refusal) => format.refuse(call, &refusal),
    }
}

/// A model named `mock-agent`, alone or within a longer name, selects the agent persona in any mock.
fn flavour_for(call: &Call, usual: Flavour) -> Flavour {
    if call.asks_for("mock-agent") { Flavour::Agent } else { usual }
}

fn not_json(call: &Call, body: &[u8]) -> Option<Refusal> {
    let content_type = call.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(|value| value.starts_with("application/json")) {
        let message = format!("Unsupported content type {content_type:?}: send application/json.");
        return Some(Refusal::with_status(415, message));
    }
    if !call.body.is_object() {
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        return Some(Refusal::bad(format!("We could not parse the JSON body of your request: {shown:?}")));
    }
    None
}

fn send(reply: Reply, delay: Duration) -> Response<PacedBody> {
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    let frames: Vec<Bytes> = reply.frames.into_iter().filter(|frame| !frame.is_empty()).collect();
    let body = PacedBody::new(frames, reply.ending, delay);
    response.body(body).unwrap_or_else(|_| {
        // A value from the request was not valid in a header: the answer is then empty.
        Response::new(PacedBody::nothing())
    })
}
