//! Every order in which requests can reserve, raise, settle and vanish; the counters are correct in each.
//!
//! A book changes under one lock, so the steps of requests are atomic. An exhaustive scheduler runs all
//! orders of these steps and checks the invariants after every step.

use canon::Pico;
use limits::{Actual, Book, Rule, Ticket};

use crate::{NOON, ask, book};

const CEILING: i64 = 100;
const PLACES: u64 = 2;

/// A request: its reservation, the raise by an attempt, and its cost.
#[derive(Clone, Copy)]
struct Script {
    estimate: i64,
    raised: i64,
    cost: i64,
    end: End,
}

/// How a request ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Settled,
    /// It is overdue, and settled later.
    Late,
    /// Its node has died: it is overdue and never settled.
    Lost,
}

/// How far a request has come.
#[derive(Default)]
struct Run {
    step: usize,
    ticket: Option<Ticket>,
    raised_to: i64,
}

const STEPS: usize = 3;

struct World {
    book: Book,
    runs: Vec<Run>,
    /// The cost of the requests so far, with the estimates of lost ones.
    spent: i64,
    /// The amount that answers cost beyond their reservations.
    beyond: i64,
    admitted: usize,
}

fn play(scripts: &[Script], order: &[usize], start: &(Book, Vec<Rule>)) -> World {
    let (book, rules) = start;
    let runs = scripts.iter().map(|_| Run::default()).collect();
    let mut world = World { book: book.clone(), runs, spent: 0, beyond: 0, admitted: 0 };
    for &who in order {
        step(&mut world, rules, scripts[who], who);
        check(&world, rules);
    }
    world
}

fn step(world: &mut World, rules: &[Rule], script: Script, who: usize) {
    let deadline_ms = if script.end == End::Settled { i64::MAX } else { NOON };
    let asked = |cost: i64| limits::Ask { deadline_ms, ..ask(cost, 10) };
    let run = &mut world.runs[who];
    run.step += 1;
    match run.step {
        1 => {
            let before = world.book.clone();
            match world.book.reserve(rules.iter(), asked(script.estimate), NOON - 1) {
                Ok((ticket, _)) => {
                    run.ticket = Some(ticket);
                    run.raised_to = script.estimate;
                    world.admitted += 1;
                }
                Err(_) => assert_eq!(world.book, before, "a refusal changes nothing"),
            }
        }
        2 => {
            let Some(ticket) = &run.ticket else { return };
            if world.book.raise(ticket, rules.iter(), asked(script.raised), NOON - 1).is_ok() {
                run.raised_to = run.raised_to.max(script.raised);
            }
        }
        _ => {
            let Some(ticket) = run.ticket.take() else { return };
            if script.end != End::Settled {
                world.book.expire(NOON);
            }
            if script.end == End::Lost {
                // The holder of the ticket has died without settling it.
                world.spent += run.raised_to;
                return;
            }
            world.book.settle(ticket, Actual { cost: Pico(script.cost), tokens: Some(5) });
            world.spent += script.cost;
            world.beyond += (script.cost - run.raised_to).max(0);
        }
    }
}

fn check(world: &World, rules: &[Rule]) {
    for rule in &rules[..2] {
        let (spent, reserved) = world.book.spent(rule.account(), NOON).unwrap();
        assert!(spent.0 >= 0 && reserved.0 >= 0);
        assert!(spent.0 + reserved.0 <= CEILING + world.beyond, "{spent} + {reserved}, {}", world.beyond);
    }
    assert!(world.book.held(rules[2].account()).unwrap() <= PLACES);
}

/// All orders of the steps of this many requests.
fn orders(requests: usize, mut visit: impl FnMut(&[usize])) {
    fn go(left: &mut [usize], order: &mut Vec<usize>, visit: &mut impl FnMut(&[usize])) {
        if left.iter().all(|steps| *steps == 0) {
            return visit(order);
        }
        for who in 0..left.len() {
            if left[who] > 0 {
                left[who] -= 1;
                order.push(who);
                go(left, order, visit);
                order.pop();
                left[who] += 1;
            }
        }
    }
    go(&mut vec![STEPS; requests], &mut Vec::new(), &mut visit);
}

#[test]
fn no_order_of_requests_exceeds_the_ceiling() {
    let budget = r#""budgets":[{"usd":"0.000000000100","per":"day"}]"#;
    let start = book(
        &format!("{{{budget}}}"),
        &format!(r#"{{{budget},"limits":[{{"concurrent":2}},{{"requests":3,"per":"day"}}]}}"#),
    );
    let request = |estimate, raised, cost, end| Script { estimate, raised, cost, end };
    let worlds = [
        [
            request(60, 60, 60, End::Settled),
            request(50, 50, 20, End::Settled),
            request(40, 90, 10, End::Settled),
        ],
        [request(60, 80, 75, End::Settled), request(30, 30, 45, End::Settled), request(20, 20, 0, End::Late)],
        [request(40, 40, 0, End::Lost), request(40, 70, 90, End::Late), request(40, 40, 40, End::Settled)],
        [
            request(100, 100, 100, End::Settled),
            request(1, 1, 1, End::Settled),
            request(0, 0, 0, End::Settled),
        ],
    ];
    let mut played = 0;
    for scripts in worlds {
        orders(scripts.len(), |order| {
            played += 1;
            let world = play(&scripts, order, &start);
            let (spent, reserved) = world.book.spent(start.1[0].account(), NOON).unwrap();
            assert_eq!((spent.0, reserved.0), (world.spent, 0), "{order:?}");
            assert_eq!(world.book.spent(start.1[1].account(), NOON).unwrap().0.0, world.spent);
            let lost = scripts.iter().filter(|script| script.end == End::Lost).count();
            assert!(world.book.open() <= lost);
            assert!(world.admitted > 0);
        });
    }
    // (9)! / (3!)³ orders of three requests.
    assert_eq!(played, 4 * 1680);
}
