//! One attempt at an answer without a conversation: one request, or several parts of one at the same time.

use bytes::Bytes;
use canon::{Error, ErrorKind, Retry};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use wire::Transcoder;
use wire::endpoints::PartAnswer;
use wire::providers::Credential;

use super::attempts::{Attempt, Failed, Repair, Repaired};
use super::chat::StartedAnswer;
use super::context::RequestContext;
use super::deadlines::{Deadlines, Watch};
use super::sending::{is_refused_credential, read_up_to, refusal};
use crate::buffers::Held;
use crate::clock;
use crate::content_coding::without_byte_order_mark;
use crate::metering::Record;
use crate::upstream::client::{AnswerBody, cut};
use crate::upstream::upload::Upload;
use crate::upstream::waits;

/// Largest error body that is read.
const ERROR_LIMIT: usize = 1 << 20;
/// How many parts of a request are under way at a time.
const PARTS_AT_A_TIME: usize = 4;

/// Reads an error answer to the part with this index.
pub type ReadError<'a> = dyn Fn(usize, StatusCode, &HeaderMap, &[u8]) -> Error + Sync + 'a;

/// The transcoder for a successful answer with these headers; none where it is read whole.
pub type Streams<'a> = dyn Fn(&HeaderMap) -> Option<Box<dyn Transcoder>> + Sync + 'a;

/// For answers that are always read whole.
pub fn never_streams(_: &HeaderMap) -> Option<Box<dyn Transcoder>> {
    None
}

pub struct PlainAttempt<'a> {
    pub cx: &'a RequestContext<'a>,
    /// The provider and its key.
    pub attempt: &'a Attempt<'a>,
    /// Largest answer that is read.
    pub limit: usize,
    /// Reads an error answer to a part.
    pub error: &'a ReadError<'a>,
    /// For an answer to the only part: whether it streams.
    pub streams: &'a Streams<'a>,
    /// The rest of the only part's body, as the caller sends it.
    pub upload: Option<&'a Upload>,
}

pub struct PartAnswers {
    /// One answer per part, in the order of the parts. The body of a streamed answer is empty.
    pub answers: Vec<PartAnswer>,
    /// Their share of memory.
    pub held: Held,
    /// The answer to the only part as a stream up to its first content.
    pub begun: Option<Box<StartedAnswer>>,
}

struct PartFailed {
    error: Error,
    /// The provider has the request: it bills the prompt.
    is_at_work: bool,
    /// The status of the answer's head, if it was a success.
    status: Option<StatusCode>,
}

impl PlainAttempt<'_> {
    /// Sends the requests of `make` for a credential and the index of a part, and reads the whole answers.
    /// The first failure drops the other parts.
    pub async fn exchange(
        &self,
        parts: usize,
        make: impl Fn(&Credential, usize) -> Result<http::Request<Bytes>, Error> + Sync,
        record: &mut Record,
    ) -> Result<PartAnswers, Failed> {
        let (key, credentials) = (self.attempt.key, &self.attempt.offer.provider.credentials);
        let credential = credentials.credential(key, Some(&self.cx.inbound.request_id)).await?;
        let make = |part| make(&credential, part);
        let failed = match self.send_all(parts, &make).await {
            Ok(received) => {
                let first = received.answers.first();
                record.provider_request_id(
                    first.and_then(|first| wire::protocols::errors::request_id(&first.headers)),
                );
                record.is_at_work();
                if let Some(begun) = &received.begun {
                    record.first_token();
                    record.progress(begun.transcoder.progress());
                }
                return Ok(received);
            }
            Err(failed) => failed,
        };
        let error = match self.upload {
            Some(upload) => upload.failed(failed.error),
            None => failed.error,
        };
        record.provider_request_id(error.upstream.as_ref().and_then(|reply| reply.request_id.clone()));
        if let Some(status) = failed.status {
            record.head_status(status);
        }
        if failed.is_at_work {
            record.is_at_work();
        }
        let repaired = self.attempt.repaired;
        // A token can expire early; a fixed key cannot be renewed.
        let is_renewed =
            !repaired.credential && is_refused_credential(&error) && credentials.refused(key, &credential);
        let repair = is_renewed
            .then(|| Repair { repaired: Repaired { credential: true, ..repaired }, body: None })
            .map(Box::new);
        Err(Failed { error, repair })
    }

    async fn send_all<M>(&self, parts: usize, make: &M) -> Result<PartAnswers, PartFailed>
    where
        M: Fn(usize) -> Result<http::Request<Bytes>, Error> + Sync,
    {
        if parts == 1 {
            return self.send(0, make, self.streams).await;
        }
        let mut waiting = 0..parts;
        let numbered = |part| async move { (part, self.send(part, make, &never_streams).await) };
        let mut under_way: FuturesUnordered<_> =
            waiting.by_ref().take(PARTS_AT_A_TIME).map(numbered).collect();
        let mut answers: Vec<Option<PartAnswer>> = (0..parts).map(|_| None).collect();
        let mut held = self.cx.held.further();
        while let Some((part, sent)) = under_way.next().await {
            let received = sent?;
            held.join(received.held);
            answers[part] = received.answers.into_iter().next();
            under_way.extend(waiting.next().map(numbered));
        }
        Ok(PartAnswers { answers: answers.into_iter().flatten().collect(), held, begun: None })
    }

    async fn send<M>(&self, part: usize, make: &M, streams: &Streams<'_>) -> Result<PartAnswers, PartFailed>
    where
        M: Fn(usize) -> Result<http::Request<Bytes>, Error> + Sync,
    {
        let offer = self.attempt.offer;
        let mut deadlines = self.cx.deadlines(self.attempt, false);
        // A later part waits for a place; a question for the result comes later still.
        deadlines.sent(clock::now());
        let timer = std::pin::pin!(tokio::time::sleep_until(deadlines.next()));
        let mut watch = Watch::new(&mut deadlines, timer);
        let with_headers = || {
            let mut request = make(part)?;
            self.cx.add_headers(offer, request.headers_mut());
            Ok(request)
        };
        if let Some(capture) = &self.cx.inbound.capture {
            let request = with_headers().map_err(PartFailed::before)?;
            capture.sent(offer.provider.id(), &offer.provider.credentials, &request);
        }
        let (client, id) = (&offer.provider.client, Some(self.cx.inbound.request_id.as_str()));
        let sent = match self.upload {
            None => watch.until(client.send(id, with_headers)).await,
            Some(upload) => {
                let request = with_headers().map_err(PartFailed::before)?;
                uploading(client.send_upload(id, request, upload), upload, &mut watch).await
            }
        };
        let sent = sent.map_err(PartFailed::sent)?;
        let (mut head, mut body) = sent.map_err(PartFailed::before)?.into_parts();
        watch.set(Deadlines::head);
        if !head.status.is_success() {
            let bytes = watch.until(read_up_to(body, ERROR_LIMIT)).await.map_err(PartFailed::before)?;
            self.cx.capture_head(offer, (head.status, &head.headers), Some(&bytes));
            waits::in_seconds(&mut head.headers, clock::wall());
            let read = |status, headers: &HeaderMap, body: &[u8]| (self.error)(part, status, headers, body);
            return Err(PartFailed::before(refusal(read, head.status, &head.headers, &bytes)));
        }
        self.cx.capture_head(offer, (head.status, &head.headers), None);
        let status = head.status;
        let failed = |error| PartFailed::answered(status, error);
        let mut held = self.cx.held.further();
        if let Some(transcoder) = streams(&head.headers) {
            let (body, transcoder, out) =
                begin(body, transcoder, &mut watch, &mut held).await.map_err(failed)?;
            let is_events = is_events(&head.headers);
            let ping: &[u8] = if is_events { b": ping\n\n" } else { b"" };
            deadlines.content();
            let begun =
                StartedAnswer { body, transcoder, out, held, deadlines, ping, breaks_off: !is_events };
            let (held, body) = (self.cx.held.further(), Bytes::new());
            let answers = vec![PartAnswer { headers: head.headers, body }];
            return Ok(PartAnswers { answers, held, begun: Some(Box::new(begun)) });
        }
        let mut bytes = Vec::new();
        while let Some(frame) = watch.until(body.frame()).await.map_err(failed)? {
            let frame = frame.map_err(|error| failed(cut(&error)))?;
            watch.input();
            let Ok(data) = frame.into_data() else { continue };
            let data = if bytes.is_empty() { without_byte_order_mark(data) } else { data };
            if bytes.len() + data.len() > self.limit {
                return Err(failed(too_large(self.limit)));
            }
            held.grow_answer(data.len()).await.map_err(failed)?;
            append(&mut bytes, &data, body.size_hint().exact());
        }
        let answers = vec![PartAnswer { headers: head.headers, body: bytes.into() }];
        Ok(PartAnswers { answers, held, begun: None })
    }
}

/// Waits for the head of an answer while a file is sent: the deadline moves as long as the file moves.
pub(super) async fn uploading<F: Future>(
    sending: F,
    upload: &Upload,
    watch: &mut Watch<'_>,
) -> Result<F::Output, Error> {
    let mut sending = std::pin::pin!(sending);
    let mut moved = upload.moved();
    loop {
        match watch.until(&mut sending).await {
            Err(_) if upload.moved() > moved => {
                moved = upload.moved();
                watch.set(|deadlines| deadlines.sent(moved));
            }
            ended => return ended,
        }
    }
}

/// Reads a stream to its first content: until then another provider can take over.
async fn begin(
    mut body: AnswerBody,
    mut transcoder: Box<dyn Transcoder>,
    watch: &mut Watch<'_>,
    held: &mut Held,
) -> Result<(Option<AnswerBody>, Box<dyn Transcoder>, Vec<u8>), Error> {
    let mut out = Vec::new();
    while let Some(frame) = watch.until(body.frame()).await? {
        let Ok(data) = frame.map_err(|error| cut(&error))?.into_data() else { continue };
        watch.input();
        held.grow_answer(data.len()).await?;
        transcoder.push(&data, &mut out)?;
        if transcoder.progress().content_started {
            return Ok((Some(body), transcoder, out));
        }
    }
    transcoder.finish(&mut out)?;
    Ok((None, transcoder, out))
}

/// Whether an answer is events. Any other stream is bytes, which cannot contain an error of the gateway.
fn is_events(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.trim_start().get(..17).is_some_and(|kind| kind.eq_ignore_ascii_case("text/event-stream"))
}

impl PartFailed {
    fn before(error: Error) -> Self {
        Self { error, is_at_work: false, status: None }
    }

    /// No head arrived in time.
    fn sent(error: Error) -> Self {
        Self { error, is_at_work: true, status: None }
    }

    /// The answer failed after a head of success.
    fn answered(status: StatusCode, error: Error) -> Self {
        Self { error, is_at_work: true, status: Some(status) }
    }
}

/// Appends a piece of an answer of which `rest` bytes follow. A length that is only announced reserves at most
/// four times what has arrived; doubling would copy a large answer once more and keep its old buffers.
fn append(bytes: &mut Vec<u8>, data: &[u8], rest: Option<u64>) {
    let length = bytes.len() + data.len();
    if length > bytes.capacity()
        && let Some(rest) = rest
    {
        let announced = usize::try_from(rest).unwrap_or(usize::MAX).saturating_add(length);
        bytes.reserve_exact(announced.min(4 * length) - bytes.len());
    }
    bytes.extend_from_slice(data);
}

fn too_large(limit: usize) -> Error {
    let message = format!("The provider's answer is larger than {limit} bytes.");
    Error::upstream(ErrorKind::Upstream, Retry::No, message)
}
