//! Decides where a request goes: candidates in, plan out, and after each failure the next step.
//!
//! Nothing here waits, reads a clock or draws random numbers. The time and every random number are arguments,
//! so that the same state, time and seed give the same decision. One request goes like this:
//!
//! ```text
//! let budget = budget.of(caller);
//! budget.deposit(now);
//! let plan = routing::plan(&needs, &candidates, &preferences, &settings, Moment { health, now, random })?;
//! let mut attempts = Attempts::new(&plan, &candidates, &settings).no_fallback(header);
//! let mut attempt = attempts.first(&health, now);
//! loop {
//!     let route = candidates[attempt.index].route(attempt.key);
//!     match send(route).await {
//!         Ok(answer) => break health.finish(route, attempt.permit, &Report::success(ttft, speed), now),
//!         Err(error) => {
//!             health.finish(route, attempt.permit, &Report::failure(&error), now);
//!             match attempts.next(&error, &budget, Moment { health, now, random }) {
//!                 Next::GiveUp => return Err(error),
//!                 Next::Candidate(next) => { sleep(next.after).await; attempt = next }
//!             }
//!         }
//!     }
//! }
//! ```

mod attempts;
mod budget;
mod candidate;
pub mod chance;
mod fit;
mod health;
mod plan;
mod preferences;
mod score;
mod selection;
mod sessions;
mod settings;
mod shards;
mod time;

pub use attempts::{Attempt, Attempts, Next};
pub use budget::{KeyBudget, RetryBudget};
pub use candidate::{Candidate, Needs, Route, UnitPrices};
pub use chance::pick_weighted;
pub use fit::{Filter, NoCandidate};
pub use health::{
    Health, KeySnapshot, KeyState, Metrics, Outage, OutageKind, Outcome, Permit, Report, RouteSnapshot,
    Snapshot, Suspensions,
};
pub use plan::{Choice, Moment, Plan, plan};
pub use preferences::{MaxPrice, Preferences, Sort};
pub use selection::{Filtered, Parts, Reason, Score, Selection};
pub use sessions::{Sessions, Warm};
pub use settings::{BreakerSettings, HealthSettings, RetrySettings, SessionSettings, Settings, Weights};
pub use time::Timestamp;
