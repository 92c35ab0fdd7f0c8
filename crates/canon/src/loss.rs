//! What a translation could not carry: never dropped in silence.

use std::borrow::Cow;

use serde::Serialize;

/// How a request field was treated that the provider cannot take as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LossAction {
    /// Not sent at all.
    Dropped,
    /// Sent as the nearest thing that the provider has.
    Approximated,
    /// Reached by other means, such as a forced tool for a JSON schema.
    Emulated,
}

impl LossAction {
    /// The name in JSON and in metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::Approximated => "approximated",
            Self::Emulated => "emulated",
        }
    }
}

/// One thing that a translation could not carry as asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// The request field, as a JSON path: `seed`, `messages[2].name`.
    pub field: Cow<'static, str>,
    /// What was done instead.
    pub action: LossAction,
    /// Why, in a short sentence.
    pub reason: Cow<'static, str>,
}

/// The losses of one translation, in the order in which they were met; each field is listed once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Losses(Vec<Loss>);

impl Losses {
    /// Nothing lost.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Records that `field` was not sent.
    pub fn dropped(&mut self, field: impl Into<Cow<'static, str>>, reason: impl Into<Cow<'static, str>>) {
        self.add(field.into(), LossAction::Dropped, reason.into());
    }

    /// Records that `field` was sent as something near to it.
    pub fn approximated(
        &mut self,
        field: impl Into<Cow<'static, str>>,
        reason: impl Into<Cow<'static, str>>,
    ) {
        self.add(field.into(), LossAction::Approximated, reason.into());
    }

    /// Records that `field` was served by other means.
    pub fn emulated(&mut self, field: impl Into<Cow<'static, str>>, reason: impl Into<Cow<'static, str>>) {
        self.add(field.into(), LossAction::Emulated, reason.into());
    }

    fn add(&mut self, field: Cow<'static, str>, action: LossAction, reason: Cow<'static, str>) {
        if !self.0.iter().any(|loss| loss.field == field && loss.action == action) {
            self.0.push(Loss { field, action, reason });
        }
    }

    /// True when everything was carried.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Every loss, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Loss> {
        self.0.iter()
    }

    /// Appends the losses of another step.
    pub fn extend(&mut self, other: Losses) {
        for loss in other.0 {
            self.add(loss.field, loss.action, loss.reason);
        }
    }
}
