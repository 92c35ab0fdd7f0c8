//! `/admin/v1`: projects, keys, budgets, requests, usage and the audit log. Errors have OpenAI's shape; a
//! list is paged by `limit` and `after`; changeable objects have an `ETag`, and a change with `If-Match` is
//! refused (412) after a concurrent change.

use canon::{Error, ErrorKind};
use http::header::{ETAG, IF_MATCH};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use limits::Role;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use store::{Audit, KeyFields, KeyRow, Project, StoreError, WriteOutcome};
use wire::OWN;

use super::routes::{self, Resource};
use super::{Api, ResponseBody, path, respond};
use crate::clock::now_ms;
use crate::config::settings::{plain_json, read_policy, wrong_project_id};
use crate::identity::{self, Caller};
use crate::report;
use crate::snapshot::Snapshot;

mod budgets;
mod state;
mod suspensions;
mod usage;

/// The default and the maximum page size.
const PAGE: u32 = 50;
const MOST: u32 = 500;
/// The default time for which an old secret stays valid.
const OVERLAP_SECONDS: i64 = 24 * 3600;
/// The default number of days.
const DAYS: i64 = crate::report::DAYS;
/// The largest body that is read.
pub(super) const BODY_LIMIT: usize = 256 << 10;

pub(super) struct AdminRequest<'a> {
    pub(super) api: &'a Api,
    pub(super) snapshot: &'a Snapshot,
    pub(super) caller: &'a Caller,
    pub(super) head: &'a Parts,
    pub(super) body: &'a [u8],
}

type Answer = Result<Response<ResponseBody>, AdminError>;

/// An error, with its own status where none of the kinds has it.
pub(super) struct AdminError {
    error: Error,
    status: Option<StatusCode>,
}

impl From<Error> for AdminError {
    fn from(error: Error) -> Self {
        Self { error, status: None }
    }
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "the admin API could not use the database");
        Error::gateway(ErrorKind::StoreUnavailable, "The database does not answer; the log has the reason.")
            .into()
    }
}

impl AdminError {
    pub(super) fn response(&self) -> Response<ResponseBody> {
        let mut response = respond::error(OWN, &self.error);
        if let Some(status) = self.status {
            *response.status_mut() = status;
        }
        response
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ProjectBody {
    id: Option<String>,
    name: Option<String>,
    policy: Option<Box<RawValue>>,
    disabled: Option<bool>,
}

/// The last second of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct KeyBody {
    name: Option<String>,
    project: Option<String>,
    roles: Option<Vec<Role>>,
    policy: Option<Box<RawValue>>,
    /// Seconds since 1970; null: never.
    #[serde(deserialize_with = "present")]
    expires_at: Option<Option<i64>>,
    disabled: Option<bool>,
}

/// A member that is present: null is a value, too.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<i64>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl KeyBody {
    /// None if the body does not have it.
    fn expires_at_ms(&self) -> Result<Option<Option<i64>>, Error> {
        match self.expires_at {
            Some(Some(seconds)) if !(1..=LAST_SECOND).contains(&seconds) => Err(Error::invalid(
                "expires_at",
                format!(
                    "expires_at must be a time in seconds since 1970, from 1 to {LAST_SECOND}, or null for never."
                ),
            )),
            given => Ok(given.map(|at| at.map(|seconds| seconds * 1000))),
        }
    }

    fn roles(&self) -> Result<Option<String>, Error> {
        match self.roles.as_deref() {
            Some([]) => Err(Error::invalid("roles", "roles must name at least one role.")),
            given => Ok(given.map(|list| {
                let is_given = |role: &&Role| list.contains(role);
                Role::ALL.iter().filter(is_given).map(|role| role.as_str()).collect::<Vec<_>>().join(",")
            })),
        }
    }
}

fn checked_name(name: String) -> Result<String, Error> {
    match store::wrong_name(&name) {
        None => Ok(name),
        Some(wrong) => Err(Error::invalid("name", format!("The name is not valid: {wrong}."))),
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RotateBody {
    overlap_seconds: Option<i64>,
}

impl AdminRequest<'_> {
    /// Serves one request. `rest` is the path after the resource.
    pub(super) async fn serve(&self, resource: Resource, rest: &str) -> Answer {
        self.check_text(rest)?;
        let method = &self.head.method;
        match (resource, method) {
            (Resource::Projects, &Method::POST) => self.create_project().await,
            (Resource::Projects, _) => self.projects().await,
            (Resource::Project, &Method::PATCH) => self.change_project(rest).await,
            (Resource::Project, &Method::DELETE) => self.delete_project(rest).await,
            (Resource::Project, _) => self.project(rest).await,
            (Resource::Keys, &Method::POST) => self.create_key().await,
            (Resource::Keys, _) => self.keys().await,
            (Resource::Key, &Method::PATCH) => self.change_key(rest).await,
            (Resource::Key, &Method::DELETE) => self.revoke_key(rest).await,
            (Resource::Key, &Method::POST) => self.rotate_key(rest).await,
            (Resource::Key, _) => self.key(rest).await,
            (Resource::Budgets, _) => self.budgets().await,
            (Resource::Usage, _) => self.usage().await,
            (Resource::Models, _) => self.models().await,
            (Resource::Providers, _) => self.providers().await,
            (Resource::Routing, _) => self.routing().await,
            (Resource::Suspensions, &Method::POST) => self.suspend().await,
            (Resource::Suspensions, _) => self.suspensions().await,
            (Resource::Suspension, _) => self.end_suspension(rest).await,
            (Resource::Cache, _) => self.purge_cache(rest).await,
            (Resource::Explain, _) => self.explain().await,
            (Resource::Nodes, _) => self.nodes().await,
            (Resource::Node, _) => self.forget_node(rest).await,
            (Resource::Requests, _) => self.requests().await,
            (Resource::Request, _) => self.request(rest).await,
            (Resource::Audit, _) => self.audit_log().await,
        }
    }

    fn parameter(&self, name: &str) -> Option<String> {
        let query = self.head.uri.query().unwrap_or_default();
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// Refuses U+0000, which PostgreSQL cannot compare with anything.
    fn check_text(&self, rest: &str) -> Result<(), AdminError> {
        if rest.contains('\0') {
            return Err(absent("object", rest).into());
        }
        let query = self.head.uri.query().unwrap_or_default();
        match form_urlencoded::parse(query.as_bytes()).find(|(_, value)| value.contains('\0')) {
            None => Ok(()),
            Some((name, _)) => {
                let message = format!("The parameter {name:?} contains the character U+0000.");
                Err(Error::caller(ErrorKind::InvalidRequest, message).into())
            }
        }
    }

    fn number(
        &self,
        name: &'static str,
        usual: i64,
        range: std::ops::RangeInclusive<i64>,
    ) -> Result<i64, Error> {
        let Some(text) = self.parameter(name) else { return Ok(usual) };
        text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
            Error::invalid(
                name,
                format!("{name} must be a number from {} to {}.", range.start(), range.end()),
            )
        })
    }

    fn limit(&self) -> Result<u32, Error> {
        Ok(self.number("limit", i64::from(PAGE), 1..=i64::from(MOST))? as u32)
    }

    fn body<T: DeserializeOwned + Default>(&self) -> Result<T, Error> {
        if self.body.trim_ascii().is_empty() {
            return Ok(T::default());
        }
        let invalid = |reason: String| {
            Error::caller(ErrorKind::InvalidRequest, format!("The body is not valid: {reason}."))
        };
        if !self.body.trim_ascii_start().starts_with(b"{") {
            return Err(invalid("it must be an object".to_owned()));
        }
        let mut deserializer = serde_json::Deserializer::from_slice(self.body);
        let body = serde_path_to_error::deserialize(&mut deserializer);
        let body = body.map_err(|error| invalid(plain_json(&error)))?;
        deserializer.end().map_err(|error| invalid(error.to_string()))?;
        Ok(body)
    }

    fn policy(&self, json: Option<&RawValue>) -> Result<Option<String>, Error> {
        let Some(json) = json else { return Ok(None) };
        let policy = read_policy(json.get(), self.snapshot)
            .map_err(|wrong| Error::invalid("policy", format!("The policy is not valid: {wrong}.")))?;
        Ok(Some(serde_json::to_string(&policy).unwrap_or_default()))
    }

    fn audit(&self, action: &'static str, target: String, detail: Value) -> Audit {
        Audit { actor: format!("key:{}", self.caller.key_id), action, target, detail: detail.to_string() }
    }

    /// The change is in force on this node before the caller gets the answer.
    async fn in_force(&self) {
        if let Err(error) = self.api.auth.reload().await {
            tracing::warn!(%error, "a change is in the database, and not in force yet");
        }
    }

    /// Refuses a change of an object that was changed after it was read.
    fn check_version(&self, version: i64) -> Result<(), AdminError> {
        let Some(wanted) = self.head.headers.get(IF_MATCH) else { return Ok(()) };
        let is_it = |tag: &str| tag.trim().trim_matches('"').parse() == Ok(version) || tag.trim() == "*";
        if wanted.to_str().is_ok_and(|tags| tags.split(',').any(is_it)) { Ok(()) } else { Err(changed()) }
    }

    // Projects

    async fn projects(&self) -> Answer {
        let (after, limit) = (self.parameter("after").unwrap_or_default(), self.limit()?);
        let declared = self.snapshot.keys.projects();
        let mut rows: Vec<Value> = declared
            .values()
            .filter(|project| *project.id > *after)
            .map(|project| declared_project(project))
            .collect();
        let stored = self.api.store.projects_after(&after, limit + 1).await?;
        rows.extend(stored.iter().filter(|row| !declared.contains_key(row.id.as_str())).map(project_object));
        rows.sort_by_key(|row| row["id"].as_str().unwrap_or_default().to_owned());
        Ok(page(rows, limit, |row| row["id"].as_str().unwrap_or_default().to_owned()))
    }

    async fn project(&self, id: &str) -> Answer {
        if let Some(project) = self.snapshot.keys.projects().get(id) {
            return Ok(respond::json(StatusCode::OK, declared_project(project).to_string()));
        }
        let project = self.api.store.project(id).await?.ok_or_else(|| absent("project", id))?;
        Ok(tagged(StatusCode::OK, &project_object(&project), project.version))
    }

    /// The policy of a project, declared or stored.
    async fn policy_of(&self, id: &str) -> Result<limits::Policy, AdminError> {
        if let Some(project) = self.snapshot.keys.projects().get(id) {
            return Ok(project.policy.clone());
        }
        let project = self.api.store.project(id).await?.ok_or_else(|| absent("project", id))?;
        Ok(serde_json::from_str(&project.policy).unwrap_or_default())
    }

    fn not_declared(&self, id: &str) -> Result<(), AdminError> {
        if self.snapshot.keys.projects().contains_key(id) {
            Err(conflict(format!("The project {id:?} is defined in the configuration; change it there.")))
        } else {
            Ok(())
        }
    }

    /// Has every node forget the cached answers of a project.
    async fn purge_cache(&self, id: &str) -> Answer {
        self.policy_of(id).await?;
        let audit = self.audit("project.purge_cache", format!("project:{id}"), json!({}));
        self.api.store.purge_cache(id, audit, now_ms()).await?;
        self.in_force().await;
        Ok(deleted("cache", id))
    }

    async fn create_project(&self) -> Answer {
        let body: ProjectBody = self.body()?;
        let id = body.id.ok_or_else(|| Error::invalid("id", "The id of the project is missing."))?;
        if let Some(wrong) = wrong_project_id(&id) {
            return Err(Error::invalid("id", format!("The id is not valid: {wrong}.")).into());
        }
        self.not_declared(&id)?;
        let project = Project {
            name: body.name.map(checked_name).transpose()?.unwrap_or_else(|| id.clone()),
            policy: self.policy(body.policy.as_deref())?.unwrap_or_else(|| "{}".to_owned()),
            version: 1,
            created_at_ms: now_ms(),
            disabled_at_ms: None,
            id,
        };
        let audit = self.audit("project.create", format!("project:{}", project.id), project_object(&project));
        match self.api.store.create_project(&project, Some(&audit)).await? {
            WriteOutcome::Exists => Err(conflict(format!("The project {:?} exists already.", project.id))),
            _ => {
                self.in_force().await;
                Ok(tagged(StatusCode::CREATED, &project_object(&project), 1))
            }
        }
    }

    async fn change_project(&self, id: &str) -> Answer {
        let body: ProjectBody = self.body()?;
        self.not_declared(id)?;
        let mut project = self.api.store.project(id).await?.ok_or_else(|| absent("project", id))?;
        self.check_version(project.version)?;
        if body.id.is_some_and(|other| other != id) {
            return Err(Error::invalid("id", "The id of a project cannot be changed.").into());
        }
        project.name = body.name.map(checked_name).transpose()?.unwrap_or(project.name);
        project.policy = self.policy(body.policy.as_deref())?.unwrap_or(project.policy);
        if let Some(is_off) = body.disabled {
            project.disabled_at_ms = is_off.then(now_ms);
        }
        let audit = self.audit("project.update", format!("project:{id}"), project_object(&project));
        match self.api.store.update_project(&project, Some(&audit), now_ms()).await? {
            WriteOutcome::Done => {
                self.in_force().await;
                project.version += 1;
                Ok(tagged(StatusCode::OK, &project_object(&project), project.version))
            }
            WriteOutcome::Absent => Err(absent("project", id).into()),
            _ => Err(changed()),
        }
    }

    async fn delete_project(&self, id: &str) -> Answer {
        self.not_declared(id)?;
        if id == store::DEFAULT_PROJECT {
            return Err(conflict("The default project cannot be deleted.".to_owned()));
        }
        let project = self.api.store.project(id).await?.ok_or_else(|| absent("project", id))?;
        self.check_version(project.version)?;
        let audit = self.audit("project.delete", format!("project:{id}"), json!({}));
        match self.api.store.delete_project(id, project.version, Some(&audit), now_ms()).await? {
            WriteOutcome::Done => {
                self.in_force().await;
                Ok(deleted("project", id))
            }
            WriteOutcome::Absent => Err(absent("project", id).into()),
            _ => Err(conflict(format!("The project {id:?} has active keys; revoke them first."))),
        }
    }

    // Keys

    async fn keys(&self) -> Answer {
        let (after, limit) = (self.parameter("after"), self.limit()?);
        let wrong = || Error::invalid("after", "after must be the `next` of an earlier page.");
        let after = match &after {
            None => None,
            Some(text) => {
                let (time, id) = text.split_once(':').ok_or_else(wrong)?;
                Some((time.parse().map_err(|_| wrong())?, id))
            }
        };
        let rows = self.api.store.keys_after(after, limit + 1).await?;
        let next = (rows.len() > limit as usize).then(|| &rows[limit as usize - 1]);
        let next = next.map(|row| format!("{}:{}", row.created_at_ms, row.id));
        let project = self.parameter("project");
        let of_project = |row: &&KeyRow| project.as_ref().is_none_or(|id| *id == row.fields.project_id);
        let data: Vec<Value> = rows.iter().take(limit as usize).filter(of_project).map(key_object).collect();
        Ok(list(&data, next))
    }

    async fn active_key(&self, id: &str) -> Result<KeyRow, AdminError> {
        let row = self.api.store.key(id).await?.filter(|row| row.revoked_at_ms.is_none());
        row.ok_or_else(|| absent("active key", id).into())
    }

    async fn key(&self, id: &str) -> Answer {
        let row = self.api.store.key(id).await?.ok_or_else(|| absent("key", id))?;
        Ok(tagged(StatusCode::OK, &key_object(&row), row.version))
    }

    async fn create_key(&self) -> Answer {
        let body: KeyBody = self.body()?;
        let (roles, expires_at_ms) = (body.roles()?, body.expires_at_ms()?.flatten());
        if expires_at_ms.is_some_and(|at| at <= now_ms()) {
            return Err(Error::invalid("expires_at", "expires_at is in the past.").into());
        }
        let name = body.name.ok_or_else(|| Error::invalid("name", "The name of the key is missing."))?;
        let project_id = body.project.unwrap_or_else(|| store::DEFAULT_PROJECT.to_owned());
        let is_declared = self.snapshot.keys.projects().contains_key(project_id.as_str());
        if !is_declared && self.api.store.project(&project_id).await?.is_none() {
            return Err(Error::invalid("project", format!("There is no project {project_id:?}.")).into());
        }
        let fields = KeyFields {
            name: checked_name(name)?,
            project_id,
            roles: roles.unwrap_or_else(|| Role::Inference.as_str().to_owned()),
            policy: self.policy(body.policy.as_deref())?.unwrap_or_else(|| "{}".to_owned()),
            expires_at_ms,
            disabled_at_ms: body.disabled.unwrap_or(false).then(now_ms),
        };
        let detail = json!({"name": fields.name, "project": fields.project_id, "roles": fields.roles});
        let audit = self.audit("key.create", String::new(), detail);
        let (row, secret) = self.api.store.create_key_with(&fields, Some(&audit), now_ms()).await?;
        self.in_force().await;
        let mut object = key_object(&row);
        object["secret"] = secret.expose().into();
        Ok(tagged(StatusCode::CREATED, &object, row.version))
    }

    async fn change_key(&self, id: &str) -> Answer {
        let body: KeyBody = self.body()?;
        let (roles, expires_at_ms) = (body.roles()?, body.expires_at_ms()?);
        let mut row = self.active_key(id).await?;
        self.check_version(row.version)?;
        let fields = &mut row.fields;
        if body.project.is_some_and(|project| project != fields.project_id) {
            return Err(Error::invalid(
                "project",
                "A key cannot move to another project. Create another key.",
            )
            .into());
        }
        fields.name = body.name.map(checked_name).transpose()?.unwrap_or_else(|| fields.name.clone());
        fields.roles = roles.unwrap_or_else(|| fields.roles.clone());
        fields.policy = self.policy(body.policy.as_deref())?.unwrap_or_else(|| fields.policy.clone());
        fields.expires_at_ms = expires_at_ms.unwrap_or(fields.expires_at_ms);
        if let Some(is_off) = body.disabled {
            fields.disabled_at_ms = is_off.then(now_ms);
        }
        let audit = self.audit("key.update", format!("key:{id}"), key_object(&row));
        match self.api.store.update_key(&row, Some(&audit), now_ms()).await? {
            WriteOutcome::Done => {
                self.in_force().await;
                row.version += 1;
                Ok(tagged(StatusCode::OK, &key_object(&row), row.version))
            }
            WriteOutcome::Absent => Err(absent("active key", id).into()),
            _ => Err(changed()),
        }
    }

    async fn revoke_key(&self, id: &str) -> Answer {
        self.check_version(self.active_key(id).await?.version)?;
        let audit = self.audit("key.revoke", format!("key:{id}"), json!({}));
        if !self.api.store.revoke_key_with(id, Some(&audit), now_ms()).await? {
            return Err(absent("active key", id).into());
        }
        self.in_force().await;
        Ok(deleted("key", id))
    }

    async fn rotate_key(&self, rest: &str) -> Answer {
        let Some(id) = rest.strip_suffix("/rotate") else {
            let message = "POST for a key is served only at /admin/v1/keys/ID/rotate.";
            return Err(Error::caller(ErrorKind::NotFound, message).into());
        };
        let overlap = self.body::<RotateBody>()?.overlap_seconds.unwrap_or(OVERLAP_SECONDS);
        if !(0..=366 * 24 * 3600).contains(&overlap) {
            return Err(Error::invalid("overlap_seconds", "overlap_seconds must be from 0 to a year.").into());
        }
        let audit = self.audit("key.rotate", format!("key:{id}"), json!({"overlap_seconds": overlap}));
        let until = now_ms() + overlap * 1000;
        let secret = self.api.store.rotate_key(id, until, Some(&audit), now_ms()).await?;
        let secret = secret.ok_or_else(|| absent("active key", id))?;
        self.in_force().await;
        let row = self.active_key(id).await?;
        let mut object = key_object(&row);
        object["secret"] = secret.expose().into();
        Ok(tagged(StatusCode::OK, &object, row.version))
    }

    async fn audit_log(&self) -> Answer {
        let (after, limit) = (self.number("after", i64::MAX, 1..=i64::MAX)?, self.limit()?);
        let rows = self.api.store.audit_before(after, limit + 1).await?;
        Ok(page(rows.iter().map(report::audit_object).collect(), limit, |row| {
            row["id"].as_str().unwrap_or_default().to_owned()
        }))
    }
}

fn raw(policy: &str) -> Value {
    serde_json::from_str(policy).unwrap_or_default()
}

fn project_object(project: &Project) -> Value {
    json!({
        "object": "project",
        "id": project.id,
        "name": project.name,
        "policy": raw(&project.policy),
        "declared": false,
        "disabled": project.disabled_at_ms.is_some(),
        "created_at": project.created_at_ms / 1000,
        "version": project.version,
    })
}

fn declared_project(project: &identity::Project) -> Value {
    json!({
        "object": "project",
        "id": *project.id,
        "name": *project.id,
        "policy": project.policy,
        "declared": true,
        "disabled": false,
    })
}

fn key_object(row: &KeyRow) -> Value {
    let seconds = |ms: Option<i64>| ms.map(|ms| ms / 1000);
    let fields = &row.fields;
    json!({
        "object": "key",
        "id": row.id,
        "name": fields.name,
        "project": fields.project_id,
        "roles": fields.roles.split(',').collect::<Vec<_>>(),
        "policy": raw(&fields.policy),
        "prefix": row.prefix,
        "disabled": fields.disabled_at_ms.is_some(),
        "created_at": row.created_at_ms / 1000,
        "expires_at": seconds(fields.expires_at_ms),
        "previous_secret_until": seconds(row.previous_until_ms),
        "revoked_at": seconds(row.revoked_at_ms),
        "version": row.version,
    })
}

fn tagged(status: StatusCode, object: &Value, version: i64) -> Response<ResponseBody> {
    let mut response = respond::json(status, object.to_string());
    if let Ok(tag) = HeaderValue::try_from(format!("\"{version}\"")) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// One entry more than the page shows that there are more.
fn page(mut rows: Vec<Value>, limit: u32, cursor: impl Fn(&Value) -> String) -> Response<ResponseBody> {
    let has_more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = rows.last().filter(|_| has_more).map(cursor);
    list(&rows, next)
}

fn list(data: &[Value], next: Option<String>) -> Response<ResponseBody> {
    let body = json!({"object": "list", "data": data, "has_more": next.is_some(), "next": next});
    respond::json(StatusCode::OK, body.to_string())
}

fn deleted(what: &str, id: &str) -> Response<ResponseBody> {
    respond::json(StatusCode::OK, json!({"object": what, "id": id, "deleted": true}).to_string())
}

fn absent(what: &str, id: &str) -> Error {
    let shown: String = id.chars().take(100).collect();
    Error::caller(ErrorKind::NotFound, format!("There is no {what} {shown:?}."))
}

fn conflict(message: String) -> AdminError {
    let mut error = Error::caller(ErrorKind::InvalidRequest, message);
    error.code = Some("conflict".to_owned());
    AdminError { error, status: Some(StatusCode::CONFLICT) }
}

fn changed() -> AdminError {
    let message = "The object was changed after you read it (If-Match). Read it again.";
    let mut error = Error::caller(ErrorKind::InvalidRequest, message);
    error.code = Some("precondition_failed".to_owned());
    AdminError { error, status: Some(StatusCode::PRECONDITION_FAILED) }
}

/// The path after the resource, unescaped.
pub(super) fn rest_of(head: &Parts) -> String {
    let path = path::spelling(head.uri.path());
    match routes::find(&path, &head.method) {
        routes::RouteMatch::Route(_, rest) => path::unescape(rest).unwrap_or_default().into_owned(),
        _ => String::new(),
    }
}
