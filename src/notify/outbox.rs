//! [`Outbox`]: what waits to be delivered by one channel. Pure: it knows the time only as it is told.
//!
//! Of repeats the first goes at once. Those that follow within the quiet time become one message at its end, with
//! their number; the same goes for those that wait while nothing can be delivered, or because of the rate. News of
//! another state (the seal is whole again) is no repeat, so that the last word is never an old one for long.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::alert::{Alert, State, Topic};
use crate::audit::desk;

/// How many messages may wait, and about how many subjects repeats are counted.
const ROOM: usize = 200;
/// What the rate is counted over.
const HOUR: Duration = Duration::from_secs(3_600);

/// A message to deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The last of them.
    pub alert: Alert,
    /// How many alerts it stands for, at least 1.
    pub times: u64,
    /// Within which time they came.
    pub within: Duration,
    /// How many alerts could not be delivered before it.
    pub lost: u64,
}

impl Message {
    /// A message for this alert alone.
    pub fn of(alert: Alert) -> Self {
        Self {
            alert,
            times: 1,
            within: Duration::ZERO,
            lost: 0,
        }
    }
}

/// What is to be done next.
pub(super) type Next = desk::Next<Box<Message>>;

/// What waits to be delivered.
#[derive(Debug)]
pub struct Outbox {
    quiet: Duration,
    per_hour: usize,
    waiting: VecDeque<Waiting>,
    told: HashMap<Key, Told>,
    /// When messages were given out, within the last hour.
    given: VecDeque<Instant>,
    lost: u64,
}

type Key = (Topic, String);

#[derive(Debug)]
struct Waiting {
    alert: Alert,
    times: u64,
    since: Instant,
}

/// What was told about a subject last.
#[derive(Debug)]
struct Told {
    state: State,
    at: Instant,
    repeats: Option<Waiting>,
}

impl Outbox {
    /// An empty one.
    pub fn new(quiet: Duration, per_hour: u32) -> Self {
        Self {
            quiet,
            per_hour: (per_hour as usize).max(1),
            waiting: VecDeque::new(),
            told: HashMap::new(),
            given: VecDeque::new(),
            lost: 0,
        }
    }

    /// Takes an alert.
    pub fn offer(&mut self, alert: Alert, now: Instant) {
        let key = key(&alert);
        let same = |waiting: &&mut Waiting| {
            (waiting.alert.topic, &waiting.alert.subject) == (key.0, &key.1)
        };
        if let Some(waiting) = self.waiting.iter_mut().find(same) {
            waiting.more(alert);
            return;
        }
        match self.told.get_mut(&key) {
            Some(told) if told.state == alert.state && now < told.at + self.quiet => {
                match &mut told.repeats {
                    Some(repeats) => repeats.more(alert),
                    none => *none = Some(Waiting::first(alert, now)),
                }
            }
            _ if self.waiting.len() >= ROOM => self.lost += 1,
            // Repeats that were still held are older than this, and of the state before.
            other => {
                let held = other.and_then(|told| told.repeats.take());
                let mut waiting = held.unwrap_or_else(|| Waiting::first(alert.clone(), now));
                waiting.alert = alert;
                self.waiting.push_back(waiting);
            }
        }
    }

    /// What is to be done at `now`; a message that is given out counts as told.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        self.end_quiet(now);
        while self.given.front().is_some_and(|&at| at + HOUR <= now) {
            self.given.pop_front();
        }
        let quiet_ends = self.told.values().filter(|told| told.repeats.is_some());
        let quiet_ends = quiet_ends.map(|told| told.at + self.quiet).min();
        if self.waiting.is_empty() {
            return quiet_ends.map_or(Next::Wait, Next::WaitUntil);
        }
        if self.given.len() >= self.per_hour {
            let room = self.given.front().map_or(now, |&at| at + HOUR);
            return Next::WaitUntil(quiet_ends.map_or(room, |at| at.min(room)));
        }
        let Some(waiting) = self.waiting.pop_front() else {
            return Next::Wait;
        };
        self.given.push_back(now);
        let told = Told {
            state: waiting.alert.state,
            at: now,
            repeats: None,
        };
        let key = key(&waiting.alert);
        if self.told.len() < ROOM || self.told.contains_key(&key) {
            self.told.insert(key, told);
        }
        Next::Do(Box::new(Message {
            times: waiting.times,
            within: now.duration_since(waiting.since),
            alert: waiting.alert,
            lost: std::mem::take(&mut self.lost),
        }))
    }

    /// A message that was given out cannot be delivered: what comes about its subject is no repeat of it.
    pub fn undeliverable(&mut self, message: &Message) {
        self.lost += message.lost + message.times;
        if let Some(repeats) = self
            .told
            .remove(&key(&message.alert))
            .and_then(|told| told.repeats)
        {
            self.waiting.push_back(repeats);
        }
    }

    /// Repeats whose quiet time is over are due.
    fn end_quiet(&mut self, now: Instant) {
        let quiet = self.quiet;
        let mut due = Vec::new();
        self.told.retain(|_, told| {
            if now < told.at + quiet {
                return true;
            }
            due.extend(told.repeats.take());
            false
        });
        due.sort_by_key(|waiting| waiting.since);
        self.waiting.extend(due);
    }
}

impl Waiting {
    fn first(alert: Alert, now: Instant) -> Self {
        Self {
            alert,
            times: 1,
            since: now,
        }
    }

    fn more(&mut self, alert: Alert) {
        self.alert = alert;
        self.times += 1;
    }
}

fn key(alert: &Alert) -> Key {
    (alert.topic, alert.subject.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    const QUIET: Duration = Duration::from_secs(600);
    const SECOND: Duration = Duration::from_secs(1);

    fn alert(subject: &str, state: State) -> Alert {
        let time = SystemTime::UNIX_EPOCH;
        Alert::new(Topic::Seal, state, subject, subject, "", time)
    }

    #[track_caller]
    fn delivered(next: Next) -> (String, State, u64, u64) {
        match next {
            Next::Do(message) => {
                let Message {
                    alert, times, lost, ..
                } = *message;
                (alert.subject, alert.state, times, lost)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_goes_at_once_and_repeats_become_one() {
        let start = Instant::now();
        let mut outbox = Outbox::new(QUIET, 100);
        outbox.offer(alert("a", State::Trouble), start);
        assert_eq!(
            delivered(outbox.next(start)),
            ("a".to_owned(), State::Trouble, 1, 0)
        );
        assert_eq!(outbox.next(start), Next::Wait);
        for n in 1..=12 {
            outbox.offer(alert("a", State::Trouble), start + n * SECOND);
        }
        assert_eq!(
            outbox.next(start + 13 * SECOND),
            Next::WaitUntil(start + QUIET)
        );
        let Next::Do(message) = outbox.next(start + QUIET) else {
            panic!("the repeats are due");
        };
        assert_eq!((message.times, message.within), (12, QUIET - SECOND));
        // Told again: the quiet begins anew, and then it is forgotten.
        outbox.offer(alert("a", State::Trouble), start + QUIET);
        assert_eq!(
            outbox.next(start + QUIET),
            Next::WaitUntil(start + 2 * QUIET)
        );
        assert_eq!(delivered(outbox.next(start + 2 * QUIET)).2, 1);
        assert_eq!(outbox.next(start + 3 * QUIET), Next::Wait);
        assert!(outbox.told.is_empty());
    }

    #[test]
    fn another_state_is_no_repeat_and_the_last_word_is_the_newest() {
        let start = Instant::now();
        let mut outbox = Outbox::new(QUIET, 100);
        for state in [State::Trouble, State::Over, State::Trouble] {
            outbox.offer(alert("a", state), start);
            assert_eq!(delivered(outbox.next(start)).1, state);
        }
        outbox.offer(alert("a", State::Trouble), start);
        outbox.offer(alert("a", State::Over), start);
        assert_eq!(delivered(outbox.next(start)).1, State::Over);
        // The repeat of before it is not told after it.
        assert_eq!(outbox.next(start + 2 * QUIET), Next::Wait);
    }

    #[test]
    fn the_rate_holds_messages_back_and_merges_them() {
        let start = Instant::now();
        let mut outbox = Outbox::new(QUIET, 2);
        for subject in ["a", "b", "c", "c", "d"] {
            outbox.offer(alert(subject, State::Trouble), start);
        }
        assert_eq!(delivered(outbox.next(start)).0, "a");
        assert_eq!(delivered(outbox.next(start + SECOND)).0, "b");
        assert_eq!(
            outbox.next(start + 2 * SECOND),
            Next::WaitUntil(start + HOUR)
        );
        let (subject, _, times, _) = delivered(outbox.next(start + HOUR));
        assert_eq!((subject.as_str(), times), ("c", 2));
        assert_eq!(
            outbox.next(start + HOUR),
            Next::WaitUntil(start + HOUR + SECOND)
        );
    }

    #[test]
    fn what_is_held_is_bounded_and_what_is_lost_is_said() {
        let start = Instant::now();
        let mut outbox = Outbox::new(QUIET, u32::MAX);
        for n in 0..ROOM + 7 {
            outbox.offer(alert(&n.to_string(), State::News), start);
        }
        assert_eq!(
            delivered(outbox.next(start)),
            ("0".to_owned(), State::News, 1, 7)
        );
        for _ in 1..ROOM {
            assert_eq!(delivered(outbox.next(start)).3, 0);
        }
        assert_eq!(outbox.next(start), Next::Wait);
        for n in 0..10 * ROOM {
            outbox.offer(alert(&format!("more {n}"), State::News), start);
            outbox.next(start);
        }
        assert!(outbox.told.len() <= ROOM);
    }

    #[test]
    fn what_could_not_be_delivered_is_counted_and_not_taken_for_told() {
        let start = Instant::now();
        let mut outbox = Outbox::new(QUIET, 100);
        outbox.offer(alert("a", State::Trouble), start);
        let Next::Do(message) = outbox.next(start) else {
            panic!("it is due");
        };
        outbox.offer(alert("a", State::Trouble), start);
        outbox.undeliverable(&message);
        assert_eq!(
            delivered(outbox.next(start)),
            ("a".to_owned(), State::Trouble, 1, 1)
        );
    }
}
