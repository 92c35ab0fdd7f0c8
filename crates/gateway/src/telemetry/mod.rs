//! What operators see: metrics and log lines.

pub mod access;
pub mod log;
mod metrics;

pub use metrics::{Metrics, OTHER, RouteCounters, RouteMetrics};
