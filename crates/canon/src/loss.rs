//! Fields that a translation could not carry. None is dropped silently.

use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::Field;

/// The number of losses that are listed individually. Callers decide how many unknown fields a request has,
/// and a longer list would have no use. Together with the entry for all further losses there are 128, the
/// capacity of a list that doubles.
const MOST: usize = 127;
/// From this number on, entries are found by hash.
const FEW: usize = 16;
/// The field of the entry that represents all further losses.
const FURTHER: Field = Field::Verbatim(Cow::Borrowed("*"));

/// How the gateway treated a request field that the provider cannot take as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LossAction {
    /// Not sent at all.
    Dropped,
    /// Sent as the nearest equivalent that the provider has.
    Approximated,
    /// Achieved by other means, such as a forced tool for a JSON schema.
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

/// A field that a translation could not carry as requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The request field.
    pub field: Field,
    /// How it was treated.
    pub action: LossAction,
    /// Why, in a short sentence.
    pub reason: Cow<'static, str>,
}

/// The losses of one translation, in order of occurrence; each field is listed once. Beyond [`MOST`] a last
/// entry with the field `*` counts the further ones.
#[derive(Clone, Debug, Default)]
pub struct Losses {
    list: Vec<Loss>,
    /// Boxed because it is rare: most translations lose nothing.
    many: Option<Box<Many>>,
}

/// An index that finds entries of a long list without a search.
#[derive(Clone, Debug, Default)]
struct Many {
    /// Hashes, because a field needs several times the memory.
    listed: HashSet<u64>,
    further: usize,
}

fn hash_of(field: &Field, action: LossAction) -> u64 {
    let mut hasher = DefaultHasher::new();
    (field, action).hash(&mut hasher);
    hasher.finish()
}

impl Losses {
    /// Nothing lost.
    pub const fn new() -> Self {
        Self { list: Vec::new(), many: None }
    }

    /// Records that `field` was not sent.
    pub fn dropped(&mut self, field: impl Into<Field>, reason: impl Into<Cow<'static, str>>) {
        self.add(field.into(), LossAction::Dropped, reason.into());
    }

    /// Records that `field` was sent as its nearest equivalent.
    pub fn approximated(&mut self, field: impl Into<Field>, reason: impl Into<Cow<'static, str>>) {
        self.add(field.into(), LossAction::Approximated, reason.into());
    }

    /// Records that `field` was served by other means.
    pub fn emulated(&mut self, field: impl Into<Field>, reason: impl Into<Cow<'static, str>>) {
        self.add(field.into(), LossAction::Emulated, reason.into());
    }

    fn add(&mut self, field: Field, action: LossAction, reason: Cow<'static, str>) {
        if self.list.len() < FEW {
            if !self.list.iter().any(|loss| loss.field == field && loss.action == action) {
                self.list.push(Loss { field, action, reason });
            }
            return;
        }
        let many = self.many.get_or_insert_with(|| {
            let listed = self.list.iter().map(|loss| hash_of(&loss.field, loss.action)).collect();
            Box::new(Many { listed, further: 0 })
        });
        let hash = hash_of(&field, action);
        if field == FURTHER || many.listed.contains(&hash) {
            return;
        }
        if self.list.len() < MOST {
            many.listed.insert(hash);
            self.list.push(Loss { field, action, reason });
            return;
        }
        many.further += 1;
        let reason = format!("{} further losses are not listed one by one.", many.further);
        self.list.truncate(MOST);
        self.list.push(Loss { field: FURTHER, action, reason: reason.into() });
    }

    /// True when everything was carried.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Every loss, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Loss> {
        self.list.iter()
    }

    /// The same losses with the names that `name_of` gives to their fields. Each name is listed once.
    pub fn named(&self, name_of: impl Fn(&Field) -> Cow<'static, str>) -> Self {
        let mut named = Self::new();
        for loss in &self.list {
            named.add(Field::Verbatim(name_of(&loss.field)), loss.action, loss.reason.clone());
        }
        named
    }

    /// The same losses of other fields.
    pub fn with_fields(self, change: impl Fn(Field) -> Field) -> Self {
        let mut changed = Self::new();
        for loss in self.list {
            changed.add(change(loss.field), loss.action, loss.reason);
        }
        changed
    }

    /// Appends the losses of another step.
    pub fn extend(&mut self, other: Losses) {
        for loss in other.list {
            self.add(loss.field, loss.action, loss.reason);
        }
    }
}

/// By the stable name of the field.
impl Serialize for Loss {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Loss", 3)?;
        object.serialize_field("field", &self.field.name())?;
        object.serialize_field("action", &self.action)?;
        object.serialize_field("reason", &self.reason)?;
        object.end()
    }
}

impl PartialEq for Losses {
    fn eq(&self, other: &Self) -> bool {
        self.list == other.list
    }
}

impl Eq for Losses {}

impl Serialize for Losses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.list.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_loss_is_listed_once_and_too_many_are_counted() {
        let mut losses = Losses::new();
        for _ in 0..2 {
            for index in 0..MOST {
                losses.dropped(format!("messages[{index}].x"), "r");
            }
            assert_eq!(losses.len(), MOST);
        }
        losses.approximated("messages[0].x", "r");
        assert_eq!(losses.len(), MOST + 1);
        losses.dropped("seed", "r");
        let last = losses.iter().last().unwrap();
        assert_eq!((losses.len(), &last.field), (MOST + 1, &FURTHER));
        assert!(last.reason.starts_with("2 further"), "{}", last.reason);
    }
}
