//! Warnings about projects of the configuration that cannot use any model.

use std::collections::BTreeMap;

use limits::{Scope, Unpriced};

use super::terms::{Offered, Terms};
use crate::admission::Book;
use crate::config::Settings;
use crate::config::file::Mistake;
use crate::config::settings::{ProjectSettings, ProviderSettings};

/// Likely mistakes in the policies of projects: a policy that allows no model, or a budget whose allowed
/// models all have an unknown price and are refused.
pub fn doubts(settings: &Settings) -> Vec<Mistake> {
    settings.projects.iter().filter_map(|project| doubt(settings, project)).collect()
}

fn doubt(settings: &Settings, project: &ProjectSettings) -> Option<Mistake> {
    let terms = Terms::new(&project.policy, &Scope::Project, &Book::default());
    let names_alias = settings.aliases.keys().any(|alias| terms.names(alias));
    if !terms.restricts || names_alias {
        return None;
    }
    let enabled = settings.providers.iter().filter(|provider| provider.disabled.is_none());
    let enabled: BTreeMap<&str, &ProviderSettings> =
        enabled.map(|provider| (provider.row.id.as_str(), provider)).collect();
    let servings = settings.catalog.models().flat_map(|model| model.servings.iter().chain(&model.by_own_id));
    let mut allowed = servings.filter(|it| {
        let Some(provider) = enabled.get(it.provider.as_str()) else { return false };
        let offered = Offered {
            provider,
            names: ["", &it.upstream_id, &it.model],
            price_unknown: it.price.is_none() && !it.free,
        };
        terms.refusal(&offered).is_none()
    });
    let path = |field: &str| format!("projects.{}.{field}", project.id);
    let counts_money = terms.has_budget() && terms.unpriced != Some(Unpriced::Allow);
    if counts_money || terms.unpriced == Some(Unpriced::Block) {
        let is_priced = allowed.any(|serving| serving.price.is_some() || serving.free);
        return (!is_priced).then(|| Mistake {
            path: path(if counts_money { "budgets" } else { "unpriced" }),
            message: "every request would be refused: no model of an enabled provider that the project may use has a \
                      known price; give prices in [providers.ID.models], or say unpriced = \"allow\""
                .to_owned(),
        });
    }
    // A provider without a list serves every model of its server.
    let has_open = enabled.iter().any(|(id, provider)| {
        !settings.catalog.has_servings(id) && terms.provider_refusal(provider, "").is_none()
    });
    if has_open || allowed.next().is_some() {
        return None;
    }
    let is_data_rule =
        |rule: &String| ["regions", "data_collection", "zdr"].iter().any(|it| rule.starts_with(it));
    let rules = enabled.values().map(|provider| terms.provider_refusal(provider, "").filter(is_data_rule));
    let message =
        "every request would be refused: the policy allows no model that an enabled provider serves";
    // One provider's rule is an example for all of them.
    let (field, message) = match rules.flatten().next() {
        Some(rule) => (rule.split(' ').next().unwrap_or("models").to_owned(), format!("{message} ({rule})")),
        None => ("models".to_owned(), message.to_owned()),
    };
    Some(Mistake { path: path(&field), message })
}
