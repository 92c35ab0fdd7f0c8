//! The compared routing policies. Each may make two further attempts.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use canon::{ModelFacts, Pico};
use routing::{
    Attempts, Candidate, Health, Moment, Needs, Next, Preferences, Report, RetryBudget, Settings, Timestamp,
    plan,
};

use super::scenario::Scenario;
use super::traffic::{Request, chance, random};
use super::world::{Answer, World};

const MODEL: &str = "model";
const ATTEMPTS: u64 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The router of this project with its default settings.
    Ours,
    /// Always the cheapest first.
    PriceOnly,
    /// Each in turn.
    RoundRobin,
    /// A weighted score over the last five minutes in which a provider without numbers counts as perfect.
    Formula,
    /// Knows in advance which providers will answer, and takes the cheapest of them.
    Clairvoyant,
}

impl Policy {
    /// Every policy; ours first, the clairvoyant last.
    pub const ALL: [Self; 5] =
        [Self::Ours, Self::PriceOnly, Self::RoundRobin, Self::Formula, Self::Clairvoyant];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::PriceOnly => "price only",
            Self::RoundRobin => "round robin",
            Self::Formula => "published formula",
            Self::Clairvoyant => "clairvoyant",
        }
    }
}

/// The user's view of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Served {
    /// Which provider answered; none when the user got an error.
    pub provider: Option<usize>,
    /// In USD.
    pub cost: f64,
    /// From the arrival of the request to the first token.
    pub first_token_ms: u64,
    /// How many attempts were made.
    pub attempts: u64,
}

pub fn play(policy: Policy, scenario: &Scenario, requests: &[Request]) -> Vec<Served> {
    let world = World::new(scenario);
    let served = RefCell::new(vec![Served::default(); requests.len()]);
    let ours = GatewayRouter::new(scenario);
    let simple = Simple { policy, turn: Cell::new(0), windows: windows(scenario) };
    let (world, ours, simple, results) = (&world, &ours, &simple, &served);
    let start = |(place, request): (usize, &'_ Request)| {
        let request = *request;
        let task = async move {
            let result = match policy {
                Policy::Ours => ours.serve(world, &request).await,
                _ => simple.serve(world, &request).await,
            };
            results.borrow_mut()[place] = result;
        };
        (request.at, Box::pin(task) as super::clock::Task<'_>)
    };
    world.clock.run(requests.iter().enumerate().map(start));
    served.take()
}

/// The router of this project.
struct GatewayRouter {
    settings: Settings,
    health: Health,
    budget: RetryBudget,
    facts: ModelFacts,
    preferences: Preferences,
    names: Vec<String>,
}

impl GatewayRouter {
    fn new(scenario: &Scenario) -> Self {
        let settings = Settings::default();
        Self {
            health: Health::new(&settings),
            budget: RetryBudget::new(&settings.retry),
            settings,
            facts: ModelFacts::default(),
            preferences: Preferences::default(),
            names: scenario.provider.iter().map(|provider| provider.name.clone()).collect(),
        }
    }

    async fn serve(&self, world: &World<'_>, request: &Request) -> Served {
        let now = || Timestamp(world.clock.now());
        let dice = |purpose| random(&[world.scenario.seed, request.id, purpose]);
        let candidates = self.candidates(world, request);
        let needs =
            Needs { model: MODEL, stream: true, prompt_tokens: request.prompt_tokens, ..Needs::default() };
        self.budget.of("").deposit(now());
        let moment = |purpose| Moment { health: &self.health, now: now(), random: dice(purpose) };
        let found = plan(&needs, &candidates, &self.preferences, &self.settings, moment(20));
        let Ok(found) = found else { return Served::default() };
        let mut attempts = Attempts::new(&found, &candidates, &self.settings);
        let mut attempt = attempts.first(&self.health, now());
        for number in 0.. {
            world.clock.sleep(attempt.after.unwrap_or_default()).await;
            let route = candidates[attempt.index].route(attempt.key);
            let error = match world.send(attempt.index, request, number).await {
                Ok(answer) => {
                    let report = Report::success(Some(answer.first_token), Some(answer.tokens_per_second));
                    self.health.finish(route, attempt.permit, &report, now());
                    return served(world, request, attempt.index, &answer, number + 1);
                }
                Err(error) => error,
            };
            self.health.finish(route, attempt.permit, &Report::failure(&error), now());
            match attempts.next(&error, &self.budget.of(""), moment(30 + number)) {
                Next::GiveUp => return Served { attempts: number + 1, ..Served::default() },
                Next::Candidate(next) => attempt = next,
            }
        }
        Served::default()
    }

    fn candidates(&self, world: &World<'_>, request: &Request) -> Vec<Candidate<'_>> {
        let mut candidates = Vec::with_capacity(self.names.len());
        for (place, name) in self.names.iter().enumerate() {
            let cost = Some(Pico((world.cost(place, request) * 1e12) as i64));
            candidates.push(Candidate { cost, ..Candidate::new(name, MODEL, &self.facts) });
        }
        candidates
    }
}

/// The simple policies: an order, and after a failure the next in it.
struct Simple {
    policy: Policy,
    turn: Cell<usize>,
    windows: RefCell<Vec<Window>>,
}

/// The last five minutes of a provider.
#[derive(Clone, Debug, Default)]
struct Window(VecDeque<Sample>);

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: u64,
    answer: Option<(f64, f64)>,
}

fn windows(scenario: &Scenario) -> RefCell<Vec<Window>> {
    RefCell::new(vec![Window::default(); scenario.provider.len()])
}

impl Simple {
    async fn serve(&self, world: &World<'_>, request: &Request) -> Served {
        let order = self.order(world, request);
        let mut made = 0;
        for place in order.into_iter().take(ATTEMPTS as usize) {
            made += 1;
            let result = world.send(place, request, 0).await;
            let answer = result.as_ref().ok();
            let numbers = answer.map(|answer| (answer.first_token.as_secs_f64(), answer.tokens_per_second));
            self.windows.borrow_mut()[place].0.push_back(Sample { at: world.clock.now(), answer: numbers });
            if let Some(answer) = answer {
                return served(world, request, place, answer, made);
            }
        }
        Served { attempts: made, ..Served::default() }
    }

    fn order(&self, world: &World<'_>, request: &Request) -> Vec<usize> {
        let count = world.scenario.provider.len();
        let turn = self.turn.replace(self.turn.get() + 1);
        let mut order: Vec<usize> = (0..count).collect();
        let cost = |place: &usize| world.cost(*place, request);
        match self.policy {
            Policy::RoundRobin => order.rotate_left(turn % count),
            Policy::Formula => {
                let scores = self.formula(world, request);
                order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
                if chance(&[world.scenario.seed, request.id, 40]) < 0.01 {
                    order.rotate_left(random(&[world.scenario.seed, request.id, 41]) as usize % count);
                }
            }
            Policy::Clairvoyant => {
                order.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
                order.retain(|place| world.would_serve(*place, request));
            }
            Policy::PriceOnly | Policy::Ours => order.sort_by(|a, b| cost(a).total_cmp(&cost(b))),
        }
        order
    }

    /// Each factor from 0 (best) to 1 (worst) among the candidates, weighted as published, and the published penalty
    /// below 95 % uptime.
    fn formula(&self, world: &World<'_>, request: &Request) -> Vec<f64> {
        let mut windows = self.windows.borrow_mut();
        let count = windows.len();
        let costs: Vec<_> = (0..count).map(|place| world.cost(place, request)).collect();
        let numbers: Vec<_> = windows.iter_mut().map(|window| window.numbers(world.clock.now())).collect();
        let starts: Vec<_> = numbers.iter().filter_map(|numbers| numbers.1).collect();
        let speeds: Vec<_> = numbers.iter().filter_map(|numbers| numbers.2).collect();
        let score = |place: usize| {
            let (uptime, start, speed) = numbers[place];
            let penalty = if uptime < 0.95 { ((0.95 - uptime) / 0.95 * 5.0).powi(2) } else { 0.0 };
            let slow = start.map_or(0.0, |own| between(own, &starts));
            let weak = speed.map_or(0.0, |own| 1.0 - between(own, &speeds));
            0.6 * between(costs[place], &costs) + 0.5 * (1.0 - uptime) + 0.05 * weak + 0.025 * slow + penalty
        };
        (0..count).map(score).collect()
    }
}

impl Window {
    /// Uptime, time to the first token and speed; without a sample it counts as perfect.
    fn numbers(&mut self, now: u64) -> (f64, Option<f64>, Option<f64>) {
        while self.0.front().is_some_and(|sample| sample.at + 300_000 < now) {
            self.0.pop_front();
        }
        let good = self.0.iter().filter_map(|sample| sample.answer);
        let (mut count, mut start, mut speed) = (0.0, 0.0, 0.0);
        for (own_start, own_speed) in good {
            count += 1.0;
            start += own_start;
            speed += own_speed;
        }
        let uptime = if self.0.is_empty() { 1.0 } else { count / self.0.len() as f64 };
        let known = count > 0.0;
        (uptime, known.then(|| start / count), known.then(|| speed / count))
    }
}

/// The position of a value between the minimum and the maximum.
fn between(value: f64, all: &[f64]) -> f64 {
    let least = all.iter().copied().fold(f64::INFINITY, f64::min);
    let most = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most > least { (value - least) / (most - least) } else { 0.0 }
}

fn served(world: &World<'_>, request: &Request, place: usize, answer: &Answer, attempts: u64) -> Served {
    Served {
        provider: Some(place),
        cost: world.cost(place, request),
        first_token_ms: answer.first_token_at - request.at,
        attempts,
    }
}
