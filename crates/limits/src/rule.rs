//! Rules: a policy's budgets and limits, each with its account.

use std::sync::Arc;

use canon::Pico;

use crate::policy::{OnExhausted, Period};
use crate::{Pattern, Window};

/// An account of a [`Book`](crate::Book).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(pub(crate) u32);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The project, for all of its keys together.
    Project,
    Key(Arc<str>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Quantity {
    Money {
        ceiling: Pico,
        per: Window,
        on_exhausted: OnExhausted,
    },
    Requests(u64, Period),
    Tokens(u64, Period),
    /// Requests at a time.
    Concurrent(u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub(crate) account: AccountId,
    pub scope: Scope,
    pub quantity: Quantity,
    /// Limits the rule to these models.
    pub model: Option<Pattern>,
}

impl Rule {
    /// Whether it counts requests for a model with these names.
    pub fn applies_to<'a>(&self, mut names: impl Iterator<Item = &'a str>) -> bool {
        match &self.model {
            None => true,
            Some(pattern) => names.any(|name| pattern.matches(name)),
        }
    }

    pub fn account(&self) -> AccountId {
        self.account
    }

    /// The rule as its owner wrote it: `250 USD per month`, `600 requests per minute`, `40 concurrent requests`.
    pub fn words(&self) -> String {
        let mut words = match &self.quantity {
            Quantity::Money { ceiling, per: Window::Total, .. } => format!("{ceiling} USD in total"),
            Quantity::Money { ceiling, per, .. } => format!("{ceiling} USD per {}", per.as_str()),
            Quantity::Requests(most, per) => format!("{most} requests per {}", per.as_str()),
            Quantity::Tokens(most, per) => format!("{most} tokens per {}", per.as_str()),
            Quantity::Concurrent(most) => format!("{most} concurrent requests"),
        };
        if let Some(model) = &self.model {
            words += &format!(" for {:?}", model.as_str());
        }
        words
    }

    /// `the project's` or `the key's`.
    pub fn owner(&self) -> &'static str {
        match self.scope {
            Scope::Project => "the project's",
            Scope::Key(_) => "the key's",
        }
    }
}
