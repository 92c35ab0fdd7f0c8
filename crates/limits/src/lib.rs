//! Who may use which models, and how much: policies, budgets, limits, reservations.
//!
//! Pure: values in, values out, time as an argument in milliseconds since 1970 (UTC). A [`Book`] has the
//! counters of one project and of its keys. All claims of a request are in one book. A lock around the book
//! therefore makes a reservation all or nothing, and two requests can never refuse each other by reserving
//! half of what they need.
//!
//! - **Budgets** are sums of money in calendar windows ([`Window`]). A reservation takes the estimated cost
//!   before the request; settling replaces it by the actual cost. `spent + reserved` exceeds the ceiling at
//!   most by the amounts that answers cost beyond their reservations.
//! - **Rates** (requests or tokens per minute, hour, day) are leaky buckets ([`Bucket`]), known as GCRA: a burst up to the
//!   limit, then evenly. One number per limit, and the exact time until the next request fits.
//! - **Concurrency** is the number of reservations that are not settled.
//!
//! A refusal changes nothing.
//!
//! Several nodes share accounts through a common store: each holds a part of them ([`Demand`], [`Granted`]).

mod account;
mod book;
mod bucket;
mod glob;
mod lease;
mod policy;
mod rule;
mod window;

pub use account::Notice;
pub use book::{Actual, Ask, Book, Figure, Refusal, Refused, Remaining, Ticket};
pub use bucket::Bucket;
pub use glob::Pattern;
pub use lease::{Amount, Demand, GONE_MS, Granted, LOST_MS, Others, PART_MS, Pool, Short};
pub use policy::{
    Bodies, Budget, CachePolicy, CountersAway, LONGEST_CACHE_SECONDS, Limit, Mistake, OnExhausted, Period,
    Policy, Role, Unpriced, tags,
};
pub use rule::{AccountId, Quantity, Rule, Scope};
pub use window::{DAY_MS, Window, day_of};
