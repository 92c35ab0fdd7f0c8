//! Which provider serves which model, how to call it, what it can do and what it costs.
//!
//! The facts are TOML files that a person edits without Rust: `catalog/providers/*.toml` (one per provider)
//! and `catalog/models/*.toml` (one per model family). They are compiled into the binary
//! ([`Catalog::embedded`]). An operator can overlay them with own files ([`Catalog::overlay`]) and describe
//! single models of a provider ([`Catalog::describe`]).
//!
//! Reading is strict and complete: an unknown key or a wrong value is a [`Mistake`] with its file and path, and all
//! mistakes are reported at once.

mod clients;
mod index;
mod load;
mod names;
mod own;
mod price;
mod read;
mod rows;
mod tokens;
pub mod wording;

pub use clients::is_strict;
pub use index::Catalog;
pub use price::{PriceList, PriceTier, Rates};
pub use read::{CatalogErrors, Mistake};
pub use rows::{DataRow, ModelRow, ProviderRow, Serving, SettingRow};
pub use tokens::token_rules;
