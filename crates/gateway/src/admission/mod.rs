//! Budgets and limits: the possible cost of a request is reserved before each attempt, and settled when its
//! record ends.
//!
//! One node keeps its counters in memory: a [`Book`] for each project. Earlier spending is read from the
//! database's ledger, which is the sum of the usage records. Where several nodes share counters, each holds a
//! part of them (`crate::cluster`).

use std::collections::{HashMap, HashSet};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use canon::write::push_u64;
use canon::{Pico, Usage};
use limits::{Actual, Notice, Policy, Remaining, Rule, Scope, Ticket, Window, day_of};
use store::{Spent, Store, StoreError};

use crate::clock;

/// More unread accounts than this are read with one pass over the ledger.
const MANY: usize = 64;

/// The counters of a project, shared by all its requests.
#[derive(Clone, Default)]
pub struct Book(Arc<Counters>);

#[derive(Default)]
struct Counters {
    project: Arc<str>,
    book: Mutex<limits::Book>,
    /// The holder communicates with the other nodes about these counters.
    turn: tokio::sync::Mutex<()>,
    unread: Unread,
    /// Some book has notices.
    has_notices: Arc<AtomicBool>,
}

/// The counters of a project while no other request uses them.
pub struct LockedBook<'a> {
    book: MutexGuard<'a, limits::Book>,
    has_notices: &'a AtomicBool,
}

impl Deref for LockedBook<'_> {
    type Target = limits::Book;

    fn deref(&self) -> &limits::Book {
        &self.book
    }
}

impl DerefMut for LockedBook<'_> {
    fn deref_mut(&mut self) -> &mut limits::Book {
        &mut self.book
    }
}

impl Drop for LockedBook<'_> {
    fn drop(&mut self) {
        if self.book.has_notices() {
            self.has_notices.store(true, Ordering::Release);
        }
    }
}

/// The projects whose budgets may have spending that is not read yet.
type Unread = Arc<Mutex<HashSet<Arc<str>>>>;

impl Book {
    fn new(project: &str, books: &Books) -> Self {
        let book = if books.is_shared { limits::Book::shared() } else { limits::Book::default() };
        Self(Arc::new(Counters {
            project: project.into(),
            book: Mutex::new(book),
            turn: Default::default(),
            unread: books.unread.clone(),
            has_notices: books.has_notices.clone(),
        }))
    }

    /// The rules of a policy, with their accounts. [`Books::load`] must run before they are in force.
    pub fn rules(&self, scope: &Scope, policy: &Policy) -> Vec<Rule> {
        let mut book = self.lock();
        let rules = book.rules(scope, policy);
        let has_unread = book.has_unread();
        drop(book);
        if has_unread {
            locked(&self.0.unread).insert(self.0.project.clone());
        }
        rules
    }

    /// Held only for a few hundred instructions, so nobody waits long.
    pub fn lock(&self) -> LockedBook<'_> {
        LockedBook { book: locked(&self.0.book), has_notices: &self.0.has_notices }
    }

    pub fn project(&self) -> &str {
        &self.0.project
    }

    /// The turn to communicate with the other nodes.
    pub fn turn(&self) -> &tokio::sync::Mutex<()> {
        &self.0.turn
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The books of all projects. Clones share them.
#[derive(Clone, Default)]
pub struct Books {
    books: Arc<Mutex<HashMap<Arc<str>, Book>>>,
    unread: Unread,
    has_notices: Arc<AtomicBool>,
    store: Option<Store>,
    is_shared: bool,
}

impl Books {
    /// Books over the ledger of this database, shared with other nodes or not.
    pub fn new(store: Store, is_shared: bool) -> Self {
        Self { store: Some(store), is_shared, ..Self::default() }
    }

    /// The book of a project. It stays the same for the life of the process, whatever happens to the
    /// project's policy.
    pub fn of(&self, project: &str) -> Book {
        let begin = || Book::new(project, self);
        self.all().entry(project.into()).or_insert_with(begin).clone()
    }

    /// The database with the ledger.
    pub fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    /// All existing books.
    pub fn all_of_them(&self) -> Vec<Book> {
        self.all().values().cloned().collect()
    }

    /// Budget notices since the last call, by project.
    pub fn take_notices(&self) -> Vec<(Arc<str>, Notice)> {
        // Most seconds have no notices, and there may be many books.
        if !self.has_notices.swap(false, Ordering::Acquire) {
            return Vec::new();
        }
        let books = self.all();
        let of_project = |(project, book): (&Arc<str>, &Book)| {
            let notices = book.lock().take_notices();
            notices.into_iter().map(|notice| (project.clone(), notice)).collect::<Vec<_>>()
        };
        books.iter().flat_map(of_project).collect()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Arc<str>, Book>> {
        locked(&self.books)
    }

    /// The books with budgets that may have spending that is not read yet.
    fn unread(&self) -> Vec<Book> {
        let projects: Vec<Arc<str>> = locked(&self.unread).iter().cloned().collect();
        let books = self.all();
        projects.iter().filter_map(|project| books.get(project).cloned()).collect()
    }

    /// Reads the earlier spending of every budget that is new here. Before that a budget must not be in
    /// force.
    pub async fn load(&self) -> Result<(), StoreError> {
        let Some(store) = &self.store else { return Ok(()) };
        let (books, now) = (self.unread(), clock::now_ms());
        let accounts = |book: &Book| {
            let unloaded = book.lock().unloaded(now);
            let named = |(account, scope, window)| {
                let scope = match scope {
                    Scope::Project => format!("project:{}", book.project()),
                    Scope::Key(id) => format!("key:{id}"),
                };
                (book.clone(), account, scope, window)
            };
            unloaded.into_iter().map(named).collect::<Vec<_>>()
        };
        let unread: Vec<_> = books.iter().flat_map(accounts).collect();
        let days = [Window::Day, Window::Week, Window::Month].map(|window| window.start(day_of(now)));
        let mut sums: HashMap<String, Spent> = HashMap::new();
        if unread.len() > MANY {
            sums = store.spent(None, days).await?;
        } else {
            for (_, _, scope, _) in &unread {
                if !sums.contains_key(scope) {
                    let sum = store.spent(Some(scope), days).await?;
                    sums.insert(scope.clone(), sum.get(scope).copied().unwrap_or_default());
                }
            }
        }
        for (book, account, scope, window) in unread {
            let sum = sums.get(&scope).copied().unwrap_or_default();
            let spent = match window {
                Window::Day => sum.since[0],
                Window::Week => sum.since[1],
                Window::Month => sum.since[2],
                Window::Total => sum.total,
            };
            book.lock().load(account, Pico(spent), now);
        }
        self.forget_read(&books, now);
        Ok(())
    }

    /// A book stays unread while a change of its policy creates accounts at the same time.
    fn forget_read(&self, books: &[Book], now_ms: i64) {
        let mut unread = locked(&self.unread);
        for book in books {
            let mut counters = book.lock();
            if counters.unloaded(now_ms).is_empty() {
                unread.remove(book.project());
            }
        }
    }
}

/// The reservations of a request. Settling replaces them by the actual use; dropping returns everything.
pub struct Grant {
    pub(crate) book: Book,
    pub(crate) ticket: Option<Ticket>,
    /// The money; none where no budget applies.
    pub(crate) reserved: Option<Pico>,
}

impl Grant {
    /// Replaces the reservations by the actual use.
    pub fn settle(&mut self, cost: Pico, usage: Option<&Usage>) {
        if let Some(ticket) = self.ticket.take() {
            let tokens = usage.map_or(0, |usage| usage.prompt_tokens() + usage.completion_tokens());
            self.book.lock().settle(ticket, Actual { cost, tokens: Some(tokens) });
        }
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.settle(Pico::ZERO, None);
    }
}

/// A time in the form of OpenAI's headers: `1s`, `6m0s`, `250ms`.
pub fn duration(ms: u64) -> String {
    let mut out = Vec::with_capacity(16);
    push_duration(&mut out, ms);
    String::from_utf8(out).unwrap_or_default()
}

/// The same. Hand-written because each answer has two of them.
pub fn push_duration(out: &mut Vec<u8>, ms: u64) {
    let (seconds, rest) = (ms / 1000, ms % 1000);
    if seconds == 0 && rest > 0 {
        push_u64(out, rest);
        out.push(b'm');
    } else {
        if seconds >= 3600 {
            push_u64(out, seconds / 3600);
            out.push(b'h');
        }
        if seconds >= 60 {
            push_u64(out, seconds / 60 % 60);
            out.push(b'm');
        }
        push_u64(out, seconds % 60);
        if rest > 0 {
            let digits = [rest / 100, rest / 10 % 10, rest % 10].map(|digit| b'0' + digit as u8);
            let length = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
            out.push(b'.');
            out.extend_from_slice(&digits[..length]);
        }
    }
    out.push(b's');
}

/// The remaining limits for an answer's headers; none where there is no limit.
pub fn in_answer(remaining: Remaining) -> Option<Box<Remaining>> {
    (remaining != Remaining::default()).then(|| Box::new(remaining))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_panics_frees_its_place_and_its_money() {
        let book = Books::default().of("p");
        let policy = r#"{"limits":[{"concurrent":1}],"budgets":[{"usd":"1","per":"total"}]}"#;
        let policy = serde_json::from_str(policy).unwrap();
        let rules = book.rules(&Scope::Project, &policy);
        let unloaded = book.lock().unloaded(0);
        for (account, ..) in unloaded {
            book.lock().load(account, Pico::ZERO, 0);
        }
        let ask = limits::Ask { cost: Pico(5), ..limits::Ask::default() };
        for _ in 0..2 {
            let panicked = std::thread::scope(|scope| {
                let request = || {
                    let (ticket, _) = book.lock().reserve(rules.iter(), ask, 0).unwrap();
                    let _grant = Grant { book: book.clone(), ticket: Some(ticket), reserved: Some(ask.cost) };
                    assert_eq!(book.lock().open(), 1);
                    let _held = book.lock();
                    panic!("a bug, while the counters are locked");
                };
                scope.spawn(request).join().is_err()
            });
            assert!(panicked);
            assert_eq!(book.lock().open(), 0);
        }
        let held: Vec<_> = rules.iter().filter_map(|rule| book.lock().held(rule.account())).collect();
        let money: Vec<_> = rules.iter().filter_map(|rule| book.lock().spent(rule.account(), 0)).collect();
        assert_eq!((held, money), (vec![0], vec![(Pico::ZERO, Pico::ZERO)]));
    }

    #[tokio::test]
    async fn only_the_books_of_changed_policies_are_read() {
        let store = Store::open("sqlite::memory:").await.unwrap();
        let books = Books::new(store, false);
        let policy = r#"{"budgets":[{"usd":"1","per":"day"},{"usd":"9","per":"month"}]}"#;
        let policy: Policy = serde_json::from_str(policy).unwrap();
        let rules = |project: usize| books.of(&format!("p{project}")).rules(&Scope::Project, &policy);
        let unread = || {
            let mut names: Vec<_> = books.unread().iter().map(|book| book.project().to_owned()).collect();
            names.sort_unstable();
            names
        };
        (0..1000).for_each(|project| drop(rules(project)));
        assert_eq!(unread().len(), 1000);
        books.load().await.unwrap();
        assert_eq!(unread().len(), 0);
        rules(7);
        assert_eq!(unread().len(), 0, "the same policy has no other accounts");
        let key = books.of("p8").rules(&Scope::Key("k".into()), &policy);
        rules(1000);
        assert_eq!(unread(), ["p1000", "p8"]);
        assert!(!books.has_notices.load(Ordering::Relaxed));
        let (ask, now) = (limits::Ask { cost: Pico(1), ..limits::Ask::default() }, clock::now_ms());
        books.load().await.unwrap();
        assert_eq!(unread().len(), 0);
        let (ticket, _) = books.of("p8").lock().reserve(key.iter(), ask, now).unwrap();
        books.of("p8").lock().settle(ticket, Actual { cost: Pico::USD, tokens: None });
        let notices: Vec<_> =
            books.take_notices().into_iter().map(|(project, notice)| (project, notice.percent)).collect();
        assert_eq!(notices, [("p8".into(), 100)]);
        assert!(books.take_notices().is_empty() && !books.has_notices.load(Ordering::Relaxed));
    }

    #[test]
    fn durations_are_written_as_openai_writes_them() {
        for (ms, text) in [
            (0, "0s"),
            (250, "250ms"),
            (1000, "1s"),
            (1500, "1.5s"),
            (360_000, "6m0s"),
            (86_400_000, "24h0m0s"),
            (61_001, "1m1.001s"),
        ] {
            assert_eq!(duration(ms), text);
        }
    }
}
