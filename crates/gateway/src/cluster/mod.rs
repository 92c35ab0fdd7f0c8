//! Several nodes and the data that they share in Redis or Valkey.
//!
//! | file | |
//! |---|---|
//! | `leases`, `predecessors` | the counters of budgets and limits |
//! | `memory` | everything else, which a node can do without |
//! | `conversations` | where a conversation is warm, and the proofs of its thinking |
//! | `outages` | breakers, cool-downs and refused keys |
//! | `link` | the connection |
//!
//! The ledger in PostgreSQL is authoritative for money. Redis holds how much each node may spend at the
//! moment, and is refilled from the ledger and by the nodes when it has lost everything. The messages between
//! nodes and Redis are [`limits::Demand`] and [`limits::Granted`].

mod conversations;
mod leases;
mod link;
mod memory;
mod outages;
mod predecessors;

pub use conversations::SharedConversations;
pub use leases::Leases;
pub use link::{Link, Unreachable};
pub use memory::SharedMemory;
pub use outages::OutageNotices;
pub use predecessors::Predecessors;
