//! Several nodes: what they share in Redis or Valkey.
//!
//! | file | |
//! |---|---|
//! | `leases`, `predecessors` | the counters of budgets and limits |
//! | `memory` | everything else, which each can do without |
//! | `conversations` | where a conversation is warm, and the proofs of its thinking |
//! | `outages` | breakers, pauses and refused keys |
//! | `link` | the connection |
//!
//! The truth about money is the ledger in PostgreSQL; Redis holds who may spend how much of it at the moment, and is filled
//! anew from the ledger and by the nodes when it has lost everything. What the nodes and Redis say to each other is in
//! [`limits::Wish`] and [`limits::Granted`].

mod conversations;
mod leases;
mod link;
mod memory;
mod outages;
mod predecessors;

pub use conversations::SharedConversations;
pub use leases::Leases;
pub use link::{Away, Link};
pub use memory::SharedMemory;
pub use outages::OutageNotices;
pub use predecessors::Predecessors;
