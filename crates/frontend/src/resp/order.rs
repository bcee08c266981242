//! Commands of one connection act on a key in the order in which they came: which of them may begin.
//!
//! A command stands in line at each of its keys, behind all that came before it; it begins when it is the first in
//! every one of its lines, and steps out of all of them at once when it is answered, also by an error. A command joins
//! all of its lines at once, so the oldest that has not been answered is never behind another: there is no deadlock.
//! Keys that have no command in common do not wait for each other.

use std::collections::{BTreeMap, VecDeque};

use starling_types::{BucketName, Key};

/// Where a line forms.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BucketKey(pub BucketName, pub Key);

/// The commands of a connection that have not been answered. `T` is what it takes to begin one. Commands go by
/// numbers, which the caller gives out once each.
#[derive(Debug)]
pub struct Order<T> {
    lines: BTreeMap<BucketKey, VecDeque<u64>>,
    commands: BTreeMap<u64, Command<T>>,
    /// May begin, in the order in which they came to be first.
    free: VecDeque<(u64, T)>,
    waiting: usize,
    waiting_bytes: usize,
}

#[derive(Debug)]
struct Command<T> {
    /// Each once.
    places: Vec<BucketKey>,
    /// Lines in which another command is before it.
    behind: usize,
    /// Until it may begin.
    task: Option<Task<T>>,
}

#[derive(Debug)]
struct Task<T> {
    begins: T,
    bytes: usize,
}

impl<T> Order<T> {
    /// Command `number` joins the lines at `places`; it keeps `bytes` in memory while it waits.
    pub fn join(&mut self, number: u64, mut places: Vec<BucketKey>, bytes: usize, begins: T) {
        places.sort_unstable();
        places.dedup();
        let mut behind = 0;
        for place in &places {
            let line = self.lines.entry(place.clone()).or_default();
            behind += usize::from(!line.is_empty());
            line.push_back(number);
        }
        let mut command = Command { places, behind, task: None };
        if behind == 0 {
            self.free.push_back((number, begins));
        } else {
            self.waiting += 1;
            self.waiting_bytes += bytes;
            command.task = Some(Task { begins, bytes });
        }
        self.commands.insert(number, command);
    }

    /// The next command that may begin.
    pub fn begin(&mut self) -> Option<(u64, T)> {
        self.free.pop_front()
    }

    /// Command `number` has begun and is answered: the commands behind it step forward.
    pub fn leave(&mut self, number: u64) {
        let Some(command) = self.commands.remove(&number) else {
            return;
        };
        for place in command.places {
            if let Some(next) = self.step(&place) {
                self.advance(next);
            }
        }
    }

    /// Whether a command may begin.
    pub fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// Whether a command has yet to begin.
    pub fn has_waiting(&self) -> bool {
        self.waiting > 0 || self.has_free()
    }

    /// Bytes of the commands that stand behind others.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// The first in line goes; returns the new first.
    fn step(&mut self, place: &BucketKey) -> Option<u64> {
        let line = self.lines.get_mut(place)?;
        line.pop_front();
        let next = line.front().copied();
        if next.is_none() {
            self.lines.remove(place);
        }
        next
    }

    fn advance(&mut self, number: u64) {
        let Some(command) = self.commands.get_mut(&number) else {
            return;
        };
        command.behind -= 1;
        if command.behind == 0
            && let Some(task) = command.task.take()
        {
            self.waiting -= 1;
            self.waiting_bytes -= task.bytes;
            self.free.push_back((number, task.begins));
        }
    }
}

impl<T> Default for Order<T> {
    fn default() -> Self {
        Self {
            lines: BTreeMap::new(),
            commands: BTreeMap::new(),
            free: VecDeque::new(),
            waiting: 0,
            waiting_bytes: 0,
        }
    }
}

#[cfg(test)]
mod tests;
