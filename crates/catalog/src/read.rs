//! A strict reader of TOML tables that collects every mistake instead of stopping at the first.

use std::fmt;

use canon::Pico;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::names::nearest;
use crate::wording::{Form, plain};

/// An error in a catalog file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    pub file: String,
    /// The place in the file: `models[2].providers[0].price.input`. Empty for the file as a whole.
    pub path: String,
    /// The mistake and, where possible, the intended name.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "{}: {}", self.file, self.message)
        } else {
            write!(f, "{}: {}: {}", self.file, self.path, self.message)
        }
    }
}

/// All errors of the catalog files.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct CatalogErrors(pub Vec<Mistake>);

impl fmt::Display for CatalogErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{mistake}")?;
        }
        Ok(())
    }
}

/// A table that is being read. Every key has to be taken; [`finish`](Fields::finish) reports the others.
pub struct Fields<'a> {
    file: &'a str,
    path: String,
    table: Table,
    known: Vec<&'static str>,
    mistakes: &'a mut Vec<Mistake>,
}

impl<'a> Fields<'a> {
    /// A whole file. Text that is not TOML is a mistake.
    pub fn of_file(file: &'a str, text: &str, mistakes: &'a mut Vec<Mistake>) -> Option<Self> {
        match text.parse::<Table>() {
            Ok(table) => Some(Self { file, path: String::new(), table, known: Vec::new(), mistakes }),
            Err(error) => {
                let message = error.to_string().trim_end().to_owned();
                mistakes.push(Mistake { file: file.to_owned(), path: String::new(), message });
                None
            }
        }
    }

    /// A table from elsewhere, with the path for its mistakes.
    pub fn of_table(path: String, table: Table, mistakes: &'a mut Vec<Mistake>) -> Self {
        Self { file: "", path, table, known: Vec::new(), mistakes }
    }

    /// Reports the keys that were not taken.
    pub fn finish(mut self) {
        for key in std::mem::take(&mut self.table).keys() {
            let meant = nearest(key, self.known.iter().copied(), 1);
            let message = match meant.first() {
                Some(meant) => format!("unknown key; did you mean `{meant}`?"),
                None => format!("unknown key; known are {}", self.known.join(", ")),
            };
            self.mistake(key, message);
        }
    }

    /// Adds a mistake at a key of this table; an empty key means the table itself.
    pub fn mistake(&mut self, key: &str, message: impl Into<String>) {
        let path = self.below(key);
        self.mistakes.push(Mistake { file: self.file.to_owned(), path, message: message.into() });
    }

    /// True when the key exists and was not taken yet.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Text; a missing one is a mistake.
    pub fn required_text(&mut self, key: &'static str) -> String {
        match self.text(key) {
            Some(text) => text,
            None => {
                self.mistake(key, "is missing");
                String::new()
            }
        }
    }

    pub fn text(&mut self, key: &'static str) -> Option<String> {
        let text: String = self.typed(key)?;
        if text.trim().is_empty() {
            self.mistake(key, "must not be empty");
            return None;
        }
        Some(text)
    }

    /// A list of texts; empty when absent.
    pub fn texts(&mut self, key: &'static str) -> Vec<String> {
        self.typed(key).unwrap_or_default()
    }

    /// A date, `YYYY-MM-DD`.
    pub fn date(&mut self, key: &'static str) -> Option<String> {
        let text = self.text(key)?;
        let shape = |(index, byte): (usize, u8)| match index {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        };
        if text.len() != 10 || !text.bytes().enumerate().all(shape) {
            self.mistake(key, format!("{text:?} is not a date like \"2025-09-29\""));
            return None;
        }
        Some(text)
    }

    /// A price in USD per million tokens, as an amount per token.
    pub fn price(&mut self, key: &'static str) -> Option<Pico> {
        self.money(
            key,
            Pico::per_token,
            "is not a price: write USD per million tokens as a decimal string, \"0.15\"",
        )
    }

    /// An amount in USD.
    pub fn amount(&mut self, key: &'static str) -> Option<Pico> {
        self.money(key, str::parse, "is not an amount: write USD as a decimal string, \"0.01\"")
    }

    fn money<E>(
        &mut self,
        key: &'static str,
        read: impl Fn(&str) -> Result<Pico, E>,
        otherwise: &str,
    ) -> Option<Pico> {
        let value = self.take(key)?;
        let amount = value.as_str().and_then(|text| read(text).ok());
        if amount.is_none() {
            self.mistake(key, format!("{value} {otherwise}"));
        }
        amount
    }

    /// Any type that serde can read.
    pub fn typed<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<T> {
        let value = self.take(key)?;
        match value.try_into() {
            Ok(value) => Some(value),
            Err(error) => {
                self.mistake(key, plain(error.message().trim(), Form::Toml));
                None
            }
        }
    }

    /// A table of named entries; each is passed on by itself.
    pub fn named(&mut self, key: &'static str, mut each: impl FnMut(String, Value, &mut Fields<'_>)) {
        let Some(value) = self.take(key) else { return };
        let Value::Table(table) = value else {
            return self.mistake(key, "must be a table");
        };
        let mut inner = self.inner(key, Table::new());
        for (name, value) in table {
            each(name, value, &mut inner);
        }
    }

    /// A table inside this one.
    pub fn within<T>(&mut self, key: &'static str, read: impl FnOnce(Fields<'_>) -> T) -> Option<T> {
        match self.take(key)? {
            Value::Table(table) => Some(read(self.inner(key, table))),
            _ => {
                self.mistake(key, "must be a table");
                None
            }
        }
    }

    /// A list of tables inside this one.
    pub fn each<T>(&mut self, key: &'static str, mut read: impl FnMut(Fields<'_>) -> T) -> Vec<T> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let Value::Array(items) = value else {
            self.mistake(key, "must be a list of tables");
            return Vec::new();
        };
        let mut read_items = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let at = format!("{key}[{index}]");
            match item {
                Value::Table(table) => read_items.push(read(self.inner(&at, table))),
                _ => self.mistake(&at, "must be a table"),
            }
        }
        read_items
    }

    /// A table at a key below this one.
    pub fn inner(&mut self, key: &str, table: Table) -> Fields<'_> {
        let path = self.below(key);
        Fields { file: self.file, path, table, known: Vec::new(), mistakes: self.mistakes }
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.table.remove(key)
    }

    fn below(&self, key: &str) -> String {
        match (self.path.is_empty(), key.is_empty()) {
            (true, _) => key.to_owned(),
            (false, true) => self.path.clone(),
            (false, false) => format!("{}.{key}", self.path),
        }
    }
}
