//! Tasks under way and their answers, by connection.

use std::collections::{HashMap, VecDeque};

use super::access::Token;
use super::task::{Answer, Task};
use crate::conn_id::ConnId;

/// Answers that may wait to be fetched: each may be a few hundred kilobytes.
const ANSWERS_MAX: usize = 8;

/// The tasks of admin clients, and what lets them in.
#[derive(Debug, Default)]
pub struct Admin {
    token: Option<Token>,
    /// By [`ConnId::to_bits`]. A connection has one at most: it is not read from meanwhile.
    tasks: HashMap<u64, State>,
    /// Tasks that the server has not begun, the first first. Some may have been given up.
    queue: VecDeque<(ConnId, Task)>,
    /// Answers that have not been fetched.
    answers: usize,
    /// Bytes of them.
    answer_bytes: usize,
}

#[derive(Debug)]
enum State {
    Pending,
    Done(Answer),
}

impl Admin {
    /// Without a token clients over TCP may only look.
    #[must_use]
    pub fn new(token: Option<Token>) -> Self {
        Admin { token, ..Admin::default() }
    }

    /// The token that clients over TCP need.
    #[must_use]
    pub fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }

    /// Demands another token from now on, or none.
    pub fn set_token(&mut self, token: Option<Token>) {
        self.token = token;
    }

    pub(super) fn submit(&mut self, id: ConnId, task: Task) {
        self.tasks.insert(id.to_bits(), State::Pending);
        self.queue.push_back((id, task));
    }

    pub(super) fn is_pending(&self, id: ConnId) -> bool {
        self.tasks.contains_key(&id.to_bits())
    }

    pub(super) fn take_answer(&mut self, id: ConnId) -> Option<Answer> {
        match self.tasks.remove(&id.to_bits())? {
            State::Done(answer) => {
                self.answers -= 1;
                self.answer_bytes -= answer.body.len();
                Some(answer)
            }
            State::Pending => {
                self.tasks.insert(id.to_bits(), State::Pending);
                None
            }
        }
    }

    /// The next task to be done; none while as many answers wait to be fetched as may.
    pub fn next_task(&mut self) -> Option<(ConnId, Task)> {
        if self.answers >= ANSWERS_MAX {
            return None;
        }
        self.queue.pop_front()
    }

    /// Whether [`next_task`](Self::next_task) has one.
    pub(crate) fn has_task(&self) -> bool {
        self.answers < ANSWERS_MAX && !self.queue.is_empty()
    }

    /// Whether one more answer may wait to be fetched.
    pub(crate) fn has_room(&self) -> bool {
        self.answers < ANSWERS_MAX
    }

    /// Whether no more answers wait to be fetched than may, those of a reload aside.
    pub(crate) fn is_bounded(&self) -> bool {
        self.answers <= ANSWERS_MAX
    }

    /// Checks the counts against the tasks.
    ///
    /// # Panics
    ///
    /// If they disagree.
    pub(crate) fn assert_counts(&self) {
        let answers = self.tasks.values().filter_map(|state| match state {
            State::Pending => None,
            State::Done(answer) => Some(answer.body.len()),
        });
        let (count, bytes) = answers.fold((0, 0), |(count, bytes), len| (count + 1, bytes + len));
        assert_eq!((self.answers, self.answer_bytes), (count, bytes), "answers and their bytes");
    }

    /// Whether the connection still waits for its answer.
    pub(crate) fn is_awaited(&self, id: ConnId) -> bool {
        matches!(self.tasks.get(&id.to_bits()), Some(State::Pending))
    }

    /// Whether any connection waits for its answer.
    pub(crate) fn has_pending(&self) -> bool {
        self.tasks.len() > self.answers
    }

    /// A task is done. Returns whether its connection is still there to be told.
    pub fn answer(&mut self, id: ConnId, answer: Answer) -> bool {
        let Some(state) = self.tasks.get_mut(&id.to_bits()) else { return false };
        self.answers += 1;
        self.answer_bytes += answer.body.len();
        *state = State::Done(answer);
        true
    }

    /// A connection has gone: what it asked for reaches nobody, but a change is made.
    pub(crate) fn disconnect(&mut self, id: ConnId) {
        if let Some(State::Done(answer)) = self.tasks.remove(&id.to_bits()) {
            self.answers -= 1;
            self.answer_bytes -= answer.body.len();
        }
        self.queue.retain(|(other, task)| *other != id || task.is_change());
    }

    /// Bytes allocated for what waits.
    pub(crate) fn allocated(&self) -> usize {
        self.answer_bytes
            + self.queue.capacity() * size_of::<(ConnId, Task)>()
            + self.tasks.capacity() * size_of::<(u64, State)>()
    }

    /// Connections that wait for an answer, or have one and have not been told: for invariants.
    pub(crate) fn connections(&self) -> impl Iterator<Item = ConnId> {
        self.tasks.keys().map(|bits| ConnId::from_bits(*bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(generation: u32) -> ConnId {
        ConnId { index: generation, generation }
    }

    #[test]
    fn answers_that_wait_are_bounded() {
        let mut admin = Admin::default();
        for n in 0..20 {
            admin.submit(id(n), Task::Status);
        }
        let mut begun = 0;
        while let Some((id, _)) = admin.next_task() {
            assert!(admin.answer(id, Answer::json(200, "{}")));
            begun += 1;
        }
        assert_eq!((begun, admin.has_task()), (ANSWERS_MAX, false));
        assert!(admin.take_answer(id(0)).is_some() && admin.take_answer(id(0)).is_none());
        assert!(admin.has_task() && admin.take_answer(id(19)).is_none());
        assert!(admin.is_pending(id(19)) && admin.has_pending());
    }

    #[test]
    fn change_is_made_though_its_client_has_gone() {
        let mut admin = Admin::default();
        admin.submit(id(1), Task::Status);
        admin.submit(id(2), Task::Drain { is_on: true });
        admin.disconnect(id(1));
        admin.disconnect(id(2));
        assert_eq!(admin.next_task(), Some((id(2), Task::Drain { is_on: true })));
        assert!(!admin.answer(id(2), Answer::json(200, "{}")));
        assert_eq!((admin.next_task(), admin.has_pending(), admin.answer_bytes), (None, false, 0));
    }
}
