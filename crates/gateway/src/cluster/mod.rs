//! Several nodes: the counters of budgets and limits that they share, in Redis or Valkey.
//!
//! The truth about money is the ledger in PostgreSQL; Redis holds who may spend how much of it at the moment, and is filled
//! anew from the ledger and by the nodes when it has lost everything. What the nodes and Redis say to each other is in
//! [`limits::Wish`] and [`limits::Told`].

mod leases;
mod link;
mod predecessors;

pub use leases::Leases;
pub use link::{Away, Link, Patience};
pub use predecessors::Predecessors;
