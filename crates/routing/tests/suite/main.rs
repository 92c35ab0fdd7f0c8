//! What routing promises, with a hand-moved clock.

mod attempts;
mod health;
mod outages;
mod plan;
mod properties;
mod support;
