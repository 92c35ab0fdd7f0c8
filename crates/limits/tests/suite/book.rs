//! Budgets and limits of a project and its keys.

use canon::Pico;
use limits::{Actual, Ask, Book, Refusal, Rule, Ticket};

use crate::{NOON, ask, book};

const DAY: i64 = limits::DAY_MS;

fn reserve(book: &mut Book, rules: &[Rule], ask: Ask, now: i64) -> Result<Ticket, Refusal> {
    book.reserve(rules.iter(), ask, now).map(|(ticket, _)| ticket).map_err(|refused| refused.refusal)
}

fn cost(cost: i64) -> Actual {
    Actual { cost: Pico(cost), tokens: None }
}

#[test]
fn a_budget_is_a_ceiling_for_spent_and_reserved_money() {
    let (mut book, rules) = book(r#"{"budgets":[{"usd":"0.000000000100","per":"day"}]}"#, "{}");
    let first = reserve(&mut book, &rules, ask(60, 0), NOON).unwrap();
    let refusal = reserve(&mut book, &rules, ask(41, 0), NOON).unwrap_err();
    let Refusal::Exhausted { left, needed, retry_ms, rule } = refusal else { panic!() };
    assert_eq!((left, needed, retry_ms), (Pico(40), Pico(41), Some(DAY as u64 / 2)));
    assert_eq!(rule.words(), "0.0000000001 USD per day");
    book.settle(first, cost(10));
    let second = reserve(&mut book, &rules, ask(90, 0), NOON).unwrap();
    // An answer that costs more than was reserved counts in full.
    book.settle(second, cost(95));
    assert_eq!(book.spent(rules[0].account(), NOON), Some((Pico(105), Pico(0))));
    reserve(&mut book, &rules, ask(1, 0), NOON).unwrap_err();
    // A free request takes nothing and is served.
    let free = reserve(&mut book, &rules, ask(0, 0), NOON).unwrap();
    book.settle(free, cost(0));
    // The next day begins with nothing spent.
    let next = reserve(&mut book, &rules, ask(100, 0), NOON + DAY).unwrap();
    book.settle(next, cost(100));
    assert_eq!(book.open(), 0);
}

#[test]
fn a_settlement_after_midnight_belongs_to_the_day_of_the_reservation() {
    let (mut book, rules) = book(r#"{"budgets":[{"usd":"1","per":"day"},{"usd":"1","per":"total"}]}"#, "{}");
    let late = reserve(&mut book, &rules, ask(50, 0), NOON).unwrap();
    let next = reserve(&mut book, &rules, ask(7, 0), NOON + DAY).unwrap();
    book.settle(late, cost(40));
    let day = |book: &Book| book.spent(rules[0].account(), NOON + DAY).unwrap();
    assert_eq!(day(&book), (Pico(0), Pico(7)));
    // Another attempt of a request that began yesterday takes from the new day.
    let long = reserve(&mut book, &rules, ask(5, 0), NOON + DAY).unwrap();
    book.raise(&long, rules.iter(), ask(9, 0), NOON + 2 * DAY).unwrap();
    book.settle(next, cost(1));
    book.settle(long, cost(9));
    assert_eq!(book.spent(rules[0].account(), NOON + 2 * DAY).unwrap(), (Pico(9), Pico(0)));
    assert_eq!(book.spent(rules[1].account(), NOON).unwrap(), (Pico(50), Pico(0)));
}

#[test]
fn a_notice_is_sent_once_per_threshold_and_window() {
    let policy = r#"{"budgets":[{"usd":"0.000000000100","per":"day"},
        {"usd":"0.000000000200","per":"day","on_exhausted":"downgrade:x"}]}"#;
    let (mut book, rules) = book(policy, "{}");
    let mut spend = |amount, now| {
        let ticket = reserve(&mut book, &rules[1..], Ask { is_downgraded: true, ..ask(amount, 0) }, now);
        book.settle(ticket.unwrap(), cost(amount));
        let notices = book.take_notices().into_iter();
        notices.map(|notice| (notice.ceiling.0, notice.percent, notice.spent.0)).collect::<Vec<_>>()
    };
    assert_eq!(spend(49, NOON), []);
    assert_eq!(spend(1, NOON), [(100, 50, 50)]);
    assert_eq!(spend(1, NOON), []);
    // Two thresholds at once are one notice.
    assert_eq!(spend(60, NOON), [(100, 100, 111), (200, 50, 111)]);
    assert_eq!(spend(500, NOON), [(200, 100, 611)]);
    assert_eq!(spend(500, NOON), []);
    assert_eq!(spend(50, NOON + DAY), [(100, 50, 50)]);
}

#[test]
fn a_notice_is_sent_for_a_loaded_budget_and_not_for_a_removed_one() {
    let mut book = Book::default();
    let rules = |book: &mut Book, policy: &str| {
        book.rules(&limits::Scope::Project, &serde_json::from_str(policy).unwrap())
    };
    let first = rules(&mut book, r#"{"budgets":[{"usd":"0.000000000100","per":"total"}]}"#);
    book.load(first[0].account(), Pico(85), NOON);
    assert_eq!(book.take_notices().iter().map(|it| it.percent).collect::<Vec<_>>(), [80]);
    let second = rules(&mut book, r#"{"budgets":[{"usd":"0.000000000160","per":"total"}]}"#);
    let ticket = reserve(&mut book, &second, ask(20, 0), NOON).unwrap();
    book.settle(ticket, cost(20));
    let notices: Vec<_> = book.take_notices().iter().map(|it| (it.ceiling.0, it.percent)).collect();
    assert_eq!(notices, [(160, 50)], "no notice of the earlier ceiling of 100");
}

#[test]
fn a_lowered_budget_that_is_already_exhausted_is_noticed_without_a_request() {
    let (mut book, rules) = book(r#"{"budgets":[{"usd":"0.000000000100","per":"day"}]}"#, "{}");
    let ticket = reserve(&mut book, &rules, ask(45, 0), NOON).unwrap();
    book.settle(ticket, cost(45));
    assert_eq!(book.take_notices(), []);
    let lower = crate::policy(r#"{"budgets":[{"usd":"0.000000000040","per":"day"}]}"#);
    let notices = |book: &mut Book, now_ms| {
        book.rules(&limits::Scope::Project, &lower);
        assert_eq!((book.unloaded(now_ms), book.has_unread()), (vec![], false));
        book.take_notices().iter().map(|it| (it.ceiling.0, it.percent, it.spent.0)).collect::<Vec<_>>()
    };
    assert_eq!(notices(&mut book, NOON), [(40, 100, 45)]);
    assert_eq!(notices(&mut book, NOON), [], "the same policy again");
    // The spending of yesterday does not count towards a ceiling that is new today.
    book.rules(&limits::Scope::Project, &crate::policy("{}"));
    assert_eq!(notices(&mut book, NOON + DAY), []);
}

#[test]
fn claims_are_all_or_nothing() {
    let (mut book, rules) = book(
        r#"{"budgets":[{"usd":"1","per":"month"}],"limits":[{"requests":10,"per":"minute"},{"concurrent":9}]}"#,
        r#"{"budgets":[{"usd":"0.000000000010","per":"day"}],"limits":[{"tokens":100,"per":"hour"}]}"#,
    );
    let held = reserve(&mut book, &rules, ask(8, 90), NOON).unwrap();
    let before = book.clone();
    reserve(&mut book, &rules, ask(3, 1), NOON).unwrap_err();
    assert_eq!(book, before);
    let refusal = reserve(&mut book, &rules, ask(1, 20), NOON).unwrap_err();
    assert_eq!(book, before);
    // 90 of 100 tokens are left: 10 more leak in 6 minutes.
    let Refusal::Limited { retry_ms: 360_000, rule } = refusal else { panic!("{refusal:?}") };
    assert_eq!((rule.owner(), rule.words().as_str()), ("the key's", "100 tokens per hour"));
    book.settle(held, Actual { cost: Pico(8), tokens: Some(30) });
    let (ticket, remaining) = book.reserve(rules.iter(), ask(1, 20), NOON).unwrap();
    let (requests, tokens) = (remaining.requests.unwrap(), remaining.tokens.unwrap());
    assert_eq!((requests.limit, requests.remaining, requests.reset_ms), (10, 8, 12_000));
    assert_eq!((tokens.limit, tokens.remaining), (100, 50));
    book.settle(ticket, cost(1));
}

#[test]
fn places_are_returned_when_their_reservation_is_settled() {
    let (mut book, rules) = book(r#"{"limits":[{"concurrent":2}]}"#, "{}");
    let first = reserve(&mut book, &rules, ask(0, 0), NOON).unwrap();
    let _second = reserve(&mut book, &rules, ask(0, 0), NOON).unwrap();
    let refusal = reserve(&mut book, &rules, ask(0, 0), NOON).unwrap_err();
    assert!(matches!(refusal, Refusal::Limited { retry_ms: 1000, .. }));
    // A reservation that is overdue keeps its place: its owner still has it.
    assert_eq!(book.expire(i64::MAX), 2);
    assert_eq!(book.held(rules[0].account()), Some(2));
    book.settle(first, cost(0));
    assert_eq!(book.held(rules[0].account()), Some(1));
}

#[test]
fn an_overdue_reservation_counts_its_estimate_until_it_is_settled() {
    let (mut book, rules) = book(r#"{"budgets":[{"usd":"1","per":"day"}]}"#, "{}");
    let lost = Ask { deadline_ms: NOON + 10, ..ask(50, 0) };
    let late = reserve(&mut book, &rules, lost, NOON).unwrap();
    assert_eq!(book.expire(NOON + 9), 0);
    assert_eq!(book.expire(NOON + 10), 1);
    assert_eq!(book.expire(NOON + 10), 0);
    assert_eq!(book.spent(rules[0].account(), NOON).unwrap(), (Pico(50), Pico(0)));
    book.settle(late, cost(20));
    assert_eq!(book.spent(rules[0].account(), NOON).unwrap(), (Pico(20), Pico(0)));
}

#[test]
fn a_more_expensive_attempt_reserves_the_difference() {
    let (mut book, rules) = book(
        r#"{"budgets":[{"usd":"0.000000000100","per":"day"}],"limits":[{"requests":1,"per":"day"},{"concurrent":1}]}"#,
        "{}",
    );
    let ticket = reserve(&mut book, &rules, ask(30, 0), NOON).unwrap();
    book.raise(&ticket, rules.iter(), ask(20, 0), NOON).unwrap();
    book.raise(&ticket, rules.iter(), ask(90, 0), NOON).unwrap();
    assert_eq!(book.spent(rules[0].account(), NOON).unwrap().1, Pico(90));
    book.raise(&ticket, rules.iter(), ask(101, 0), NOON).unwrap_err();
    assert_eq!(book.spent(rules[0].account(), NOON).unwrap().1, Pico(90));
    book.settle(ticket, cost(15));
    assert_eq!(book.spent(rules[0].account(), NOON).unwrap(), (Pico(15), Pico(0)));
}

#[test]
fn an_exhausted_budget_may_name_a_downgrade() {
    let (mut book, rules) = book(
        r#"{"budgets":[{"usd":"0.000000000100","per":"day","on_exhausted":"downgrade:cheap"},{"usd":"0.000000000120","per":"day"}]}"#,
        "{}",
    );
    let refusal = reserve(&mut book, &rules, ask(110, 0), NOON).unwrap_err();
    assert_eq!(refusal, Refusal::Downgrade { alias: "cheap".to_owned() });
    let downgraded = Ask { is_downgraded: true, ..ask(110, 0) };
    let ticket = reserve(&mut book, &rules, downgraded, NOON).unwrap();
    book.settle(ticket, cost(110));
    // Both budgets use one account, so the cost was counted once.
    assert_eq!(book.spent(rules[0].account(), NOON).unwrap(), (Pico(110), Pico(0)));
    let refusal = reserve(&mut book, &rules, Ask { is_downgraded: true, ..ask(11, 0) }, NOON).unwrap_err();
    assert!(matches!(refusal, Refusal::Exhausted { left: Pico(10), .. }), "{refusal:?}");
}

/// The remaining money may be too little for the expensive model and enough for the cheap one.
#[test]
fn the_cheap_model_is_asked_about_the_rest() {
    let (mut book, rules) = book(
        r#"{"budgets":[{"usd":"0.000000000100","per":"day","on_exhausted":"downgrade:cheap"},{"usd":"0.000000000120","per":"day"}],
        "limits":[{"requests":1,"per":"minute","model":"dear"}]}"#,
        "{}",
    );
    let refusal = reserve(&mut book, &rules, ask(130, 0), NOON).unwrap_err();
    assert_eq!(refusal, Refusal::Downgrade { alias: "cheap".to_owned() });
    let ticket = reserve(&mut book, &rules, Ask { is_downgraded: true, ..ask(5, 0) }, NOON).unwrap();
    // The limit is full too, but may be one of a model that the alias does not use.
    let refusal = reserve(&mut book, &rules, ask(130, 0), NOON).unwrap_err();
    assert_eq!(refusal, Refusal::Downgrade { alias: "cheap".to_owned() });
    book.settle(ticket, cost(5));
}

/// For answers for which nothing is reserved.
#[test]
fn what_is_left_of_rates_grows_with_time() {
    let (mut book, rules) = book(r#"{"limits":[{"requests":60,"per":"minute"}]}"#, "{}");
    for _ in 0..10 {
        let ticket = reserve(&mut book, &rules, ask(0, 0), NOON).unwrap();
        book.settle(ticket, cost(0));
    }
    let left = |book: &mut Book, now_ms| book.left(rules.iter(), now_ms).requests.unwrap().remaining;
    assert_eq!((left(&mut book, NOON), left(&mut book, NOON + 4_000)), (50, 54));
}

#[test]
fn a_changed_ceiling_keeps_the_spent_amount() {
    let (mut book, rules) = book(r#"{"budgets":[{"usd":"1","per":"month"}]}"#, "{}");
    let ticket = reserve(&mut book, &rules, ask(700, 0), NOON).unwrap();
    let lower = crate::policy(r#"{"budgets":[{"usd":"0.000000000600","per":"month"}]}"#);
    let lower = book.rules(&limits::Scope::Project, &lower);
    book.settle(ticket, cost(500));
    reserve(&mut book, &lower, ask(101, 0), NOON).unwrap_err();
    let ticket = reserve(&mut book, &lower, ask(100, 0), NOON).unwrap();
    book.settle(ticket, cost(100));
    assert!(book.unloaded(NOON).is_empty());
}
