//! Forms with files: small ones are buffered, of large ones the beginning.

use canon::{Error, ErrorKind, Operation};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::Instant;
use wire::endpoints;
use wire::multipart::Form;

use super::request_body::{self, BodyHeaders, ReceivedBody};
use crate::buffers::{Buffers, Held};
use crate::clock;
use crate::guardrails::Guard;
use crate::incoming::{broken, late, leave_unread, too_large_upload};
use crate::pipeline::Question;
use crate::snapshot::RequestLimits;
use crate::upstream::upload::{Bounds, UnreadBody, Upload};

/// A form up to this size is buffered: it can be sent again, and to another provider.
const HELD: usize = 4 << 20;
/// The limit for a form of unknown length.
const HELD_OF_UNKNOWN: usize = 1 << 20;
/// The limit for a form whose model follows the file, as many clients of OpenAI send it: the largest
/// recording that OpenAI accepts has 25 MB.
const HELD_FOR_MODEL: usize = 32 << 20;

/// A form that is written in another format is in memory as it came, in base64 (a third longer) in several steps, and
/// as it is sent.
const COPIES: usize = 6;

/// Whether every provider of a model takes its forms in another format: such a form is buffered whole, within
/// `server.body_limit`.
pub type TakesWhole<'a> = &'a (dyn Fn(&str) -> bool + Send + Sync);

/// The limits, the memory accounting, and the guardrails.
type UploadContext<'a> = (RequestLimits, &'a Buffers, Option<&'a Guard>);

/// Reads a form, or its beginning with the required fields.
pub async fn read(
    operation: Operation,
    body: Incoming,
    announced: BodyHeaders,
    takes_whole: TakesWhole<'_>,
    within: UploadContext<'_>,
) -> Result<Question, Error> {
    let (form, held, upload) = beginning(body, announced, Some(takes_whole), within).await?;
    Ok(Question { request: endpoints::read_form(operation, form)?, held, upload })
}

/// Reads a form up to a file that can be streamed. With `takes_whole`, a model is required before the file.
pub async fn beginning(
    body: Incoming,
    mut announced: BodyHeaders,
    takes_whole: Option<TakesWhole<'_>>,
    (limits, buffers, guard): UploadContext<'_>,
) -> Result<(Form, Held, Option<Upload>), Error> {
    let Some(boundary) = announced.form.take() else {
        return Err(Error::gateway(ErrorKind::Internal, "The body is not a form."));
    };
    let mut form = Form::new(boundary);
    if announced.is_coded() {
        let ReceivedBody { bytes, held } = request_body::read(body, announced, limits, buffers).await?;
        form.push(&bytes)?;
        form.finish()?;
        check_fields(guard, &form).await?;
        return Ok((form, held, None));
    }
    let end = clock::now() + limits.whole;
    let held_at_once = match announced.length {
        Some(length) if length <= HELD => usize::MAX,
        Some(_) => 0,
        None => HELD_OF_UNKNOWN,
    };
    let mut reading = UploadReader {
        body,
        form,
        held: buffers.nothing(),
        end,
        limits,
        held_at_once,
        takes_whole,
        is_whole_taken: None,
    };
    let read = reading.beginning().await;
    let UploadReader { body, form, held, .. } = reading;
    if let Err(error) = read {
        // No further wait for a client that was already too slow.
        if !matches!(error.kind, ErrorKind::RequestTimeout | ErrorKind::Cancelled) {
            leave_unread(body);
        }
        return Err(error);
    }
    check_fields(guard, &form).await?;
    if form.is_whole() {
        leave_unread(body);
        return Ok((form, held, None));
    }
    let bounds = Bounds { length: announced.length, limit: limits.upload, pause: limits.pause, end };
    let rest = UnreadBody::new(body, &form, bounds);
    Ok((form, held, Some(Upload::new(rest))))
}

/// Checks the texts of a form with the guardrails.
async fn check_fields(guard: Option<&Guard>, form: &Form) -> Result<(), Error> {
    let Some(guard) = guard else { return Ok(()) };
    for name in ["prompt", "instructions", "input"] {
        if let Some(text) = form.field(name) {
            guard.check_field(name, &String::from_utf8_lossy(text)).await?;
        }
    }
    Ok(())
}

struct UploadReader<'a> {
    body: Incoming,
    form: Form,
    held: Held,
    end: Instant,
    limits: RequestLimits,
    /// This much is buffered even of a form that could be streamed.
    held_at_once: usize,
    /// The model is required.
    takes_whole: Option<TakesWhole<'a>>,
    /// Its result, once the model is known.
    is_whole_taken: Option<bool>,
}

impl UploadReader<'_> {
    /// Reads until the whole form is buffered, or the provider is known and the rest is a file.
    async fn beginning(&mut self) -> Result<(), Error> {
        while !self.form.is_whole() && !self.may_pass()? {
            let until = self.end.min(clock::now() + self.limits.pause);
            let frame = match tokio::time::timeout_at(until, self.body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(None) => return self.form.finish(),
                Ok(Some(Err(error))) => return Err(broken(&error)),
                Err(_) => return Err(late(self.end <= clock::now())),
            };
            let Ok(data) = frame.into_data() else { continue };
            if self.form.len() + data.len() > self.limits.upload {
                return Err(too_large_upload(self.limits.upload));
            }
            let copies = if self.is_whole_taken == Some(true) { COPIES } else { 1 };
            self.held.grow(data.len() * copies).await?;
            self.form.push(&data)?;
        }
        Ok(())
    }

    fn may_pass(&mut self) -> Result<bool, Error> {
        let length = self.form.len();
        if length <= self.held_at_once {
            return Ok(false);
        }
        if self.is_taken_whole() {
            return if length <= self.limits.body { Ok(false) } else { Err(self.too_large()) };
        }
        let is_named = self.takes_whole.is_none() || self.form.field("model").is_some();
        if self.form.is_in_file() && is_named {
            return Ok(true);
        }
        if length <= HELD_FOR_MODEL {
            return Ok(false);
        }
        Err(if is_named {
            let message = format!("The fields of the form are larger than {HELD_FOR_MODEL} bytes.");
            Error::caller(ErrorKind::TooLarge, message)
        } else {
            let message = format!(
                "model does not come within the first {HELD_FOR_MODEL} bytes of the form; put it before the file."
            );
            Error::invalid("model", message)
        })
    }

    /// Whether the form has to be buffered whole. Known once the file begins, if the model precedes it.
    fn is_taken_whole(&mut self) -> bool {
        if self.is_whole_taken.is_none()
            && self.form.is_in_file()
            && let Some(takes_whole) = self.takes_whole
            && let Some(model) = self.form.field("model")
        {
            self.is_whole_taken = Some(takes_whole(String::from_utf8_lossy(model).trim()));
        }
        self.is_whole_taken == Some(true)
    }

    fn too_large(&self) -> Error {
        let message = format!(
            "The provider takes its files in another form, which has to be held, and the form is larger than {} bytes \
             (server.body_limit).",
            self.limits.body
        );
        Error::caller(ErrorKind::TooLarge, message)
    }
}
