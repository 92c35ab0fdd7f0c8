//! The only crate with SQL: usage records, API keys, stored answers and settings in SQLite or PostgreSQL, and the local spool that
//! keeps records safe until the database has them.
//!
//! A request appends its record to the [`Spool`] (one write, no waiting); the [`Writer`] task moves records
//! from there into the [`Store`]. Only [`Spool::append`] and [`KeyHasher::hash`] are called on the request
//! path, and the functions for stored answers by requests that use them.

mod bodies;
mod changes;
mod conversations;
mod error;
mod facts;
mod filter;
mod folding;
mod keys;
mod ledger;
mod line;
mod loan;
mod nodes;
mod params;
mod postgres;
mod projects;
mod record;
mod requests;
mod responses;
mod retention;
mod rollups;
mod sessions;
mod spool;
mod sqlite;
mod store;
mod sums;
mod suspensions;
mod tags;
mod times;
mod upserts;
mod usage;
mod webhooks;
mod writer;

pub use bodies::KeptBodies;
pub use changes::Changes;
pub use conversations::{Addition, Conversation, StoredItem};
pub use error::{RejectedSums, StoreError};
pub use filter::{Compare, Field, FilterError, RequestFilter, Test};
pub use keys::{KeyFields, KeyHash, KeyHasher, KeyRow, wrong_name};
pub use ledger::{LedgerDay, Spent};
pub use nodes::{Node, STOPPED, fingerprint};
pub use projects::{Audit, AuditRow, DEFAULT_PROJECT, Project, WriteOutcome};
pub use record::{AttemptRecord, GuardrailRecord, LossRecord, Phases, UsageRecord};
pub use requests::{Cursor, RequestPage, RequestRow};
pub use responses::{Chain, StoredResponse};
pub use retention::{Expired, LookupPlace};
pub use rollups::{Bucket, Dim, UsageQuery, UsageRow};
pub use sessions::ConsoleSession;
pub use spool::{AppendError, Commit, CommitError, OpenRequest, Spool, SpoolLimits, SpoolReader};
pub use store::Store;
pub use sums::{Histogram, UsageSums};
pub use suspensions::{InvalidSuspension, NewSuspension, Suspension};
pub use tags::OTHER as OTHER_TAG;
pub use times::SLOW_MS;
pub use usage::UsageFilter;
pub use webhooks::Delivery;
pub use writer::{Writer, WriterEvent};
