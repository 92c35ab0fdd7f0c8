//! From candidates to an ordered list of attempts.
//!
//! Candidates that cannot serve the request are left out, then those whose breaker is open or that are in a
//! cool-down, unless no other remains. The others are ordered by tier, by the caller's order, by the factor that the caller sorts by,
//! and by score. The first of them is then reconsidered, in this order: a provider that failed before and
//! would be the best is tried again (one request at a time); the provider that served this model until now
//! stays when the new best is hardly better; one request out of a hundred goes to another provider so that
//! its measurements stay current.

use std::cmp::Ordering;

use canon::{Features, Pico};

use crate::chance::Dice;
use crate::fit::{self, Filter};
use crate::health::{Access, CandidateStatus, KeyState};
use crate::score::{self, Scale, Subject};
use crate::shards::hash;
use crate::{
    Candidate, Health, Metrics, Needs, NoCandidate, Parts, Preferences, Reason, Score, Selection, Settings,
    Sort, Timestamp,
};

/// Hysteresis when the caller sorts by a measured speed: such measurements vary by several percent all the
/// time.
const SPEED_HYSTERESIS: f64 = 0.1;

/// Below this uptime a provider is unhealthy.
pub(crate) const HEALTHY_UPTIME: f64 = 0.8;

/// One candidate and one of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Index into the candidates.
    pub index: usize,
    /// Index into its keys.
    pub key: usize,
}

/// The candidates to try, in order.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Never empty.
    pub order: Vec<Choice>,
    /// Candidates whose breaker is open or that are in a cool-down, best first: tried when everything in `order` has failed.
    pub(crate) reserve: Vec<Choice>,
    reason: Reason,
    needed: Features,
    judged: Vec<CandidateVerdict>,
}

/// The decision about a candidate.
#[derive(Clone, Copy, Debug)]
struct CandidateVerdict {
    filter: Option<Filter>,
    price: Option<Pico>,
    metrics: Metrics,
    parts: Parts,
}

impl Plan {
    /// Why the first one is first.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// True when the first choice is an experiment: a conversation should not stay with it.
    pub fn is_trial(&self) -> bool {
        matches!(self.reason, Reason::Exploration | Reason::Probe | Reason::LastResort)
    }

    /// The candidates that can serve the request, best first, each once, including those whose breaker is
    /// open, and those in a cool-down or suspension.
    pub fn ranked(&self) -> Vec<usize> {
        let mut ranked = Vec::with_capacity(self.order.len());
        for choice in self.order.iter().chain(&self.reserve) {
            if !ranked.contains(&choice.index) {
                ranked.push(choice.index);
            }
        }
        ranked
    }

    /// The full explanation, computed only when it is asked for. `candidates` are those that the plan was
    /// made from.
    pub fn selection(&self, candidates: &[Candidate<'_>]) -> Selection {
        let scored = self.order.iter().map(|choice| choice.index);
        let unused = (0..self.judged.len()).filter(|index| {
            self.judged[*index].filter.is_none() && !self.order.iter().any(|choice| choice.index == *index)
        });
        let left_out = candidates.iter().zip(&self.judged).filter_map(|(candidate, judged)| {
            let filter = judged.filter?;
            Some(fit::left_out(candidate, filter, self.needed))
        });
        Selection {
            reason: self.reason,
            scores: scored.chain(unused).map(|index| self.judged[index].score(&candidates[index])).collect(),
            filtered: left_out.collect(),
        }
    }
}

impl CandidateVerdict {
    fn score(&self, candidate: &Candidate<'_>) -> Score {
        Score {
            provider: candidate.provider.to_owned(),
            model: candidate.model.to_owned(),
            score: self.parts.total(),
            price: self.price,
            uptime: self.metrics.uptime,
            latency: self.metrics.first_token_ms,
            throughput: self.metrics.tokens_per_second,
            parts: self.parts,
        }
    }
}

/// The state of the providers at one time, and the random number of one decision: the same moment gives the
/// same decision.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    pub health: &'a Health,
    pub now: Timestamp,
    pub random: u64,
}

/// Orders the candidates that can serve the request, best first. Never empty as long as one of them can, even
/// when all are unhealthy.
pub fn plan(
    needs: &Needs<'_>,
    candidates: &[Candidate<'_>],
    preferences: &Preferences,
    settings: &Settings,
    Moment { health, now, random }: Moment<'_>,
) -> Result<Plan, NoCandidate> {
    let mut filters = capabilities(needs, candidates, preferences, (settings, health));
    if !filters.contains(&None) {
        let filters: Vec<_> = filters.into_iter().flatten().collect();
        return Err(NoCandidate::new(needs, candidates, &filters));
    }
    let mut planner = Planner { needs, preferences, health, settings, now, dice: Dice::new(random) };
    let mut entries = planner.entries(candidates, &filters);
    let mut reserve = planner.take_unhealthy(&mut entries, &mut filters);
    planner.score(&mut entries);
    let last_resort = entries.is_empty();
    if last_resort {
        std::mem::swap(&mut entries, &mut reserve);
        planner.score(&mut entries);
    }
    entries.sort_by(compare);
    let reason = if last_resort { Reason::LastResort } else { planner.reconsider(&mut entries) };
    entries.extend(planner.tight(candidates, &filters));
    Ok(planner.finish(candidates, &filters, (&entries, &reserve), reason))
}

/// Why each candidate is left out apart from its health: a feature that it lacks, or a suspension by an
/// administrator, which excludes it even as a last resort.
fn capabilities(
    needs: &Needs<'_>,
    candidates: &[Candidate<'_>],
    preferences: &Preferences,
    (settings, health): (&Settings, &Health),
) -> Vec<Option<Filter>> {
    let only_listed = !preferences.allow_fallbacks && !preferences.order.is_empty();
    let check = |candidate: &Candidate<'_>| {
        fit::check(needs, candidate, preferences, settings).or_else(|| {
            let unlisted = only_listed && preferences.place(candidate.provider) == preferences.order.len();
            let suspended = || health.is_suspended(candidate).then_some(Filter::Suspended);
            unlisted.then_some(Filter::Excluded).or_else(suspended)
        })
    };
    let mut filters: Vec<_> = candidates.iter().map(check).collect();
    let tight = |index: usize| fit::is_tight(needs, &candidates[index]);
    if (0..filters.len()).any(|index| filters[index].is_none() && !tight(index)) {
        for (index, filter) in filters.iter_mut().enumerate().filter(|(_, filter)| filter.is_none()) {
            *filter = tight(index).then_some(Filter::Tight);
        }
    }
    filters
}

#[derive(Debug)]
struct Entry<'c> {
    index: usize,
    key: usize,
    place: (u32, usize),
    access: Access,
    subject: Subject<'c>,
    parts: Parts,
    /// The factor that the caller sorts by.
    sorted_by: f64,
}

impl Entry<'_> {
    fn is_usable(&self) -> bool {
        matches!(self.access.state, KeyState::Ready | KeyState::HalfOpen)
    }

    fn is_ready(&self) -> bool {
        self.access.state == KeyState::Ready
    }
}

/// The inputs of one decision.
struct Planner<'p> {
    needs: &'p Needs<'p>,
    preferences: &'p Preferences,
    health: &'p Health,
    settings: &'p Settings,
    now: Timestamp,
    dice: Dice,
}

impl Planner<'_> {
    fn entries<'c>(&mut self, candidates: &'c [Candidate<'c>], filters: &[Option<Filter>]) -> Vec<Entry<'c>> {
        let turn = self.dice.next() as usize;
        let fitting = (0..candidates.len()).filter(|index| filters[*index].is_none());
        fitting.map(|index| self.entry(index, &candidates[index], turn)).collect()
    }

    /// Candidates that have room only for a shorter answer. They come after all others. Agents ask for the
    /// longest answer that any model gives, and rarely need it.
    fn tight<'c>(&mut self, candidates: &'c [Candidate<'c>], filters: &[Option<Filter>]) -> Vec<Entry<'c>> {
        if !filters.contains(&Some(Filter::Tight)) {
            return Vec::new();
        }
        let turn = self.dice.next() as usize;
        let tight = (0..candidates.len()).filter(|index| filters[*index] == Some(Filter::Tight));
        let mut entries: Vec<_> = tight.map(|index| self.entry(index, &candidates[index], turn)).collect();
        entries.retain(Entry::is_usable);
        self.score(&mut entries);
        entries.sort_by(compare);
        entries
    }

    fn entry<'c>(&self, index: usize, candidate: &'c Candidate<'c>, turn: usize) -> Entry<'c> {
        let warm = self.needs.warm.filter(|warm| warm.is_at(candidate.route(0)));
        let CandidateStatus { metrics, key, access } = self.health.status(candidate, warm, turn, self.now);
        let warm = warm.is_some() && access.state == KeyState::Ready;
        Entry {
            index,
            key,
            place: (candidate.tier, self.preferences.place(candidate.provider)),
            access,
            subject: Subject { candidate, metrics, warm },
            parts: Parts::default(),
            sorted_by: 0.0,
        }
    }

    /// Takes out candidates whose breaker is open or that are in a cool-down. When no other remains, their
    /// state is not given as the reason.
    fn take_unhealthy<'c>(
        &self,
        entries: &mut Vec<Entry<'c>>,
        filters: &mut [Option<Filter>],
    ) -> Vec<Entry<'c>> {
        if entries.iter().all(Entry::is_usable) {
            return Vec::new();
        }
        let any_usable = entries.iter().any(Entry::is_usable);
        let (usable, unhealthy): (Vec<_>, Vec<_>) =
            std::mem::take(entries).into_iter().partition(Entry::is_usable);
        *entries = usable;
        for entry in unhealthy.iter().filter(|_| any_usable) {
            let is_cooling_down = matches!(entry.access.state, KeyState::CoolingDown | KeyState::Refused);
            filters[entry.index] =
                Some(if is_cooling_down { Filter::KeysCoolingDown } else { Filter::BreakerOpen });
        }
        unhealthy
    }

    fn score(&self, entries: &mut [Entry<'_>]) {
        let scale = Scale::of(entries.iter().map(|entry| entry.subject));
        for entry in entries {
            entry.parts = score::parts(&entry.subject, &scale, self.needs, self.settings);
            entry.sorted_by = match self.preferences.sort {
                Some(Sort::Price) => entry.subject.cost().unwrap_or(f64::INFINITY),
                Some(Sort::Throughput) => scale.throughput(&entry.subject.metrics),
                Some(Sort::Latency) => scale.latency(&entry.subject.metrics),
                None => 0.0,
            };
        }
    }

    /// Whether another candidate should come first: a probe, the incumbent, or an exploration.
    fn reconsider(&mut self, entries: &mut [Entry<'_>]) -> Reason {
        if entries.len() == 1 {
            return Reason::OnlyCandidate;
        }
        if self.probe(entries) {
            return Reason::Probe;
        }
        if entries[0].subject.warm {
            return Reason::Session;
        }
        let reason = if self.keep_incumbent(entries) { Reason::Incumbent } else { self.reason(entries) };
        if self.explore(entries) { Reason::Exploration } else { reason }
    }

    fn reason(&self, entries: &[Entry<'_>]) -> Reason {
        let ordered = entries[1..].iter().any(|entry| entry.place != entries[0].place);
        match self.preferences.sort {
            _ if ordered => Reason::Order,
            Some(Sort::Price) => Reason::Price,
            Some(Sort::Throughput) => Reason::Throughput,
            Some(Sort::Latency) => Reason::Latency,
            None => Reason::Score,
        }
    }

    /// Puts a candidate first that would be the best if it had recovered: this request tests it.
    fn probe(&self, entries: &mut [Entry<'_>]) -> bool {
        // Only with a healthy provider to fall back on: the probe uses up one attempt of this request.
        let is_healthy = entries[0].subject.metrics.uptime >= HEALTHY_UPTIME;
        if !self.preferences.allow_fallbacks || entries[0].subject.warm || !is_healthy {
            return false;
        }
        let hoped = |entry: &Entry<'_>| {
            let uptime = score::uptime(self.settings.health.prior_uptime, self.settings);
            entry.parts.total() - entry.parts.uptime + uptime
        };
        let first = &entries[0];
        let found = entries.iter().position(|entry| {
            let order = entry.place.cmp(&first.place).then(entry.sorted_by.total_cmp(&first.sorted_by));
            let better = order.then(hoped(entry).total_cmp(&first.parts.total()));
            !entry.is_ready() && better == Ordering::Less
        });
        // When the first candidate is half open, none is ready: no probe is needed.
        found.filter(|_| entries[0].is_ready()).is_some_and(|place| {
            entries[..=place].rotate_right(1);
            true
        })
    }

    /// Keeps the provider first that served such requests until now, when the best is only slightly better.
    fn keep_incumbent(&self, entries: &mut [Entry<'_>]) -> bool {
        if self.needs.model.is_empty() || self.preferences.sort == Some(Sort::Price) {
            return false;
        }
        let kind = (self.needs.model, self.needs.features, self.preferences.sort);
        let name =
            |entry: &Entry<'_>| hash(&(entry.subject.candidate.provider, entry.subject.candidate.model));
        let old = self.health.incumbents().get(&kind);
        if old == Some(name(&entries[0])) {
            return false;
        }
        let best = &entries[0];
        let is_near = |entry: &Entry<'_>| {
            entry.is_ready()
                && entry.place == best.place
                && entry.subject.candidate.losses <= best.subject.candidate.losses
                && match self.preferences.sort {
                    Some(_) => entry.sorted_by - best.sorted_by < SPEED_HYSTERESIS,
                    None => entry.parts.total() - best.parts.total() < self.settings.hysteresis,
                }
        };
        if let Some(place) = entries.iter().position(|entry| Some(name(entry)) == old && is_near(entry)) {
            entries[..=place].rotate_right(1);
            return true;
        }
        self.health.incumbents().set(&kind, name(best));
        false
    }

    /// Sometimes puts another candidate first. Candidates with few measurements are preferred; expensive ones
    /// are chosen less often.
    fn explore(&mut self, entries: &mut [Entry<'_>]) -> bool {
        let free =
            self.preferences.allow_fallbacks && self.preferences.sort.is_none() && self.needs.warm.is_none();
        if !free || self.dice.fraction() >= self.settings.exploration {
            return false;
        }
        let first = entries[0].place;
        let doubt = |entry: &Entry<'_>| {
            let eligible = entry.is_ready() && entry.place == first;
            if eligible { 1.0 / (1.0 + entry.subject.metrics.samples) } else { 0.0 }
        };
        let total: f64 = entries[1..].iter().map(doubt).sum();
        let mut left = self.dice.fraction() * total;
        let found = (1..entries.len()).find(|place| {
            let own = doubt(&entries[*place]);
            let hit = own > 0.0 && left < own;
            left -= own;
            hit
        });
        let Some(place) = found else { return false };
        let dearness = entries[place].parts.price / self.settings.weights.price.max(f64::MIN_POSITIVE);
        if self.dice.fraction() < dearness {
            return false;
        }
        entries[..=place].rotate_right(1);
        true
    }

    fn finish(
        &self,
        candidates: &[Candidate<'_>],
        filters: &[Option<Filter>],
        (entries, reserve): (&[Entry<'_>], &[Entry<'_>]),
        reason: Reason,
    ) -> Plan {
        let unknown = Metrics { uptime: 0.0, samples: 0.0, first_token_ms: None, tokens_per_second: None };
        let blank = |(candidate, filter): (&Candidate<'_>, &Option<Filter>)| CandidateVerdict {
            filter: *filter,
            price: candidate.cost,
            metrics: unknown,
            parts: Parts::default(),
        };
        let mut judged: Vec<_> = candidates.iter().zip(filters).map(blank).collect();
        for entry in entries {
            let own = &mut judged[entry.index];
            own.metrics = entry.subject.metrics;
            own.parts = entry.parts;
            if entry.subject.warm {
                own.price = entry.subject.candidate.warm_cost.or(own.price);
            }
        }
        let only_first = !self.preferences.allow_fallbacks && self.preferences.order.is_empty();
        let choices = |entries: &[Entry<'_>], most: usize| {
            let choices =
                entries.iter().take(most).map(|entry| Choice { index: entry.index, key: entry.key });
            choices.collect::<Vec<_>>()
        };
        Plan {
            order: choices(entries, if only_first { 1 } else { entries.len() }),
            reserve: choices(reserve, if only_first { 0 } else { reserve.len() }),
            reason,
            needed: self.needs.features,
            judged,
        }
    }
}

/// Best first. In a last resort, candidates that fail sometimes come before those in a cool-down, and those
/// before candidates that refuse the key.
fn compare(a: &Entry<'_>, b: &Entry<'_>) -> Ordering {
    let rank = |entry: &Entry<'_>| match entry.access.state {
        KeyState::Ready => 0,
        KeyState::HalfOpen | KeyState::Probing | KeyState::Open => 1,
        KeyState::CoolingDown => 2,
        KeyState::Refused | KeyState::Suspended => 3,
    };
    let by_preference = || a.place.cmp(&b.place).then(a.sorted_by.total_cmp(&b.sorted_by));
    // Only a last resort contains candidates in a cool-down; the one that is ready soonest comes first.
    let both_wait = rank(a) > 1 && rank(b) > 1;
    let waiting = if both_wait { a.access.until.cmp(&b.access.until) } else { Ordering::Equal };
    rank(a).cmp(&rank(b)).then(waiting).then_with(by_preference).then_with(|| by_score(a, b))
}

fn by_score(a: &Entry<'_>, b: &Entry<'_>) -> Ordering {
    a.parts.total().total_cmp(&b.parts.total()).then(a.index.cmp(&b.index))
}
