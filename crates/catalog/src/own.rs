//! Models that an operator describes in the configuration, merged over the provider's models in the catalog.

use std::collections::HashMap;
use std::sync::Arc;

use canon::Operations;
use toml::{Table, Value};

use crate::index::Catalog;
use crate::load::described;
use crate::names::nearest;
use crate::read::{Fields, Mistake};
use crate::{ModelRow, Serving};

/// The position of a provider's model in the catalog.
struct CatalogPosition {
    model: String,
    /// In `by_own_id`, and not in `servings`.
    by_own_id: bool,
    index: usize,
    /// The name is one of the entry's further ids.
    is_further: bool,
}

impl Catalog {
    /// Describes models of a provider: price, context, features and all other facts that a catalog file can
    /// have. A field that an entry does not set keeps the catalog's value. A model that is new to the
    /// provider takes its facts from the catalog's model with this name, or from the one that `model` names;
    /// its price is unknown.
    ///
    /// The path of each mistake begins with `place`.
    pub fn describe(&mut self, provider: &str, models: &Table, place: &str) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        for (id, value) in models {
            let path = format!("{place}.{id}");
            match value {
                Value::Table(table) => {
                    let fields = Fields::of_table(path, table.clone(), &mut mistakes);
                    self.describe_one(provider, id, fields);
                }
                _ => {
                    let message = "must be a table with what is known of the model".to_owned();
                    mistakes.push(Mistake { file: String::new(), path, message });
                }
            }
        }
        self.rebuild(&HashMap::new(), &mut Vec::new());
        mistakes
    }

    fn describe_one(&mut self, provider: &str, id: &str, mut fields: Fields<'_>) {
        let model = fields.text("model");
        if let Some(place) = self.place(provider, id) {
            if model.is_some() {
                fields
                    .mistake("model", format!("has no effect: the catalog knows this as {:?}", place.model));
            }
            return self.describe_known(&place, id, fields);
        }
        let row = self.same_model(model.as_deref().unwrap_or(id)).cloned();
        if let (Some(model), None) = (&model, &row) {
            let near = nearest(model, self.models.keys().map(String::as_str), 1);
            let hint = near.first().map_or(String::new(), |near| format!("; did you mean {near:?}?"));
            fields.mistake("model", format!("the catalog has no model {model:?}{hint}"));
        }
        let elsewhere = row.as_ref().and_then(|row| row.servings.first());
        let base = Serving {
            provider: provider.to_owned(),
            model: row.as_ref().map_or_else(|| id.to_owned(), |row| row.id.clone()),
            upstream_id: id.to_owned(),
            also: Vec::new(),
            facts: elsewhere.map(|elsewhere| elsewhere.facts.clone()).unwrap_or_default(),
            operations: elsewhere.map_or(Operations::CHAT, |elsewhere| elsewhere.operations),
            endpoint: elsewhere.and_then(|elsewhere| elsewhere.endpoint.clone()),
            price: None,
            deprecated: None,
            free: false,
        };
        let serving = Arc::new(described(fields, base));
        let row = self.models.entry(serving.model.clone()).or_insert_with(|| Arc::new(new_row(id)));
        let row = Arc::make_mut(row);
        if row.servings.iter().any(|other| other.provider == provider) {
            row.by_own_id.push(serving)
        } else {
            row.servings.push(serving)
        }
    }

    fn describe_known(&mut self, place: &CatalogPosition, id: &str, fields: Fields<'_>) {
        let Some(row) = self.models.get_mut(&place.model) else { return };
        let row = Arc::make_mut(row);
        let entries = if place.by_own_id { &mut row.by_own_id } else { &mut row.servings };
        let entry = &mut entries[place.index];
        if !place.is_further {
            *entry = Arc::new(described(fields, Serving::clone(entry)));
            return;
        }
        Arc::make_mut(entry).also.retain(|also| also != id);
        let base = Serving { upstream_id: id.to_owned(), also: Vec::new(), ..Serving::clone(entry) };
        row.by_own_id.push(Arc::new(described(fields, base)));
    }

    /// The provider's entry with this name: by its own id, else by the model's, else by a further id.
    fn place(&self, provider: &str, id: &str) -> Option<CatalogPosition> {
        let rank = |row: &ModelRow, by_own_id: bool, serving: &Serving| {
            let ranks = [
                serving.upstream_id == id,
                !by_own_id && (row.id == id || row.aliases.iter().any(|alias| alias == id)),
                serving.also.iter().any(|also| also == id),
            ];
            ranks.into_iter().position(|is_so| is_so)
        };
        let mut best: Option<(usize, CatalogPosition)> = None;
        for row in self.models.values() {
            for (by_own_id, entries) in [(false, &row.servings), (true, &row.by_own_id)] {
                for (index, serving) in entries.iter().enumerate().filter(|(_, it)| it.provider == provider) {
                    let Some(rank) = rank(row, by_own_id, serving) else { continue };
                    if best.as_ref().is_none_or(|(before, _)| rank < *before) {
                        let place = CatalogPosition {
                            model: row.id.clone(),
                            by_own_id,
                            index,
                            is_further: rank == 2,
                        };
                        best = Some((rank, place));
                    }
                }
            }
        }
        best.map(|(_, place)| place)
    }

    /// The model of this id or alias.
    fn same_model(&self, name: &str) -> Option<&Arc<ModelRow>> {
        let by_alias = |row: &&Arc<ModelRow>| row.aliases.iter().any(|alias| alias == name);
        self.models.get(name).or_else(|| self.models.values().find(by_alias))
    }
}

fn new_row(id: &str) -> ModelRow {
    ModelRow {
        id: id.to_owned(),
        name: id.to_owned(),
        family: "own".to_owned(),
        aliases: Vec::new(),
        released: None,
        servings: Vec::new(),
        by_own_id: Vec::new(),
    }
}
