//! What operators see: metrics and log lines.

mod metrics;

pub use metrics::{Metrics, RouteCounters, RouteMetrics};
