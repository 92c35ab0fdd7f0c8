//! Edits model files and preserves what people wrote in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, Value, value};

use super::facts::{Facts, ModelId, Packages, Rates};
use super::plan::{Addition, Plan};

pub struct Files {
    folder: PathBuf,
    documents: BTreeMap<String, DocumentMut>,
}

impl Files {
    pub fn open(folder: &Path) -> Result<Self> {
        let mut documents = BTreeMap::new();
        for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let text = std::fs::read_to_string(&path)?;
                let document = text.parse().with_context(|| format!("{} is no TOML", path.display()))?;
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                documents.insert(name, document);
            }
        }
        Ok(Self { folder: folder.to_owned(), documents })
    }

    pub fn save(&self) -> Result<()> {
        for (name, document) in &self.documents {
            std::fs::write(self.folder.join(format!("{name}.toml")), document.to_string())?;
        }
        Ok(())
    }

    /// Adds the plan's missing models and providers, still without facts.
    pub fn add_missing(&mut self, plan: &Plan) -> Result<()> {
        for addition in &plan.add {
            let document = self.documents.entry(addition.file.clone()).or_insert_with(|| {
                let mut document = DocumentMut::new();
                document["family"] = value(&addition.file);
                document
            });
            let models = document.entry("models").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
            let models = models.as_array_of_tables_mut().context("`models` is no list of tables")?;
            add_model(models, addition);
        }
        Ok(())
    }

    /// Every provider and own id that the files mention.
    pub fn wanted(&self, plan: &Plan) -> Vec<ModelId> {
        let mut wanted = Vec::new();
        for model in self.documents.values().filter_map(models).flatten() {
            let id = text(model, "id");
            for mapping in providers(model) {
                let provider = text(mapping, "provider").to_owned();
                if plan.providers.contains_key(&provider) {
                    wanted.push((provider, own_id(mapping, id).to_owned()));
                }
            }
        }
        wanted
    }

    /// Updates prices and limits and reports the changes.
    pub fn update(&mut self, plan: &Plan, packages: &Packages) -> Vec<String> {
        let mut changes = Vec::new();
        for document in self.documents.values_mut() {
            let Some(models) = document.get_mut("models").and_then(Item::as_array_of_tables_mut) else {
                continue;
            };
            for model in models.iter_mut() {
                update_model(model, plan, packages, &mut changes);
            }
        }
        changes
    }
}

fn add_model(models: &mut ArrayOfTables, addition: &Addition) {
    let place = models.iter().position(|model| text(model, "id") == addition.model);
    let place = place.unwrap_or_else(|| {
        let mut model = Table::new();
        model["id"] = value(&addition.model);
        model["name"] = value(&addition.name);
        model["providers"] = Item::ArrayOfTables(ArrayOfTables::new());
        models.push(model);
        models.len() - 1
    });
    let Some(model) = models.get_mut(place) else { return };
    for entry in &addition.on {
        let (provider, id) = entry.split_once('=').unwrap_or((entry, &addition.model));
        let known = providers(model)
            .any(|mapping| text(mapping, "provider") == provider && own_id(mapping, &addition.model) == id);
        let list = model.get_mut("providers").and_then(Item::as_array_of_tables_mut);
        if let (false, Some(list)) = (known, list) {
            let mut mapping = Table::new();
            mapping["provider"] = value(provider);
            if id != addition.model {
                mapping["id"] = value(id);
            }
            list.push(mapping);
        }
    }
}

fn update_model(model: &mut Table, plan: &Plan, packages: &Packages, changes: &mut Vec<String>) {
    let id = text(model, "id").to_owned();
    let mut defaults = Limits::of(model);
    if let Some(first) = first_facts(model, packages, plan) {
        let maker =
            model["providers"].get(0).map(|it| it["provider"].as_str().unwrap_or_default().to_owned());
        let label = format!("{} of {id}", maker.unwrap_or_default());
        let wanted = Limits {
            context: first.context.or(defaults.context),
            output: first.max_output.or(defaults.output),
        };
        wanted.write(&defaults, model, &label, changes);
        defaults = wanted;
        if !model.contains_key("features") {
            model["features"] = feature_list(&first.features);
        }
    }
    let Some(list) = model.get_mut("providers").and_then(Item::as_array_of_tables_mut) else { return };
    for (index, mapping) in list.iter_mut().enumerate() {
        let provider = text(mapping, "provider").to_owned();
        let own = own_id(mapping, &id).to_owned();
        if !plan.providers.contains_key(&provider) || plan.keeps(&provider, &own) {
            continue;
        }
        let label = format!("{provider}/{own}");
        let Some(facts) = packages.get(&provider, &own) else {
            changes.push(format!("? {label}: no longer in either package"));
            continue;
        };
        if index > 0 {
            let before = Limits::of(mapping);
            let wanted = Limits {
                context: facts.context.filter(|it| Some(*it) != defaults.context),
                output: facts.max_output.filter(|it| Some(*it) != defaults.output),
            };
            wanted.write(&before, mapping, &label, changes);
        }
        update_price(mapping, facts, &label, changes);
        update_end(mapping, facts, &label, changes);
    }
}

fn update_end(mapping: &mut Table, facts: &Facts, label: &str, changes: &mut Vec<String>) {
    let Some(date) = &facts.deprecated else { return };
    let before = text(mapping, "deprecated");
    if before != date {
        changes.push(format!("  {label}: deprecated {before} -> {date}"));
        mapping["deprecated"] = value(date);
    }
}

fn first_facts<'a>(model: &Table, packages: &'a Packages, plan: &Plan) -> Option<&'a Facts> {
    let first = providers(model).next()?;
    let (provider, id) = (text(first, "provider"), own_id(first, text(model, "id")));
    packages.get(provider, id).filter(|_| !plan.keeps(provider, id))
}

struct Limits {
    context: Option<u64>,
    output: Option<u64>,
}

impl Limits {
    fn of(table: &Table) -> Self {
        let number = |key| table.get(key).and_then(Item::as_integer).and_then(|it| u64::try_from(it).ok());
        Self { context: number("context_tokens"), output: number("max_output_tokens") }
    }

    fn write(&self, before: &Self, table: &mut Table, label: &str, changes: &mut Vec<String>) {
        let pairs = [
            ("context_tokens", before.context, self.context),
            ("max_output_tokens", before.output, self.output),
        ];
        for (key, before, now) in pairs {
            match now {
                _ if before == now => {}
                Some(now) => {
                    let was = before.map_or("-".to_owned(), |before| before.to_string());
                    changes.push(format!("  {label}: {key} {was} -> {now}"));
                    table[key] = value(i64::try_from(now).unwrap_or(i64::MAX));
                }
                None => {
                    changes.push(format!("  {label}: {key} as everywhere"));
                    table.remove(key);
                }
            }
        }
    }
}

fn update_price(mapping: &mut Table, facts: &Facts, label: &str, changes: &mut Vec<String>) {
    if let Some(doubt) = &facts.doubt {
        changes.push(format!("? {label}: {doubt}"));
    }
    let is_free = price_is_zero(&facts.rates);
    if is_free || mapping.get("free").is_some() {
        if !is_free || mapping.get("free").is_none() {
            changes.push(format!("? {label}: free in one place only; decide by hand"));
        }
        return;
    }
    let Some(price) = price(facts) else { return };
    let now = price.to_string();
    let before = mapping.get("price").map(|price| price.to_string().trim().to_owned()).unwrap_or_default();
    if before != now.trim() {
        let sign = if before.is_empty() { "+" } else { " " };
        changes.push(format!("{sign} {label}: {before} -> {}", now.trim()));
        mapping["price"] = value(price);
    }
}

fn price_is_zero(rates: &Rates) -> bool {
    !rates.is_empty() && rates.values().all(|price| price == "0")
}

fn price(facts: &Facts) -> Option<InlineTable> {
    if !facts.rates.contains_key("input") || !facts.rates.contains_key("output") {
        return None;
    }
    let mut price = rates_table(&facts.rates);
    for (key, amount) in [("request", &facts.request), ("web_search", &facts.web_search)] {
        if let Some(amount) = amount {
            price.insert(key, amount.as_str().into());
        }
    }
    insert_tiers(&mut price, &facts.tiers);
    let mut service_tiers = InlineTable::new();
    for (name, (rates, tiers)) in &facts.service_tiers {
        let mut tier = rates_table(rates);
        insert_tiers(&mut tier, tiers);
        service_tiers.insert(*name, tier.into());
    }
    if !service_tiers.is_empty() {
        price.insert("service_tiers", service_tiers.into());
    }
    Some(price)
}

fn insert_tiers(price: &mut InlineTable, tiers: &BTreeMap<u64, Rates>) {
    let mut list = Array::new();
    for (length, rates) in tiers {
        let mut tier = InlineTable::new();
        tier.insert("above_prompt_tokens", i64::try_from(*length).unwrap_or(i64::MAX).into());
        for (key, amount) in rates_table(rates) {
            tier.insert(key, amount);
        }
        list.push(tier);
    }
    if !list.is_empty() {
        price.insert("tiers", list.into());
    }
}

const ORDER: [&str; 8] = [
    "input",
    "output",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "audio_input",
    "audio_output",
    "image_output",
];

fn rates_table(rates: &Rates) -> InlineTable {
    let mut table = InlineTable::new();
    for name in ORDER {
        if let Some(amount) = rates.get(name) {
            table.insert(name, Value::from(amount.as_str()));
        }
    }
    table
}

fn feature_list(features: &[&str]) -> Item {
    value(features.iter().copied().collect::<Array>())
}

fn models(document: &DocumentMut) -> Option<impl Iterator<Item = &Table>> {
    Some(document.get("models")?.as_array_of_tables()?.iter())
}

fn providers(model: &Table) -> impl Iterator<Item = &Table> {
    model.get("providers").and_then(Item::as_array_of_tables).into_iter().flat_map(|list| list.iter())
}

fn text<'a>(table: &'a Table, key: &str) -> &'a str {
    table.get(key).and_then(Item::as_str).unwrap_or_default()
}

fn own_id<'a>(mapping: &'a Table, model: &'a str) -> &'a str {
    match text(mapping, "id") {
        "" => model,
        id => id,
    }
}
