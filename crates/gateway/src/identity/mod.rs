//! Callers and their permissions: projects, keys, policies.
//!
//! A key has the rules of its project and its own. Both apply, so a key's own policy narrows and never
//! widens. Policies are compiled ([`Terms`]) when keys and projects are read, not per request.

pub mod auth;
mod caching;
mod purges;
pub mod review;
mod terms;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use canon::{Error, ErrorKind};
use limits::{Bodies, CountersAway, Policy, Remaining, Role, Rule, Scope, Unpriced};
use store::{DEFAULT_PROJECT, KeyHash, KeyHasher};

use crate::admission::Books;
use crate::clock::now_ms;
use crate::config::KeyEntry;
use crate::config::settings::ProjectSettings;
pub use auth::{Auth, Changed, presented};
pub use caching::{CacheDirective, Caching};
pub use purges::Purges;
pub use terms::{Offered, Terms};

#[derive(Clone)]
pub struct Caller {
    /// `static:LABEL`, or the id of the key in the database.
    pub key_id: Arc<str>,
    /// The owner of stored answers: the key itself, independent of its name. The names of static keys follow
    /// their order in the configuration, and a key that takes another's place must not get its answers.
    pub owner: Arc<str>,
    /// May use the admin routes.
    pub admin: bool,
    pub roles: Roles,
    pub project: Arc<Project>,
    /// The key's own policy; none without one.
    pub own: Option<Arc<Terms>>,
}

/// The limits of a caller, for the headers of its answers.
pub struct Rates {
    project: Arc<Project>,
    own: Option<Arc<Terms>>,
}

impl Rates {
    /// The remaining rates that do not depend on the model.
    pub fn left(&self, now_ms: i64) -> Remaining {
        let terms = std::iter::once(&self.project.terms).chain(self.own.as_deref());
        let rules = terms.flat_map(|terms| &terms.rules).filter(|rule| rule.model.is_none());
        self.project.book.lock().left(rules, now_ms)
    }
}

/// A refusal of a request, with the limits of its key once the key is known.
pub struct Denied {
    pub error: Error,
    pub rates: Option<Rates>,
}

impl From<Error> for Box<Denied> {
    fn from(error: Error) -> Self {
        Self::new(Denied { error, rates: None })
    }
}

/// A team or an application, with its keys.
pub struct Project {
    pub id: Arc<str>,
    pub policy: Policy,
    /// The same, compiled.
    pub terms: Terms,
    /// The counters of the project and of its keys.
    pub book: crate::admission::Book,
    /// None of its keys is valid.
    pub is_disabled: bool,
}

/// The roles of a key, as a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// Everything.
    pub const ADMIN: Self = Self(0b1111);
    /// Asks models.
    pub const INFERENCE: Self = Self(1);

    /// The roles of these words; unknown words grant nothing.
    pub fn of(words: &str) -> Self {
        let named = words.split(',').filter_map(|word| Role::named(word.trim()));
        named.fold(Self(0), |roles, role| match role {
            Role::Admin => Self::ADMIN,
            role => Self(roles.0 | 1 << role as u8),
        })
    }

    /// The first of these words that is no role.
    pub fn unknown(words: &str) -> Option<&str> {
        words.split(',').map(str::trim).find(|word| Role::named(word).is_none())
    }

    /// Whether it is among them.
    pub fn has(self, role: Role) -> bool {
        self.0 & 1 << role as u8 != 0
    }
}

impl Caller {
    /// The policies that bind it: its project's, then its own.
    pub fn terms(&self) -> impl Iterator<Item = &Terms> + Clone {
        std::iter::once(&self.project.terms).chain(self.own.as_deref())
    }

    /// The rules that count its requests.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> + Clone {
        self.terms().flat_map(|terms| &terms.rules)
    }

    /// Whether anything is counted.
    pub fn has_rules(&self) -> bool {
        !self.project.terms.rules.is_empty() || self.own.as_ref().is_some_and(|own| !own.rules.is_empty())
    }

    /// Its limits; none if nothing is counted.
    pub fn rates(&self) -> Option<Rates> {
        self.has_rules().then(|| Rates { project: self.project.clone(), own: self.own.clone() })
    }

    /// Whether models of unknown price are refused: by a policy, or because a budget could not count them.
    pub fn blocks_unpriced(&self) -> bool {
        let set = self.terms().filter_map(|terms| terms.unpriced);
        let mut set = set.peekable();
        match set.peek() {
            Some(_) => set.any(|unpriced| unpriced == Unpriced::Block),
            None => self.has_budget(),
        }
    }

    pub fn has_budget(&self) -> bool {
        self.terms().any(Terms::has_budget)
    }

    /// Whether requests are refused while the shared counters do not answer. `is_money`: a budget is among
    /// them.
    pub fn needs_counters(&self, is_money: bool) -> bool {
        let mut set = self.terms().filter_map(|terms| terms.counters_away).peekable();
        match set.peek() {
            Some(_) => set.any(|away| away == CountersAway::Refuse),
            None => is_money,
        }
    }

    pub fn is_guarded(&self) -> bool {
        !self.project.terms.guardrails.is_empty()
            || self.own.as_ref().is_some_and(|own| !own.guardrails.is_empty())
    }

    pub fn guardrails(&self) -> impl Iterator<Item = &str> {
        self.terms().flat_map(|terms| &terms.guardrails).map(String::as_str)
    }

    pub fn may_store(&self) -> bool {
        self.terms().all(|terms| terms.stored_responses)
    }

    /// Whose bodies are kept. The project's policy takes precedence over the setting; a key may only keep less.
    pub fn bodies(&self, setting: Bodies) -> Bodies {
        let of_project = self.project.terms.bodies.unwrap_or(setting);
        self.own.as_ref().and_then(|own| own.bodies).map_or(of_project, |own| own.min(of_project))
    }

    /// The cached answers that a request may get. The key's policy takes precedence over the project's, and the
    /// request over both; none of them allows what another one forbids.
    pub fn caching(&self, asked: CacheDirective) -> Option<Caching> {
        let set = || self.terms().filter_map(|terms| terms.cache);
        let seconds = match asked {
            CacheDirective::No => None,
            CacheDirective::Seconds(seconds) => Some(seconds),
            CacheDirective::Unsaid => set().last().map(|policy| policy.seconds),
        };
        let seconds = seconds.filter(|seconds| *seconds > 0 && set().all(|policy| policy.seconds > 0))?;
        Some(Caching { oldest: Duration::from_secs(seconds), share: set().all(|policy| policy.share) })
    }

    /// Why an offer is refused, as a sentence; none when it is allowed.
    pub fn refusal(&self, offered: &Offered<'_>) -> Option<String> {
        let refused = self.terms().enumerate().find_map(|(index, terms)| {
            let whose = if index == 0 { "the project's" } else { "the key's" };
            terms.refusal(offered).map(|rule| format!("{whose} policy refuses it ({rule})"))
        });
        refused.or_else(|| {
            (offered.price_unknown && self.blocks_unpriced()).then(|| {
                "its price is unknown, and models of unknown price are refused here (unpriced)".to_owned()
            })
        })
    }

    /// Whether a policy allows only some models: a request without a visible model could use one of the
    /// others.
    pub fn singles_out_models(&self) -> bool {
        self.terms().any(Terms::singles_out_models)
    }

    /// Whether a policy can refuse anything: a cheap check that spares the rest.
    pub fn is_restricted(&self) -> bool {
        self.project.terms.restricts || self.own.as_ref().is_some_and(|own| own.restricts)
    }

    /// The caller, if its request passes this check.
    pub fn checked(self, check: impl FnOnce(&Self) -> Result<(), Error>) -> Result<Self, Box<Denied>> {
        match check(&self) {
            Ok(()) => Ok(self),
            Err(error) => Err(Box::new(Denied { error, rates: self.rates() })),
        }
    }

    /// Refuses a request without the role.
    pub fn check_role(&self, role: Role) -> Result<(), Error> {
        if self.roles.has(role) {
            return Ok(());
        }
        let message =
            format!("This key does not have the role {:?}, which this request needs.", role.as_str());
        Err(Error::caller(ErrorKind::Permission, message))
    }

    /// The tags of a request with these.
    pub fn tags(&self, header: Option<&str>) -> Result<BTreeMap<String, String>, Error> {
        let has_tags =
            !self.project.terms.tags.is_empty() || self.own.as_ref().is_some_and(|own| !own.tags.is_empty());
        if header.is_none() && !has_tags {
            return Ok(BTreeMap::new());
        }
        limits::tags(self.terms().map(|terms| &terms.tags), header).map_err(|wrong| {
            Error::invalid(
                "x-llmgateway-tags",
                format!("The header x-llmgateway-tags is not valid: {wrong}."),
            )
        })
    }
}

impl Project {
    pub fn new(id: &str, policy: &Policy, is_disabled: bool, books: &Books) -> Arc<Self> {
        let book = books.of(id);
        let terms = Terms::new(policy, &Scope::Project, &book);
        Arc::new(Self { id: id.into(), policy: policy.clone(), terms, book, is_disabled })
    }

    /// A project without restrictions.
    pub fn free(id: &str, books: &Books) -> Arc<Self> {
        Self::new(id, &Policy::default(), false, books)
    }
}

#[derive(Clone)]
struct KnownKey {
    key_id: Arc<str>,
    owner: Arc<str>,
    roles: Roles,
    project_id: Arc<str>,
    /// The project of a key of the configuration, if the configuration has it.
    project: Option<Arc<Project>>,
    own: Option<Arc<Terms>>,
    expires_at_ms: Option<i64>,
}

/// A project or a key, and its own rules.
pub struct RuleOwner<'a> {
    /// The project, which also has the counters of its keys.
    pub project: &'a Project,
    /// The key; none if the rules are the project's.
    pub key: Option<&'a str>,
    pub rules: &'a [Rule],
}

/// Keys with their owners, by the hash of the key; and projects by their ids. Clones share what neither of
/// them changes.
#[derive(Clone, Default)]
pub struct Keys {
    keys: KeyTable,
    projects: Arc<HashMap<Arc<str>, Arc<Project>>>,
}

/// Keys by their hashes, and the hashes by the ids of the keys. Both are divided into parts, so that a change
/// copies one part of each.
#[derive(Clone)]
struct KeyTable {
    keys: Parts<[u8; 32], KnownKey>,
    hashes: Parts<Arc<str>, Vec<[u8; 32]>>,
}

type Parts<K, V> = Box<[Arc<HashMap<K, V>>; 256]>;

impl Default for KeyTable {
    fn default() -> Self {
        Self {
            keys: Box::new(std::array::from_fn(|_| Arc::default())),
            hashes: Box::new(std::array::from_fn(|_| Arc::default())),
        }
    }
}

impl KeyTable {
    fn get(&self, hash: &[u8; 32]) -> Option<&KnownKey> {
        self.keys[usize::from(hash[0])].get(hash)
    }

    fn insert(&mut self, hash: [u8; 32], known: KnownKey) -> &mut KnownKey {
        let hashes = Arc::make_mut(&mut self.hashes[part_of(&known.key_id)]);
        let of_key = hashes.entry(known.key_id.clone()).or_insert_with(|| Vec::with_capacity(1));
        if !of_key.contains(&hash) {
            of_key.push(hash);
        }
        let part = Arc::make_mut(&mut self.keys[usize::from(hash[0])]);
        part.entry(hash).insert_entry(known).into_mut()
    }

    fn values(&self) -> impl Iterator<Item = &KnownKey> {
        self.keys.iter().flat_map(|part| part.values())
    }

    /// The key with this id, by its last secret.
    fn with_id(&self, id: &str) -> Option<&KnownKey> {
        self.get(self.hashes[part_of(id)].get(id)?.last()?)
    }

    /// Removes every secret of a key.
    fn remove(&mut self, id: &str) {
        let part = &mut self.hashes[part_of(id)];
        if !part.contains_key(id) {
            return;
        }
        for hash in Arc::make_mut(part).remove(id).unwrap_or_default() {
            Arc::make_mut(&mut self.keys[usize::from(hash[0])]).remove(&hash);
        }
    }
}

/// The part of an id. The bytes at the end of an id differ most.
fn part_of(id: &str) -> usize {
    usize::from(id.bytes().fold(0, |sum: u8, byte| sum.wrapping_mul(31).wrapping_add(byte)))
}

impl Keys {
    pub fn fixed(
        hasher: &KeyHasher,
        api_keys: &[KeyEntry],
        admin_keys: &[KeyEntry],
        projects: &[ProjectSettings],
        books: &Books,
    ) -> Self {
        let mut fixed = Self::default();
        let declared = projects.iter().map(|it| Project::new(&it.id, &it.policy, false, books));
        fixed.projects = Arc::new(declared.map(|project| (project.id.clone(), project)).collect());
        for (keys, roles) in [(api_keys, Roles::INFERENCE), (admin_keys, Roles::ADMIN)] {
            for key in keys {
                fixed.put(hasher, key, DEFAULT_PROJECT, roles);
            }
        }
        for declared in projects {
            let book = books.of(&declared.id);
            for key in &declared.keys {
                let label = format!("{}/{}", declared.id, key.name);
                let entry = KeyEntry { label, secret: key.secret.clone() };
                let known = fixed.put(hasher, &entry, &declared.id, Roles::of(&key.roles));
                known.own = Terms::of_key(&key.policy, &known.key_id, &book);
                known.expires_at_ms = key.expires_at_ms;
            }
        }
        fixed
    }

    fn put(&mut self, hasher: &KeyHasher, key: &KeyEntry, project: &str, roles: Roles) -> &mut KnownKey {
        let hash = hasher.hash(key.secret.expose());
        let known = KnownKey {
            key_id: format!("static:{}", key.label).into(),
            owner: owner(&hash),
            roles,
            project_id: project.into(),
            project: self.projects.get(project).cloned(),
            own: None,
            expires_at_ms: None,
        };
        self.keys.insert(hash, known)
    }

    /// The keys and projects of the database. A policy that this release cannot read allows nothing: its
    /// prohibitions are unknown.
    pub fn stored(keys: &[KeyHash], projects: &[store::Project], books: &Books) -> Self {
        Self::default().changed(&Changed::default(), keys, projects, books)
    }

    /// The same after changes, with the rows that exist of what has changed.
    pub fn changed(
        &self,
        changed: &Changed,
        keys: &[KeyHash],
        projects: &[store::Project],
        books: &Books,
    ) -> Self {
        let mut stored = self.clone();
        changed.keys.iter().for_each(|id| stored.keys.remove(id));
        stored.change_projects(&changed.projects, projects, books);
        for key in keys {
            stored.add_key(key, books);
        }
        stored
    }

    fn change_projects(&mut self, changed: &HashSet<String>, rows: &[store::Project], books: &Books) {
        let lacks_default = !self.projects.contains_key(DEFAULT_PROJECT);
        if changed.is_empty() && rows.is_empty() && !lacks_default {
            return;
        }
        let projects = Arc::make_mut(&mut self.projects);
        for id in changed {
            projects.remove(&**id);
        }
        for row in rows {
            let (policy, is_readable) = read_policy(&row.policy);
            let is_disabled = row.disabled_at_ms.is_some() || !is_readable;
            let project = Project::new(&row.id, &policy, is_disabled, books);
            projects.insert(project.id.clone(), project);
        }
        if !projects.contains_key(DEFAULT_PROJECT) {
            projects.insert(DEFAULT_PROJECT.into(), Project::free(DEFAULT_PROJECT, books));
        }
    }

    fn add_key(&mut self, key: &KeyHash, books: &Books) {
        let (policy, is_readable) = read_policy(&key.fields.policy);
        if !is_readable {
            return;
        }
        let key_id: Arc<str> = key.id.as_str().into();
        let id = key.fields.project_id.as_str();
        // Its project is looked up for each request, because it changes without the key.
        let project_id = self.projects.get_key_value(id).map_or_else(|| id.into(), |(id, _)| id.clone());
        let is_empty = policy == Policy::default();
        let own = if is_empty { None } else { Terms::of_key(&policy, &key_id, &books.of(id)) };
        let known = |expires_at_ms| KnownKey {
            owner: key_id.clone(),
            key_id: key_id.clone(),
            roles: Roles::of(&key.fields.roles),
            project_id: project_id.clone(),
            project: None,
            own: own.clone(),
            expires_at_ms,
        };
        if let Some((hash, until)) = key.previous {
            let until = key.fields.expires_at_ms.map_or(until, |expires| expires.min(until));
            self.keys.insert(hash, known(Some(until)));
        }
        self.keys.insert(key.hash, known(key.fields.expires_at_ms));
    }

    /// Whether it has this key.
    fn contains(&self, hash: &[u8; 32]) -> bool {
        self.keys.get(hash).is_some()
    }

    /// The roles of the key of this owner, if it is valid.
    pub fn roles_of(&self, owner: &str) -> Option<Roles> {
        let is_it = |known: &&KnownKey| *known.owner == *owner;
        let known = self.keys.with_id(owner).filter(is_it).or_else(|| self.keys.values().find(is_it))?;
        known.expires_at_ms.is_none_or(|expires| expires > now_ms()).then_some(known.roles)
    }

    /// The owners of answers stored with these keys.
    pub fn owners(&self) -> impl Iterator<Item = Arc<str>> {
        self.keys.values().map(|known| known.owner.clone())
    }

    /// The project of a key, and the key's own rules; none if the key has no policy.
    pub fn rules_of_key(&self, id: &str) -> Option<(&str, &[Rule])> {
        let known = self.keys.with_id(id)?;
        Some((&known.project_id, &known.own.as_ref()?.rules))
    }

    /// The projects and keys with rules, here and in the database. A key is found twice while both of its
    /// secrets are valid.
    pub fn owners_of_rules<'a>(&'a self, stored: &'a Self) -> impl Iterator<Item = RuleOwner<'a>> {
        let of_database = stored.projects.iter().filter(|(id, _)| !self.projects.contains_key(*id));
        let projects = self.projects.iter().chain(of_database).map(|(_, project)| RuleOwner {
            project,
            key: None,
            rules: &project.terms.rules,
        });
        let keys = self.keys.values().chain(stored.keys.values()).filter_map(|known| {
            let (id, own) = (&known.project_id, known.own.as_deref()?);
            let project = self.projects.get(id).or_else(|| stored.projects.get(id))?;
            Some(RuleOwner { project, key: Some(&known.key_id), rules: &own.rules })
        });
        projects.chain(keys)
    }

    /// The projects, by their ids.
    pub fn projects(&self) -> &HashMap<Arc<str>, Arc<Project>> {
        &self.projects
    }
}

/// The caller with a key; none for an unknown one. Projects of the configuration take precedence over those
/// of the database.
fn caller(fixed: &Keys, stored: &Keys, hash: &[u8; 32]) -> Option<Result<Caller, Error>> {
    let known = fixed.keys.get(hash).or_else(|| stored.keys.get(hash))?;
    if known.expires_at_ms.is_some_and(|expires| expires <= now_ms()) {
        return Some(Err(Error::caller(ErrorKind::Authentication, "The API key has expired.")));
    }
    let declared = if fixed.projects.is_empty() { None } else { fixed.projects.get(&known.project_id) };
    let project = declared.or(known.project.as_ref()).or_else(|| stored.projects.get(&known.project_id));
    Some(match project {
        Some(project) if !project.is_disabled => Ok(Caller {
            key_id: known.key_id.clone(),
            owner: known.owner.clone(),
            admin: known.roles.has(Role::Admin),
            roles: known.roles,
            project: project.clone(),
            own: known.own.clone(),
        }),
        other => {
            let what = if other.is_some() { "is disabled" } else { "does not exist any more" };
            let message = format!("The project {:?} of this API key {what}.", known.project_id);
            Err(Error::caller(ErrorKind::Permission, message))
        }
    })
}

fn read_policy(json: &str) -> (Policy, bool) {
    if json == "{}" {
        return (Policy::default(), true);
    }
    serde_json::from_str(json).map_or_else(|_| (Policy::default(), false), |policy| (policy, true))
}

/// An identifier for a key that reveals nothing about it.
fn owner(hash: &[u8; 32]) -> Arc<str> {
    let mut name = "static:".to_owned();
    for byte in &hash[..16] {
        name.push_str(&format!("{byte:02x}"));
    }
    name.into()
}
