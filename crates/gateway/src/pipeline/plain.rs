//! One attempt at an answer that is one document and no conversation.

use bytes::Bytes;
use canon::{Error, ErrorKind, Retry};
use http_body_util::{BodyExt, Limited};
use wire::providers::Credential;

use super::attempts::{Attempt, Failed, Repair, Repaired};
use super::context::RequestContext;
use super::deadlines::{Deadlines, Watch};
use super::sending::{is_refused_credential, read_up_to, refusal};
use crate::clock;
use crate::metering::Record;
use crate::upstream::waits;

/// Largest error body that is read.
const ERROR_LIMIT: usize = 1 << 20;

/// One attempt.
pub struct PlainAttempt<'a> {
    /// The request.
    pub cx: &'a RequestContext<'a>,
    /// Who is asked, with which key.
    pub attempt: &'a Attempt<'a>,
    /// Largest answer that is read.
    pub limit: usize,
}

impl PlainAttempt<'_> {
    /// Sends what `make` makes for a credential, and reads the whole answer.
    pub async fn exchange(
        &self,
        make: impl Fn(&Credential) -> Result<http::Request<Bytes>, Error> + Sync,
        record: &mut Record,
    ) -> Result<Bytes, Failed> {
        let (key, credentials) = (self.attempt.key, &self.attempt.offer.provider.credentials);
        let credential = credentials.credential(key, Some(&self.cx.inbound.request_id)).await?;
        let error = match self.send(|| make(&credential), record).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let repaired = self.attempt.repaired;
        // A token can end before its time; a fixed key cannot be had anew.
        let is_renewed =
            !repaired.credential && is_refused_credential(&error) && credentials.refused(key, &credential);
        let repair = is_renewed
            .then(|| Repair { repaired: Repaired { credential: true, ..repaired }, body: None })
            .map(Box::new);
        Err(Failed { error, repair })
    }

    async fn send(
        &self,
        make: impl Fn() -> Result<http::Request<Bytes>, Error>,
        record: &mut Record,
    ) -> Result<Bytes, Error> {
        let offer = self.attempt.offer;
        let mut deadlines = self.cx.deadlines(self.attempt, false);
        let timer = std::pin::pin!(tokio::time::sleep_until(deadlines.next()));
        let mut watch = Watch::new(&mut deadlines, timer);
        let with_headers = || {
            let mut request = make()?;
            self.cx.add_headers(offer, request.headers_mut());
            Ok(request)
        };
        let sent = offer.provider.client.send(Some(&self.cx.inbound.request_id), with_headers);
        let (mut head, body) = watch.until(sent).await??.into_parts();
        watch.set(Deadlines::head);
        record.provider_request_id(wire::protocols::errors::request_id(&head.headers));
        if !head.status.is_success() {
            let bytes = watch.until(read_up_to(body, ERROR_LIMIT)).await?;
            waits::in_seconds(&mut head.headers, clock::wall());
            return Err(refusal(offer.protocol, head.status, &head.headers, &bytes));
        }
        let read = watch.until(Limited::new(body, self.limit).collect()).await?;
        let whole = read.map_err(|_| {
            let message = "The provider's answer broke off or is too large.";
            Error::upstream(ErrorKind::Upstream, Retry::Again, message)
        })?;
        Ok(whole.to_bytes())
    }
}
