//! Files and batches that providers store for callers. Requests and answers pass unchanged except for ids:
//! callers get sealed ids, which lead to the provider and the key, and are valid only for the callers'
//! project.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use canon::{Error, ErrorKind, Operation};
use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use limits::Role;
use serde_json::{Value, json};
use wire::endpoints::batches::BatchesFormat;
use wire::multipart::{Boundary, Form};
use wire::native::{BatchOutput, NativeForm};
use wire::{Headers, OWN, Protocol};

use super::native::{self, NativeContext};
use super::request_body::{self, BodyHeaders};
use super::{Api, ResponseBody, path, respond, upload};
use crate::bounded;
use crate::buffers::Held;
use crate::incoming::leave_unread;
use crate::lifecycle::CutNotice;
use crate::pipeline::batch::Output;
use crate::pipeline::native::{NativeAnswer, NativeBody, NativeQuestion};
use crate::pipeline::{Failure, Inbound};
use crate::sealed_ids::{Kind, ObjectLocation, Sealer};
use crate::snapshot::ProviderHandle;
use crate::upstream::upload::Upload;

/// The requested kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Files, in OpenAI's form.
    Files,
    /// Files that come in parts, in OpenAI's form.
    Uploads,
    /// Batches, in OpenAI's form.
    Batches,
    /// Batches, in Anthropic's form.
    MessageBatches,
}

/// Largest answer about files and batches. A list of 10,000 files takes 3 MB.
const ANSWER: usize = 16 << 20;
/// OpenAI's maximum page size.
const FILES_AT_A_TIME: usize = 10_000;
const BATCHES_AT_A_TIME: usize = 100;
/// The member of a batch's metadata with its project.
const MARK: &str = "llmgateway";
/// OpenAI's maximum of metadata members.
const MOST_METADATA: usize = 16;
const PROVIDER: HeaderName = HeaderName::from_static("x-llmgateway-provider");

impl Resource {
    fn operation(self) -> Operation {
        match self {
            Self::Files | Self::Uploads => Operation::Files,
            _ => Operation::Batches,
        }
    }

    /// The path below a provider's base URL.
    fn path(self) -> &'static str {
        match self {
            Self::Files => "/files",
            Self::Uploads => "/uploads",
            Self::Batches => "/batches",
            // The base URL of Anthropic's API has no version.
            Self::MessageBatches => "/v1/messages/batches",
        }
    }

    /// The path of the route.
    fn route(self) -> &'static str {
        match self {
            Self::Files => "/v1/files",
            Self::Uploads => "/v1/uploads",
            Self::Batches => "/v1/batches",
            Self::MessageBatches => "/v1/messages/batches",
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::Files => Kind::File,
            Self::Uploads => Kind::Upload,
            Self::Batches => Kind::Batch,
            Self::MessageBatches => Kind::MessageBatch,
        }
    }

    fn is_at(self, provider: &ProviderHandle) -> bool {
        let rows = &provider.row.operations;
        let format = rows.batches.as_ref().map(|row| row.format);
        match self {
            Self::Files => rows.files.is_some(),
            Self::Uploads => rows.files.as_ref().is_some_and(|files| files.parts),
            Self::Batches => format == Some(BatchesFormat::Openai),
            Self::MessageBatches => format == Some(BatchesFormat::Anthropic),
        }
    }
}

pub async fn serve(
    api: &Arc<Api>,
    resource: Resource,
    asking: NativeContext,
    (head, body): (Parts, Incoming),
    cut: &mut CutNotice,
) -> Response<ResponseBody> {
    let dialect = match resource {
        Resource::MessageBatches => wire::dialect(Protocol::AnthropicMessages).unwrap_or(OWN),
        _ => OWN,
    };
    let caller = match native::admit(api, &asking.snapshot, &head, Role::Inference).await {
        Ok(caller) => caller,
        Err(denied) => {
            leave_unread(body);
            return native::denied_answer(api, dialect, *denied);
        }
    };
    let rates = caller.rates();
    let mut inbound = native::inbound(asking, caller);
    inbound.dialect = dialect;
    if let Err(error) = native::read_options(api, &mut inbound, &head.headers) {
        leave_unread(body);
        api.pipeline.refuse(&inbound, resource.operation(), &error);
        return respond::rates(respond::error(dialect, &error), rates);
    }
    let desk = ObjectRequest { api, resource, inbound: &inbound, head: &head };
    let answer = async {
        match desk.serve(body).await {
            Ok(response) => response,
            Err(FilesError::Before(error)) => {
                api.pipeline.refuse(&inbound, resource.operation(), &error);
                respond::error(dialect, &error)
            }
            Err(FilesError::Recorded(failure)) => respond::failure(dialect, &failure),
        }
    };
    let response = respond::unless_cut(cut, pin!(answer), dialect).await;
    respond::rates(response, rates)
}

/// Why there is no answer.
enum FilesError {
    /// Before any provider was asked: there is no record yet.
    Before(Error),
    /// There is a record.
    Recorded(Box<Failure>),
}

impl From<Error> for FilesError {
    fn from(error: Error) -> Self {
        Self::Before(error)
    }
}

type FilesResult<T> = Result<T, FilesError>;

/// A request for such an object.
struct ObjectRequest<'a> {
    api: &'a Arc<Api>,
    resource: Resource,
    inbound: &'a Inbound,
    head: &'a Parts,
}

/// The request for a provider.
struct Ask {
    method: Method,
    path: String,
    query: String,
    headers: Headers,
    body: Body,
    /// It uses models that the gateway cannot see.
    hides_models: bool,
}

impl Ask {
    fn post(path: String, headers: Headers, body: Body) -> Self {
        Self { method: Method::POST, path, query: String::new(), headers, body, hides_models: false }
    }

    fn of(desk: &ObjectRequest<'_>, method: Method, path: String) -> Self {
        Self { method, ..Self::post(path, desk.headers(), desk.nothing()) }
    }
}

/// A body, as far as it is buffered.
struct Body {
    bytes: Bytes,
    held: Held,
    upload: Option<Upload>,
}

struct Page {
    /// The requested number of entries.
    wanted: usize,
    /// The query at the provider.
    query: String,
    /// The owner of the entry before the page.
    owner: Option<Owner>,
}

/// The provider and the key of an object.
#[derive(Clone)]
struct Owner {
    provider: Arc<ProviderHandle>,
    key: Option<usize>,
}

impl ObjectRequest<'_> {
    async fn serve(&self, body: Incoming) -> FilesResult<Response<ResponseBody>> {
        let path = path::spelling(self.head.uri.path());
        let rest = path.strip_prefix(self.resource.route()).unwrap_or_default().trim_start_matches('/');
        let (id, part) = rest.split_once('/').unwrap_or((rest, ""));
        let id = path::unescape(id).unwrap_or_default();
        let is_get = matches!(self.head.method, Method::GET | Method::HEAD);
        let is_post = self.head.method == Method::POST;
        if is_post && id.is_empty() {
            return match self.resource {
                Resource::Files => self.upload(body).await,
                Resource::Uploads => self.begin_upload(body).await,
                Resource::Batches => self.create(body).await,
                Resource::MessageBatches => self.create_of_messages(body).await,
            };
        }
        match (self.resource, part) {
            (Resource::Uploads, "parts") if is_post => return self.add_part(&id, body).await,
            (Resource::Uploads, "complete") if is_post => return self.complete_upload(&id, body).await,
            _ => leave_unread(body),
        }
        match (self.resource, part) {
            (Resource::MessageBatches, "") if is_get && id.is_empty() => {
                let message = "Message batches are not listed: the provider's list does not show their projects. \
                               Keep the ids of yours.";
                Err(Error::caller(ErrorKind::UnsupportedFeature, message).into())
            }
            (Resource::Files | Resource::Batches, "") if is_get && id.is_empty() => self.list().await,
            (Resource::Files | Resource::Batches | Resource::MessageBatches, "") if is_get => {
                self.about(&id, Method::GET, "").await
            }
            (Resource::Files, "content") if is_get => self.content(&id).await,
            (Resource::MessageBatches, "results") if is_get => self.content(&id).await,
            (Resource::Files | Resource::MessageBatches, "") if self.head.method == Method::DELETE => {
                self.about(&id, Method::DELETE, "").await
            }
            (Resource::Uploads | Resource::Batches | Resource::MessageBatches, "cancel") if is_post => {
                self.about(&id, Method::POST, "/cancel").await
            }
            _ => {
                let message = format!("There is no route {} {}.", self.head.method, shown(&path));
                Err(Error::caller(ErrorKind::NotFound, message).into())
            }
        }
    }

    fn sealer(&self) -> Sealer<'_> {
        Sealer { hasher: self.api.auth.hasher(), project: &self.inbound.caller.project.id }
    }

    /// The location of this project's object.
    fn place(
        &self,
        id: &str,
        param: &'static str,
        is_wanted: impl Fn(Kind) -> bool,
    ) -> FilesResult<(ObjectLocation, Owner)> {
        let place = self.sealer().open(id).filter(|place| is_wanted(place.kind));
        let known = place.and_then(|place| {
            let provider = self.inbound.snapshot.providers.get(&place.provider)?.clone();
            let key = place.key_among(self.api.auth.hasher(), &provider.key_labels)?;
            provider.disabled().is_none().then_some((place, Owner { provider, key: Some(key) }))
        });
        known.ok_or_else(|| {
            let what = match (self.resource, param) {
                (_, "part_ids") => "part of an upload",
                (_, "input_file_id") | (Resource::Files, _) => "file",
                (Resource::Uploads, _) => "upload",
                _ => "batch",
            };
            let message = format!("There is no {what} {:?} of this project.", shown(id));
            Error::caller(ErrorKind::NotFound, message).at(param).into()
        })
    }

    /// The provider for a new object: from the query, a header or the form, else the only possible one.
    fn chosen(&self, in_form: Option<&str>) -> FilesResult<Owner> {
        let query = self.head.uri.query().unwrap_or_default();
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        let in_query = pairs.find(|(name, _)| name == "provider").map(|(_, value)| value.into_owned());
        let in_header = self.head.headers.get(&PROVIDER).and_then(|value| value.to_str().ok());
        let named = in_query.as_deref().or(in_header).or(in_form).map(str::trim);
        let snapshot = &self.inbound.snapshot;
        let mut able: Vec<_> = snapshot.enabled().filter(|provider| self.resource.is_at(provider)).collect();
        able.sort_by(|left, right| left.id().cmp(right.id()));
        let names = able.iter().map(|provider| provider.id()).collect::<Vec<_>>().join(", ");
        let route = self.resource.route();
        let provider = match (named, &able[..]) {
            (Some(named), _) => able.iter().find(|provider| provider.id() == named).ok_or_else(|| {
                let message = format!(
                    "The provider {:?} does not serve {route} here; these do: {names}.",
                    shown(named)
                );
                Error::invalid("provider", message)
            })?,
            (None, [only]) => only,
            (None, []) => {
                let message = format!("No enabled provider serves {route}.");
                return Err(Error::caller(ErrorKind::UnsupportedFeature, message).into());
            }
            (None, _) => {
                let message = format!(
                    "Several providers serve {route} ({names}); choose one with ?provider= or the header x-llmgateway-provider."
                );
                return Err(Error::invalid("provider", message).into());
            }
        };
        Ok(Owner { provider: (*provider).clone(), key: None })
    }

    fn nothing(&self) -> Body {
        Body { bytes: Bytes::new(), held: self.api.buffers.nothing(), upload: None }
    }

    async fn ask(&self, owner: &Owner, ask: Ask) -> FilesResult<NativeAnswer> {
        let Ask { method, path, query, headers, body: Body { bytes, held, upload }, hides_models } = ask;
        let question = NativeQuestion {
            operation: self.resource.operation(),
            asks_no_model: !hides_models,
            provider: owner.provider.clone(),
            key: owner.key,
            method,
            path,
            query,
            headers,
            here: None,
            form: NativeForm { metered: None, model: None, streams: None },
            length: bytes.len(),
            body: bytes,
            held,
            upload,
            tunnel: None,
        };
        let passed = self.api.pipeline.clone().pass(self.inbound, question).await;
        passed.map_err(|failure| FilesError::Recorded(Box::new(failure)))
    }

    /// Sends a small request and changes the ids in its answer. Refusals stay unchanged.
    async fn answer(
        &self,
        owner: &Owner,
        ask: Ask,
        change: impl FnOnce(&mut Value, &Owner),
    ) -> FilesResult<Response<ResponseBody>> {
        let answer = self.ask(owner, ask).await?;
        if !answer.status.is_success() {
            return Ok(native::answered(answer));
        }
        let NativeAnswer { status, mut headers, body, served, key } = answer;
        let bytes = match body {
            NativeBody::Whole(bytes) => bytes,
            NativeBody::Stream(pump) => match bounded::read(*pump, ANSWER).await {
                Ok(bytes) => bytes,
                Err(_) => return Err(broken_answer()),
            },
        };
        let Ok(mut value) = serde_json::from_slice::<Value>(&bytes) else { return Err(broken_answer()) };
        let label = owner.provider.key_labels.iter().position(|label| *label == key);
        change(&mut value, &Owner { provider: owner.provider.clone(), key: owner.key.or(label) });
        headers.remove(CONTENT_LENGTH);
        let body = NativeBody::Whole(value.to_string().into());
        Ok(native::answered(NativeAnswer { status, headers, body, served, key }))
    }

    /// A form, or its beginning with the fields before the file.
    async fn form(&self, body: Incoming) -> FilesResult<(Form, Held, Option<Upload>)> {
        let content_type = self.head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default();
        if !content_type.get(..19).is_some_and(|kind| kind.eq_ignore_ascii_case("multipart/form-data")) {
            leave_unread(body);
            let message =
                format!("{} requires a form; send multipart/form-data.", shown(self.head.uri.path()));
            return Err(Error::caller(ErrorKind::UnsupportedMedia, message).at("content-type").into());
        }
        let limits = self.inbound.snapshot.limits;
        let announced = Boundary::of(content_type)
            .and_then(|boundary| BodyHeaders::of_form(&self.head.headers, boundary, limits));
        let announced = match announced {
            Ok(announced) => announced,
            Err(error) => {
                leave_unread(body);
                return Err(error.into());
            }
        };
        Ok(upload::beginning(body, announced, None, (limits, &self.api.buffers, None)).await?)
    }

    async fn upload(&self, body: Incoming) -> FilesResult<Response<ResponseBody>> {
        let (form, held, upload) = self.form(body).await?;
        let owner = self.chosen(form.text("provider")?)?;
        let mark = format!("{}-", self.sealer().mark());
        let bytes = form.rewritten(|part, _, writer| {
            match part.head.plain_name() {
                "provider" => {}
                "file" => form.keep_renamed(part, &mark, writer),
                _ => form.keep(part, writer),
            }
            Ok(())
        })?;
        let headers = vec![(CONTENT_TYPE, form_type(&form)?)];
        let body = Body { bytes: bytes.into(), held, upload };
        let path = self.resource.path().to_owned();
        let ask = Ask::post(path, headers, body);
        self.answer(&owner, ask, |file, owner| self.seal_file(file, owner, (Kind::File, 0))).await
    }

    /// Begins a file that comes in parts. Its name gets the project's mark, like that of a whole file.
    async fn begin_upload(&self, body: Incoming) -> FilesResult<Response<ResponseBody>> {
        let (mut upload, _, held) = self.json(body).await?;
        let Some(name) = upload["filename"].as_str() else {
            return Err(Error::invalid("filename", "filename must be the name of the file.").into());
        };
        upload["filename"] = format!("{}-{name}", self.sealer().mark()).into();
        let in_body = upload.as_object_mut().and_then(|upload| upload.shift_remove("provider"));
        let owner = self.chosen(in_body.as_ref().and_then(Value::as_str))?;
        let ask = Ask::post(self.resource.path().to_owned(), json_type(), json_body(&upload, held));
        self.answer(&owner, ask, |upload, owner| self.seal_upload(upload, owner)).await
    }

    async fn add_part(&self, id: &str, body: Incoming) -> FilesResult<Response<ResponseBody>> {
        let (place, owner) = match self.place(id, "id", |kind| kind == Kind::Upload) {
            Ok(found) => found,
            Err(refused) => {
                leave_unread(body);
                return Err(refused);
            }
        };
        let (form, held, upload) = self.form(body).await?;
        let bytes = form.rewritten(|part, _, writer| {
            form.keep(part, writer);
            Ok(())
        })?;
        let body = Body { bytes: bytes.into(), held, upload };
        let path = format!("{}/{}/parts", self.resource.path(), segment(&place.id)?);
        let ask = Ask::post(path, vec![(CONTENT_TYPE, form_type(&form)?)], body);
        self.answer(&owner, ask, |part, owner| {
            if let Some(own) = part["id"].as_str() {
                part["id"] = self.seal(Kind::Part, owner, own, 0).into();
            }
            part["upload_id"] = id.into();
        })
        .await
    }

    async fn complete_upload(&self, id: &str, body: Incoming) -> FilesResult<Response<ResponseBody>> {
        let (mut upload, _, held) = self.json(body).await?;
        let (place, owner) = self.place(id, "id", |kind| kind == Kind::Upload)?;
        let Some(parts) = upload["part_ids"].as_array_mut() else {
            return Err(Error::invalid("part_ids", "part_ids must be a list of ids.").into());
        };
        for part in parts {
            let (own, _) =
                self.place(part.as_str().unwrap_or_default(), "part_ids", |kind| kind == Kind::Part)?;
            *part = own.id.into();
        }
        let path = format!("{}/{}/complete", self.resource.path(), segment(&place.id)?);
        let ask = Ask::post(path, json_type(), json_body(&upload, held));
        self.answer(&owner, ask, |upload, owner| {
            self.seal_upload(upload, owner);
            upload["id"] = id.into();
        })
        .await
    }

    async fn json(&self, body: Incoming) -> FilesResult<(Value, Bytes, Held)> {
        let announced = match BodyHeaders::read(&self.head.headers, self.inbound.snapshot.limits.body) {
            Ok(announced) => announced,
            Err(error) => {
                leave_unread(body);
                return Err(error.into());
            }
        };
        let received =
            request_body::read(body, announced, self.inbound.snapshot.limits, &self.api.buffers).await?;
        let value = serde_json::from_slice::<Value>(&received.bytes).ok().filter(Value::is_object);
        let value = value.ok_or_else(|| Error::invalid("", "The body is not a JSON object."))?;
        Ok((value, received.bytes, received.held))
    }

    async fn create(&self, body: Incoming) -> FilesResult<Response<ResponseBody>> {
        let (mut batch, _, held) = self.json(body).await?;
        let Some(input) = batch["input_file_id"].as_str() else {
            return Err(Error::invalid("input_file_id", "input_file_id must be the id of a file.").into());
        };
        let is_file = |kind| matches!(kind, Kind::File | Kind::Output);
        let (place, owner) = self.place(input, "input_file_id", is_file)?;
        if !self.resource.is_at(&owner.provider) {
            let message =
                format!("The provider {:?} of the file serves no batches of this form.", place.provider);
            return Err(Error::invalid("input_file_id", message).into());
        }
        batch["input_file_id"] = place.id.into();
        if batch["metadata"].is_null() {
            batch["metadata"] = json!({});
        }
        if let Some(metadata) = batch["metadata"].as_object_mut() {
            if metadata.len() >= MOST_METADATA {
                let message =
                    format!("metadata may have {} members: one more is the gateway's.", MOST_METADATA - 1);
                return Err(Error::invalid("metadata", message).into());
            }
            metadata.insert(MARK.to_owned(), self.sealer().mark().into());
        }
        let path = self.resource.path().to_owned();
        let ask = Ask { hides_models: true, ..Ask::post(path, json_type(), json_body(&batch, held)) };
        self.answer(&owner, ask, |batch, owner| self.seal_ids(batch, owner)).await
    }

    /// The requests and their models are in the body.
    async fn create_of_messages(&self, body: Incoming) -> FilesResult<Response<ResponseBody>> {
        let (batch, bytes, held) = self.json(body).await?;
        let owner = self.chosen(None)?;
        let Some(requests) = batch["requests"].as_array() else {
            return Err(Error::invalid("requests", "requests must be a list.").into());
        };
        let mut models: Vec<&str> = Vec::new();
        for (index, request) in requests.iter().enumerate() {
            let Some(model) = request["params"]["model"].as_str() else {
                let param = format!("requests[{index}].params.model");
                return Err(Error::invalid(param.clone(), format!("{param} must name a model.")).into());
            };
            if !models.contains(&model) {
                models.push(model);
            }
        }
        self.api.pipeline.check_models(self.inbound, &owner.provider, &models)?;
        let body = Body { bytes, held, upload: None };
        let mut headers = native::passed(&self.head.headers);
        headers.retain(|(name, _)| name == CONTENT_TYPE || name.as_str().starts_with("anthropic-"));
        let path = self.resource.path().to_owned();
        let ask = Ask::post(path, headers, body);
        self.answer(&owner, ask, |batch, owner| self.seal_ids(batch, owner)).await
    }

    /// Asks about one of them.
    async fn about(&self, id: &str, method: Method, part: &str) -> FilesResult<Response<ResponseBody>> {
        let kind = self.resource.kind();
        let is_wanted = |found| found == kind || kind == Kind::File && found == Kind::Output;
        let (place, owner) = self.place(id, "id", is_wanted)?;
        let path = format!("{}/{}{part}", self.resource.path(), segment(&place.id)?);
        let ask = Ask::of(self, method, path);
        self.answer(&owner, ask, |found, owner| {
            match self.resource {
                Resource::Files => self.seal_file(found, owner, (place.kind, place.made_at)),
                Resource::Uploads => self.seal_upload(found, owner),
                _ => self.seal_ids(found, owner),
            }
            // The answer to a deletion has no time.
            if found.get("id").is_some() {
                found["id"] = id.into();
            }
        })
        .await
    }

    /// The content of a file, or the output of a batch.
    async fn content(&self, id: &str) -> FilesResult<Response<ResponseBody>> {
        let is_messages = self.resource == Resource::MessageBatches;
        let is_wanted = |kind| {
            if is_messages { kind == Kind::MessageBatch } else { matches!(kind, Kind::File | Kind::Output) }
        };
        let (place, owner) = self.place(id, "id", is_wanted)?;
        let part = if is_messages { "results" } else { "content" };
        let path = format!("{}/{}/{part}", self.resource.path(), segment(&place.id)?);
        let ask = || Ask::of(self, Method::GET, path.clone());
        if place.kind != Kind::File
            && let Some(refused) = self.settle(&place, &owner, ask()).await?
        {
            return Ok(refused);
        }
        let mut answer = self.ask(&owner, ask()).await?;
        let name = answer.headers.get(CONTENT_DISPOSITION).and_then(|value| value.to_str().ok());
        let name = name.map(|name| name.replace(&format!("{}-", self.sealer().mark()), ""));
        if let Some(Ok(name)) = name.map(HeaderValue::try_from) {
            answer.headers.insert(CONTENT_DISPOSITION, name);
        }
        Ok(native::answered(answer))
    }

    /// Records the cost of an output, unless it is recorded already. Returns the provider's refusal, if any.
    async fn settle(
        &self,
        place: &ObjectLocation,
        owner: &Owner,
        ask: Ask,
    ) -> FilesResult<Option<Response<ResponseBody>>> {
        let id = self.sealer().record_id(place);
        let output = Output {
            id: &id,
            made_at: place.made_at,
            provider: &owner.provider,
            key: owner.key.unwrap_or_default(),
        };
        let away = |_| {
            let message = "The database cannot confirm whether this output was recorded.";
            FilesError::Before(Error::gateway(ErrorKind::StoreUnavailable, message))
        };
        if self.api.pipeline.is_settled(&self.api.store, &output).await.map_err(away)? {
            return Ok(None);
        }
        let answer = self.ask(owner, ask).await?;
        if !answer.status.is_success() {
            return Ok(Some(native::answered(answer)));
        }
        let mut read = BatchOutput::default();
        match answer.body {
            NativeBody::Whole(bytes) => read.push(&bytes),
            NativeBody::Stream(mut pump) => {
                while let Some(frame) = pump.frame().await {
                    let frame = frame.map_err(|_| broken_answer())?;
                    if let Ok(data) = frame.into_data() {
                        read.push(&data);
                    }
                }
            }
        }
        read.finish();
        self.api.pipeline.settle(self.inbound, &output, &read);
        Ok(None)
    }

    /// This project's objects among the newest ones of the account.
    async fn list(&self) -> FilesResult<Response<ResponseBody>> {
        let Page { wanted, query, owner } = self.page()?;
        let owner = match owner {
            Some(owner) => owner,
            None => self.chosen(None)?,
        };
        let path = self.resource.path().to_owned();
        let ask = Ask { query, ..Ask::of(self, Method::GET, path) };
        self.answer(&owner, ask, |list, owner| self.seal_list(list, owner, wanted)).await
    }

    /// The page that a list's query selects.
    fn page(&self) -> FilesResult<Page> {
        let query = self.head.uri.query().unwrap_or_default();
        let (mut wanted, mut owner) = (usize::MAX, None);
        let mut query_there = form_urlencoded::Serializer::new(String::new());
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| *limit > 0);
                    let message = "limit must be a number from 1 on.";
                    wanted = limit.ok_or_else(|| Error::invalid("limit", message))?;
                }
                "after" => {
                    let kind = self.resource.kind();
                    let (place, of) = self.place(&value, "after", |found| found == kind)?;
                    query_there.append_pair("after", &place.id);
                    owner = Some(of);
                }
                "provider" | "key" => {}
                name => drop(query_there.append_pair(name, &value)),
            }
        }
        let at_a_time = match self.resource {
            Resource::Files => FILES_AT_A_TIME,
            _ => BATCHES_AT_A_TIME,
        };
        query_there.append_pair("limit", &at_a_time.to_string());
        Ok(Page { wanted, query: query_there.finish(), owner })
    }

    fn headers(&self) -> Headers {
        let mut headers = native::passed(&self.head.headers);
        headers.retain(|(name, _)| name.as_str().starts_with("anthropic-"));
        headers
    }

    fn seal_list(&self, list: &mut Value, owner: &Owner, wanted: usize) {
        let all = list["data"].as_array_mut().map(std::mem::take).unwrap_or_default();
        let mark = self.sealer().mark();
        let is_own = |entry: &Value| match self.resource {
            Resource::Files => {
                entry["filename"].as_str().is_some_and(|name| name.starts_with(&format!("{mark}-")))
            }
            _ => entry["metadata"][MARK] == mark.as_str(),
        };
        let mut own: Vec<Value> = all.into_iter().filter(is_own).collect();
        let is_cut = own.len() > wanted;
        own.truncate(wanted);
        for entry in &mut own {
            match self.resource {
                Resource::Files => self.seal_file(entry, owner, (Kind::File, 0)),
                _ => self.seal_ids(entry, owner),
            }
        }
        let id = |entry: Option<&Value>| entry.map_or(Value::Null, |entry| entry["id"].clone());
        let has_more = list["has_more"].as_bool().unwrap_or(false);
        let (first, last) = (id(own.first()), id(own.last()));
        *list = json!({
            "object": "list", "data": own, "first_id": first, "last_id": last, "has_more": is_cut || has_more
        });
    }

    fn seal(&self, kind: Kind, owner: &Owner, id: &str, made_at: u32) -> String {
        let label = owner.key.and_then(|key| owner.provider.key_labels.get(key)).map_or("", String::as_str);
        self.sealer().seal(kind, (owner.provider.id(), label), id, made_at)
    }

    fn seal_file(&self, file: &mut Value, owner: &Owner, (kind, made_at): (Kind, u32)) {
        if let Some(id) = file["id"].as_str() {
            file["id"] = self.seal(kind, owner, id, made_at).into();
        }
        let mark = format!("{}-", self.sealer().mark());
        if let Some(name) = file["filename"].as_str().and_then(|name| name.strip_prefix(&mark)) {
            file["filename"] = name.into();
        }
    }

    /// Changes the ids in an upload, which is a file once it is complete.
    fn seal_upload(&self, upload: &mut Value, owner: &Owner) {
        self.seal_file(upload, owner, (Kind::Upload, 0));
        if upload["file"].is_object() {
            self.seal_file(&mut upload["file"], owner, (Kind::File, 0));
        }
    }

    /// Changes the ids in a batch.
    fn seal_ids(&self, batch: &mut Value, owner: &Owner) {
        let made_at = match &batch["created_at"] {
            Value::String(text) => seconds_of(text),
            number => number.as_u64().and_then(|seconds| u32::try_from(seconds).ok()),
        };
        let made_at = made_at.unwrap_or_default();
        let kinds = [
            ("id", self.resource.kind()),
            ("input_file_id", Kind::File),
            ("output_file_id", Kind::Output),
            ("error_file_id", Kind::File),
        ];
        for (name, kind) in kinds {
            if let Some(id) = batch.get(name).and_then(Value::as_str).filter(|id| !id.is_empty()) {
                batch[name] = self.seal(kind, owner, id, made_at).into();
            }
        }
        if let Some(metadata) = batch.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.shift_remove(MARK);
            if metadata.is_empty() {
                batch["metadata"] = Value::Null;
            }
        }
        if batch.get("results_url").is_some_and(Value::is_string) {
            // Clients put their base URL before it.
            let id = batch["id"].as_str().unwrap_or_default();
            batch["results_url"] = format!("{}/{id}/results", self.resource.route()).into();
        }
    }
}

/// The seconds of an RFC 3339 time.
fn seconds_of(text: &str) -> Option<u32> {
    let time = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()?;
    u32::try_from(time.unix_timestamp()).ok()
}

fn json_body(value: &Value, held: Held) -> Body {
    Body { bytes: value.to_string().into(), held, upload: None }
}

fn json_type() -> Headers {
    vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))]
}

fn form_type(form: &Form) -> Result<HeaderValue, Error> {
    HeaderValue::try_from(form.content_type())
        .map_err(|_| Error::invalid("content-type", "The boundary is not valid in a header."))
}

fn segment(id: &str) -> Result<String, Error> {
    wire::providers::path_segment(id, "id")
}

fn broken_answer() -> FilesError {
    let message = "The provider's answer is incomplete or not JSON.";
    let error = Error::upstream(ErrorKind::Upstream, canon::Retry::No, message);
    FilesError::Recorded(Box::new(Failure::from(error)))
}

fn shown(text: &str) -> &str {
    &text[..text.floor_char_boundary(100)]
}
