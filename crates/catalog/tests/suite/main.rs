//! Tests of the crate's public interface.

mod catalog;
mod documented;
mod endpoints;
mod native_media;
mod providers_page;
mod recorded;
mod token_estimates;
