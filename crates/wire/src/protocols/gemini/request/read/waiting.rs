//! The calls of a turn without results. Results often have no ids: then name and order decide.

use canon::{Message, Part, PartKind, ToolCall};

/// The calls of one message. A turn may consist of calls: each takes about 20 bytes here.
#[derive(Default)]
pub(super) struct UnansweredCalls {
    /// The index of the message.
    message: usize,
    by_name: Queues,
    by_id: Queues,
    /// For all parts of the message.
    answered: Vec<bool>,
}

/// Parts ordered by a key, in their own order for each key.
#[derive(Default)]
struct Queues {
    parts: Vec<u32>,
    /// How many at the front of a queue are answered; stored at the beginning of the queue.
    passed: Vec<u32>,
}

impl UnansweredCalls {
    /// The calls of the message with this index.
    pub(super) fn of(message: usize, parts: &[Part]) -> Self {
        let calls: Vec<u32> =
            (0..parts.len()).filter(|part| call(&parts[*part]).is_some()).map(|part| part as u32).collect();
        if calls.is_empty() {
            return Self::default();
        }
        let by_id = Queues::by(calls.clone(), |part| key(parts, part, |call| &call.id));
        let by_name = Queues::by(calls, |part| key(parts, part, |call| &call.name));
        Self { message, by_name, by_id, answered: vec![false; parts.len()] }
    }

    /// The call that a result answers: by its id, else the first one with its name.
    pub(super) fn take<'a>(
        &mut self,
        id: Option<&str>,
        name: &str,
        messages: &'a [Message],
    ) -> Option<&'a ToolCall> {
        let parts = &messages.get(self.message)?.parts;
        let found = match id {
            Some(id) => self.by_id.first(id, |part| key(parts, part, |call| &call.id), &self.answered),
            None => self.by_name.first(name, |part| key(parts, part, |call| &call.name), &self.answered),
        }?;
        self.answered[found] = true;
        call(&parts[found])
    }
}

impl Queues {
    fn by<'a>(mut parts: Vec<u32>, key: impl Fn(u32) -> &'a str) -> Self {
        parts.sort_unstable_by(|left, right| key(*left).cmp(key(*right)).then(left.cmp(right)));
        Self { passed: vec![0; parts.len()], parts }
    }

    /// The first unanswered part with this key.
    fn first<'a>(&mut self, wanted: &str, key: impl Fn(u32) -> &'a str, answered: &[bool]) -> Option<usize> {
        let start = self.parts.partition_point(|part| key(*part) < wanted);
        let passed = self.passed.get_mut(start)?;
        loop {
            let part = *self.parts.get(start + *passed as usize)?;
            if key(part) != wanted {
                return None;
            }
            if !answered[part as usize] {
                return Some(part as usize);
            }
            *passed += 1;
        }
    }
}

fn call(part: &Part) -> Option<&ToolCall> {
    match &part.kind {
        PartKind::ToolCall(call) => Some(call),
        _ => None,
    }
}

fn key(parts: &[Part], part: u32, of: impl Fn(&ToolCall) -> &str) -> &str {
    call(&parts[part as usize]).map_or("", of)
}
