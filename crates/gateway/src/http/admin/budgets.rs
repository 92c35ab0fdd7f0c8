//! The budgets and limits of projects and keys, with the counts of this node.

use limits::{Quantity, Rule};
use serde_json::{Value, json};

use super::{AdminRequest, Answer, page};
use crate::clock::now_ms;
use crate::identity::Project;

/// A rule, and the place of it in the list.
struct Placed<'a> {
    /// Project, key and number of the rule: also the cursor.
    id: String,
    project: &'a Project,
    key: Option<&'a str>,
    rule: &'a Rule,
}

impl AdminRequest<'_> {
    /// The rules of all projects and keys; with `project` or `key` only theirs.
    pub(super) async fn budgets(&self) -> Answer {
        let (project, key) = (self.parameter("project"), self.parameter("key"));
        let (after, limit) = (self.parameter("after").unwrap_or_default(), self.limit()?);
        let stored = self.api.auth.stored();
        let mut rules = Vec::new();
        for owner in self.snapshot.keys.owners_of_rules(&stored.keys) {
            let is_asked = project.as_deref().is_none_or(|id| id == &*owner.project.id)
                && (key.is_none() || key.as_deref() == owner.key);
            let rules_of = if is_asked { owner.rules } else { &[] };
            rules.extend(rules_of.iter().enumerate().map(|(number, rule)| Placed {
                id: format!("{}/{}/{number:02}", owner.project.id, owner.key.unwrap_or_default()),
                project: owner.project,
                key: owner.key,
                rule,
            }));
        }
        rules.retain(|placed| placed.id > after);
        rules.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        rules.dedup_by(|one, other| one.id == other.id);
        rules.truncate(limit as usize + 1);
        let objects = rules.iter().map(object).collect();
        Ok(page(objects, limit, |row| row["id"].as_str().unwrap_or_default().to_owned()))
    }
}

fn object(placed: &Placed<'_>) -> Value {
    let Placed { id, project, key, rule } = placed;
    let mut object =
        json!({"object": "rule", "id": id, "project": *project.id, "key": key, "rule": rule.words()});
    let mut book = project.book.lock();
    match &rule.quantity {
        Quantity::Money { ceiling, per, .. } => {
            let (spent, reserved) = book.spent(rule.account(), now_ms()).unwrap_or_default();
            object["usd"] = ceiling.to_string().into();
            object["per"] = per.as_str().into();
            object["spent_usd"] = spent.to_string().into();
            object["reserved_usd"] = reserved.to_string().into();
        }
        Quantity::Concurrent(most) => {
            object["concurrent"] = (*most).into();
            object["under_way"] = book.held(rule.account()).into();
        }
        Quantity::Requests(most, per) => {
            let left = book.left(std::iter::once(*rule), now_ms()).requests;
            object["requests"] = (*most).into();
            object["per"] = per.as_str().into();
            object["remaining"] = left.map(|figure| figure.remaining).into();
        }
        Quantity::Tokens(most, per) => {
            let left = book.left(std::iter::once(*rule), now_ms()).tokens;
            object["tokens"] = (*most).into();
            object["per"] = per.as_str().into();
            object["remaining"] = left.map(|figure| figure.remaining).into();
        }
    }
    object
}
