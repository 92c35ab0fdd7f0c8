//! Simulated time: a small executor that jumps from one wake-up to the next.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub type Task<'t> = Pin<Box<dyn Future<Output = ()> + 't>>;

/// The time in milliseconds, and the wake-up time of the current task.
#[derive(Debug, Default)]
pub struct Clock {
    now: Cell<u64>,
    wake_at: Cell<u64>,
}

impl Clock {
    pub fn now(&self) -> u64 {
        self.now.get()
    }

    pub fn sleep(&self, duration: Duration) -> Sleep<'_> {
        Sleep { clock: self, until: self.now() + duration.as_millis() as u64 }
    }

    /// Runs tasks, each from its own start time; start times must ascend.
    pub fn run<'t>(&self, starts: impl Iterator<Item = (u64, Task<'t>)>) {
        let mut starts = starts.peekable();
        let mut waiting: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
        let mut tasks: Vec<Option<Task<'t>>> = Vec::new();
        let mut free: Vec<usize> = Vec::new();
        loop {
            let next_wake = waiting.peek().map_or(u64::MAX, |Reverse((time, _))| *time);
            let place = match starts.next_if(|(time, _)| *time <= next_wake) {
                Some((time, task)) => {
                    self.now.set(time);
                    let place = free.pop().unwrap_or(tasks.len());
                    if place == tasks.len() {
                        tasks.push(None);
                    }
                    tasks[place] = Some(task);
                    place
                }
                None => {
                    let Some(Reverse((time, place))) = waiting.pop() else { return };
                    self.now.set(time);
                    place
                }
            };
            match self.poll(&mut tasks[place]) {
                Poll::Pending => waiting.push(Reverse((self.wake_at.get(), place))),
                Poll::Ready(()) => {
                    tasks[place] = None;
                    free.push(place);
                }
            }
        }
    }

    fn poll(&self, task: &mut Option<Task<'_>>) -> Poll<()> {
        let mut context = Context::from_waker(Waker::noop());
        task.as_mut().map_or(Poll::Ready(()), |task| task.as_mut().poll(&mut context))
    }
}

/// See `Clock::sleep`.
#[derive(Debug)]
pub struct Sleep<'c> {
    clock: &'c Clock,
    until: u64,
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.clock.now() >= self.until {
            return Poll::Ready(());
        }
        self.clock.wake_at.set(self.until);
        Poll::Pending
    }
}
