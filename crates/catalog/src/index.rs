//! The catalog: its rows and the tables that find them by name.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use canon::Operation;
use include_dir::{Dir, include_dir};
use wire::Protocol;

use crate::load::{Rows, read_file};
use crate::names::{nearest, stem};
use crate::read::Mistake;
use crate::{CatalogErrors, ModelRow, ProviderRow, Serving};

static PROVIDERS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../catalog/providers");
static MODELS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../catalog/models");

/// All providers and models. Immutable after loading; share it in an `Arc`.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    providers: BTreeMap<String, Arc<ProviderRow>>,
    pub(crate) models: BTreeMap<String, Arc<ModelRow>>,
    names: HashMap<String, Arc<ModelRow>>,
    servings: HashMap<String, HashMap<String, Arc<Serving>>>,
    stems: HashMap<Protocol, HashMap<String, Arc<Serving>>>,
    /// Providers whose models are listed in catalog files.
    listed: HashSet<String>,
}

impl Catalog {
    /// The files of `/catalog`, compiled into the binary.
    pub fn embedded() -> Result<Self, CatalogErrors> {
        let folders = [("catalog/providers", &PROVIDERS), ("catalog/models", &MODELS)];
        Self::parse(folders.into_iter().flat_map(|(folder, files)| {
            files.files().filter(|file| is_toml(file.path())).map(move |file| {
                let name = file.path().to_string_lossy();
                (format!("{folder}/{name}"), file.contents_utf8().unwrap_or("not UTF-8").to_owned())
            })
        }))
    }

    /// Reads files, given as path and text. Each lives in a folder `providers` or `models`.
    pub fn parse(files: impl Iterator<Item = (String, String)>) -> Result<Self, CatalogErrors> {
        Self::default().overlay(files)
    }

    /// Lays further files over this catalog: a provider or model with a known id replaces it as a whole.
    pub fn overlay(mut self, files: impl Iterator<Item = (String, String)>) -> Result<Self, CatalogErrors> {
        let mut mistakes = Vec::new();
        let mut rows = Rows::default();
        for (path, text) in files {
            read_file(&path, &text, &mut rows, &mut mistakes);
        }
        let origin = self.take_rows(rows, &mut mistakes);
        self.rebuild(&origin, &mut mistakes);
        self.listed = self.servings.keys().cloned().collect();
        if mistakes.is_empty() { Ok(self) } else { Err(CatalogErrors(mistakes)) }
    }

    pub fn provider(&self, id: &str) -> Option<&Arc<ProviderRow>> {
        self.providers.get(id)
    }

    /// All providers in the order of their ids.
    pub fn providers(&self) -> impl Iterator<Item = &Arc<ProviderRow>> {
        self.providers.values()
    }

    /// Adds an operator's own provider, or replaces a known one. The models of a replaced provider stay.
    pub fn add_provider(&mut self, row: ProviderRow) {
        let row = Arc::new(row);
        let before = self.providers.insert(row.id.clone(), Arc::clone(&row));
        if before.is_some_and(|before| (before.protocol, before.lacks) != (row.protocol, row.lacks)) {
            self.rebuild(&HashMap::new(), &mut Vec::new());
        }
    }

    /// A model by its id or an alias. With a snapshot or a provider's own id (`gpt-4o-2024-08-06`), the model
    /// has only the servings with exactly this id.
    pub fn model(&self, id_or_alias: &str) -> Option<&Arc<ModelRow>> {
        self.names.get(id_or_alias)
    }

    /// All models in the order of their ids.
    pub fn models(&self) -> impl Iterator<Item = &Arc<ModelRow>> {
        self.models.values()
    }

    /// How a provider serves a model, by the model's id, an alias, or one of the provider's own ids.
    pub fn serving(&self, provider: &str, model: &str) -> Option<&Arc<Serving>> {
        self.servings.get(provider)?.get(model)
    }

    /// Whether catalog files list models of this provider. Models that an operator describes do not count:
    /// the provider may have others.
    pub fn has_servings(&self, provider: &str) -> bool {
        self.listed.contains(provider)
    }

    /// The nearest known relative of an unknown id: the same id with another date, version, vendor prefix or
    /// `-latest`. Used for facts, never for prices.
    pub fn relative(&self, protocol: Protocol, model: &str) -> Option<&Arc<Serving>> {
        self.stems.get(&protocol)?.get(&stem(model))
    }

    /// Names of models and aliases that look like this one, best first.
    pub fn nearest_models(&self, name: &str, most: usize) -> Vec<&str> {
        let names = self
            .models
            .values()
            .flat_map(|model| std::iter::once(&model.id).chain(&model.aliases).map(String::as_str));
        nearest(name, names, most)
    }

    /// Ids of providers that look like this one, best first.
    pub fn nearest_providers(&self, name: &str, most: usize) -> Vec<&str> {
        nearest(name, self.providers.keys().map(String::as_str), most)
    }

    /// Takes the rows in and returns the file of each model.
    fn take_rows(&mut self, rows: Rows, mistakes: &mut Vec<Mistake>) -> HashMap<String, String> {
        let mut seen = HashSet::new();
        for (file, row) in rows.providers {
            if !row.id.is_empty() && !seen.insert(row.id.clone()) {
                mistakes.push(mistake(&file, "id", format!("{:?} is defined twice", row.id)));
            }
            self.providers.insert(row.id.clone(), Arc::new(row));
        }
        let mut origin = HashMap::new();
        for (file, row) in rows.models {
            if !row.id.is_empty() && origin.insert(row.id.clone(), file.clone()).is_some() {
                mistakes.push(mistake(&file, &row.id, "is defined twice"));
            }
            self.models.insert(row.id.clone(), Arc::new(row));
        }
        origin
    }

    pub(crate) fn rebuild(&mut self, origin: &HashMap<String, String>, mistakes: &mut Vec<Mistake>) {
        self.remove_what_providers_lack();
        let mut noted = |model: &ModelRow, message: String| {
            let file = origin.get(&model.id).map_or("catalog", String::as_str);
            mistakes.push(mistake(file, &model.id, message));
        };
        self.names = names(&self.models, &mut noted);
        self.servings = servings(&self.models, &mut noted);
        for model in self.models.values() {
            for serving in model.servings.iter().filter(|it| !self.providers.contains_key(&it.provider)) {
                let meant = self.nearest_providers(&serving.provider, 1);
                let hint = meant.first().map_or(String::new(), |id| format!("; did you mean `{id}`?"));
                noted(model, format!("provider {:?} is unknown{hint}", serving.provider));
            }
        }
        self.stems = stems(&self.models, &self.providers);
    }

    fn remove_what_providers_lack(&mut self) {
        for model in self.models.values_mut() {
            let lacking = |serving: &Arc<Serving>| {
                let lacks = self.providers.get(&serving.provider).map(|row| row.lacks).unwrap_or_default();
                let features = serving.facts.features?;
                let left = features.minus(lacks);
                (left != features).then_some(left)
            };
            if every_serving(model).all(|serving| lacking(serving).is_none()) {
                continue;
            }
            let model = Arc::make_mut(model);
            for serving in model.servings.iter_mut().chain(&mut model.by_own_id) {
                if let Some(left) = lacking(serving) {
                    Arc::make_mut(serving).facts.features = Some(left);
                }
            }
        }
    }
}

fn is_toml(path: &std::path::Path) -> bool {
    path.extension().is_some_and(|extension| extension == "toml")
}

fn mistake(file: &str, path: &str, message: impl Into<String>) -> Mistake {
    Mistake { file: file.to_owned(), path: path.to_owned(), message: message.into() }
}

type Models = BTreeMap<String, Arc<ModelRow>>;

/// Models by id, by alias and, where unambiguous, by the ids of their providers.
fn names(models: &Models, noted: &mut impl FnMut(&ModelRow, String)) -> HashMap<String, Arc<ModelRow>> {
    let mut names: HashMap<String, Arc<ModelRow>> =
        models.iter().map(|(id, model)| (id.clone(), Arc::clone(model))).collect();
    for model in models.values() {
        for alias in &model.aliases {
            if let Some(other) = names.insert(alias.clone(), Arc::clone(model)) {
                noted(model, format!("alias {alias:?} also names the model {:?}", other.id));
            }
        }
    }
    for (name, model) in own_names(models) {
        if let Some(model) = model {
            names.entry(name).or_insert_with(|| Arc::new(model));
        }
    }
    names
}

/// Providers' own names of models: one row for each name, with the servings that use it. None where providers
/// use the same name for different models.
fn own_names(models: &Models) -> HashMap<String, Option<ModelRow>> {
    let mut names: HashMap<String, Option<ModelRow>> = HashMap::new();
    for model in models.values() {
        for serving in every_serving(model) {
            for name in own_ids(serving) {
                let row = names.entry(name.clone()).or_insert_with(|| {
                    let (id, aliases) = (name.clone(), Vec::new());
                    let (servings, by_own_id) = (Vec::new(), Vec::new());
                    Some(ModelRow { id, aliases, servings, by_own_id, ..ModelRow::clone(model) })
                });
                match row {
                    Some(row) if row.servings.first().is_none_or(|first| first.model == model.id) => {
                        row.servings.push(called(serving, name));
                    }
                    _ => *row = None,
                }
            }
        }
    }
    names
}

fn every_serving(model: &ModelRow) -> impl Iterator<Item = &Arc<Serving>> {
    model.servings.iter().chain(&model.by_own_id)
}

fn own_ids(serving: &Serving) -> impl Iterator<Item = &String> {
    std::iter::once(&serving.upstream_id).chain(&serving.also)
}

/// The same serving with another of the provider's ids on the wire.
fn called(serving: &Arc<Serving>, upstream_id: &str) -> Arc<Serving> {
    if serving.upstream_id == upstream_id {
        Arc::clone(serving)
    } else {
        Arc::new(Serving { upstream_id: upstream_id.to_owned(), ..Serving::clone(serving) })
    }
}

fn servings(
    models: &Models,
    noted: &mut impl FnMut(&ModelRow, String),
) -> HashMap<String, HashMap<String, Arc<Serving>>> {
    let mut servings: HashMap<String, HashMap<String, Arc<Serving>>> = HashMap::new();
    for model in models.values() {
        for serving in every_serving(model) {
            let of_provider = servings.entry(serving.provider.clone()).or_default();
            for name in own_ids(serving) {
                let before = of_provider.insert(name.clone(), called(serving, name));
                if let Some(other) = before {
                    let message =
                        format!("id {name:?} of {} also belongs to {:?}", serving.provider, other.model);
                    noted(model, message);
                }
            }
        }
    }
    for model in models.values() {
        for serving in &model.servings {
            let of_provider = servings.entry(serving.provider.clone()).or_default();
            for name in std::iter::once(&model.id).chain(&model.aliases) {
                of_provider.entry(name.clone()).or_insert_with(|| Arc::clone(serving));
            }
        }
    }
    servings
}

/// Servings by the stem of each of their names. The first provider of a model represents it, and an exact
/// name takes precedence over a relative.
fn stems(
    models: &Models,
    providers: &BTreeMap<String, Arc<ProviderRow>>,
) -> HashMap<Protocol, HashMap<String, Arc<Serving>>> {
    let mut stems: HashMap<Protocol, HashMap<String, Arc<Serving>>> = HashMap::new();
    let is_exact = |model: &ModelRow| stem(&model.id) == model.id.replace(['.', '_'], "-");
    // Only facts about conversations are taken from relatives.
    let converses =
        |model: &&Arc<ModelRow>| model.servings.iter().any(|serving| serving.operations.has(Operation::Chat));
    let (exact, others): (Vec<_>, Vec<_>) =
        models.values().filter(converses).partition(|model| is_exact(model));
    let speakers: Vec<_> =
        exact.into_iter().chain(others).map(|model| (model, speakers(model, providers))).collect();
    for (model, speakers) in &speakers {
        for (protocol, speaker) in speakers {
            let known = stems.entry(*protocol).or_default();
            known.entry(stem(&model.id)).or_insert_with(|| Arc::clone(speaker));
        }
    }
    for (model, speakers) in &speakers {
        for serving in every_serving(model) {
            let Some(provider) = providers.get(&serving.provider) else { continue };
            let (Some(speaker), known) =
                (speakers.get(&provider.protocol), stems.entry(provider.protocol).or_default())
            else {
                continue;
            };
            for name in own_ids(serving).chain(&model.aliases) {
                known.entry(stem(name)).or_insert_with(|| Arc::clone(speaker));
            }
        }
    }
    stems
}

/// For each protocol, the first serving of a model with the features of all providers of that protocol: a
/// feature that one host lacks may exist elsewhere.
fn speakers(
    model: &ModelRow,
    providers: &BTreeMap<String, Arc<ProviderRow>>,
) -> HashMap<Protocol, Arc<Serving>> {
    let mut speakers: HashMap<Protocol, Serving> = HashMap::new();
    for serving in &model.servings {
        let Some(provider) = providers.get(&serving.provider) else { continue };
        let speaker = speakers.entry(provider.protocol).or_insert_with(|| Serving::clone(serving));
        let both = speaker.facts.features.zip(serving.facts.features);
        speaker.facts.features = both.map(|(left, right)| left.union(right));
    }
    speakers.into_iter().map(|(protocol, speaker)| (protocol, Arc::new(speaker))).collect()
}
