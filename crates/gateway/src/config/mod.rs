//! Configuration in two stages: as written ([`file`]) and as meant ([`settings`]).
//!
//! Every mistake is found before anything starts, and all of them are reported at once with their paths.

pub mod base_url;
pub mod check;
#[cfg(test)]
mod documents;
pub mod effective;
pub mod file;
mod form;
pub mod guardrail;
pub mod lines;
mod oidc;
mod outbound;
mod overlay;
pub mod redis_url;
pub mod schema;
pub mod settings;
pub mod source;
#[cfg(test)]
mod tests;
mod webhook;

pub use file::{ConfigFile, MetadataPlace};
pub use oidc::{EVERYBODY, OidcSettings};
pub use settings::{BodySettings, CacheSettings, KeepSettings, KeyEntry, ProviderSettings, Settings};
pub use webhook::Webhook;
