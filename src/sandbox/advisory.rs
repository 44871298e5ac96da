//! Advisory locks, kept by the proxy: in the sandbox's own key space, and per client, so that pools keep
//! their mutual exclusion and nobody outside of the sandbox is ever blocked
//! ([Postgres, explicit locking](https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS)).

use super::machine::ClientId;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

/// What is locked: one 64-bit key or two 32-bit keys; the two spaces do not overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Key {
    One(i64),
    Two(i32, i32),
}

/// What a function of the family does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// `pg_[try_]advisory_[xact_]lock[_shared]`
    Lock {
        /// `try`: answer at once.
        no_wait: bool,
        /// `xact`: released at the end of the transaction.
        transaction: bool,
        /// `shared`
        shared: bool,
    },
    /// `pg_advisory_unlock[_shared]`
    Unlock {
        /// `shared`
        shared: bool,
    },
    /// `pg_advisory_unlock_all`
    UnlockAll,
}

impl Call {
    /// By the function's name, without its schema.
    pub fn from_name(name: &str) -> Option<Self> {
        if name == "pg_advisory_unlock_all" {
            return Some(Self::UnlockAll);
        }
        let (name, shared) = match name.strip_suffix("_shared") {
            Some(name) => (name, true),
            None => (name, false),
        };
        Some(match name {
            "pg_advisory_lock" => Self::Lock {
                no_wait: false,
                transaction: false,
                shared,
            },
            "pg_advisory_xact_lock" => Self::Lock {
                no_wait: false,
                transaction: true,
                shared,
            },
            "pg_try_advisory_lock" => Self::Lock {
                no_wait: true,
                transaction: false,
                shared,
            },
            "pg_try_advisory_xact_lock" => Self::Lock {
                no_wait: true,
                transaction: true,
                shared,
            },
            "pg_advisory_unlock" => Self::Unlock { shared },
            _ => return None,
        })
    }

    /// Whether the function returns boolean; the others return void.
    pub fn returns_bool(self) -> bool {
        matches!(self, Self::Lock { no_wait: true, .. } | Self::Unlock { .. })
    }
}

/// One client's holds on one key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Hold {
    exclusive_session: u32,
    exclusive_transaction: u32,
    shared_session: u32,
    shared_transaction: u32,
}

impl Hold {
    fn exclusive(self) -> bool {
        self.exclusive_session + self.exclusive_transaction > 0
    }

    fn count(&mut self, transaction: bool, shared: bool) -> &mut u32 {
        match (transaction, shared) {
            (false, false) => &mut self.exclusive_session,
            (true, false) => &mut self.exclusive_transaction,
            (false, true) => &mut self.shared_session,
            (true, true) => &mut self.shared_transaction,
        }
    }
}

/// The locks of one sandbox.
#[derive(Debug, Default)]
pub struct Advisory {
    holds: Mutex<HashMap<Key, HashMap<ClientId, Hold>>>,
    changed: Notify,
}

impl Advisory {
    /// Takes the lock if it is free for this client.
    pub fn try_lock(&self, client: ClientId, key: Key, transaction: bool, shared: bool) -> bool {
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        let holders = holds.entry(key).or_default();
        let blocked = holders
            .iter()
            .any(|(other, hold)| *other != client && (!shared || hold.exclusive()));
        if !blocked {
            *holders
                .entry(client)
                .or_default()
                .count(transaction, shared) += 1;
        }
        !blocked
    }

    /// Waits until [`Self::try_lock`] succeeds. The caller bounds the time.
    pub async fn lock(&self, client: ClientId, key: Key, transaction: bool, shared: bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.try_lock(client, key, transaction, shared) {
                return;
            }
            changed.await;
        }
    }

    /// Gives back one session-level hold; false if the client has none.
    pub fn unlock(&self, client: ClientId, key: Key, shared: bool) -> bool {
        let mut had = false;
        self.change(client, |at, hold| {
            if at == key {
                let count = hold.count(false, shared);
                had = *count > 0;
                *count = count.saturating_sub(1);
            }
        });
        had
    }

    /// Gives back all session-level holds of the client.
    pub fn unlock_all(&self, client: ClientId) {
        self.change(client, |_, hold| {
            hold.exclusive_session = 0;
            hold.shared_session = 0;
        });
    }

    /// The client's transaction ended.
    pub fn end_transaction(&self, client: ClientId) {
        self.change(client, |_, hold| {
            hold.exclusive_transaction = 0;
            hold.shared_transaction = 0;
        });
    }

    /// The client is gone.
    pub fn forget(&self, client: ClientId) {
        self.change(client, |_, hold| *hold = Hold::default());
    }

    /// Who holds a key, other than this client.
    pub fn holder(&self, key: Key, not: ClientId) -> Option<ClientId> {
        let holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        holds
            .get(&key)?
            .keys()
            .find(|client| **client != not)
            .copied()
    }

    fn change(&self, client: ClientId, mut change: impl FnMut(Key, &mut Hold)) {
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        if holds.is_empty() {
            return;
        }
        holds.retain(|key, holders| {
            if let Some(hold) = holders.get_mut(&client) {
                change(*key, hold);
                if *hold == Hold::default() {
                    holders.remove(&client);
                }
            }
            !holders.is_empty()
        });
        drop(holds);
        self.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exclusive_shuts_others_out_and_is_reentrant() {
        let locks = Advisory::default();
        let key = Key::One(7);
        assert!(locks.try_lock(1, key, false, false));
        assert!(locks.try_lock(1, key, false, false));
        assert!(!locks.try_lock(2, key, false, true));
        assert!(locks.unlock(1, key, false));
        assert!(!locks.try_lock(2, key, false, false), "held once more");
        assert!(locks.unlock(1, key, false));
        assert!(!locks.unlock(1, key, false), "nothing left to give back");
        assert!(locks.try_lock(2, key, false, false));
    }

    #[test]
    fn shared_holds_exist_side_by_side_and_transactions_end_theirs() {
        let locks = Advisory::default();
        let key = Key::Two(1, 2);
        assert!(locks.try_lock(1, key, true, true));
        assert!(locks.try_lock(2, key, false, true));
        assert!(!locks.try_lock(3, key, false, false));
        locks.end_transaction(1);
        locks.end_transaction(2);
        assert!(
            !locks.try_lock(3, key, false, false),
            "2 holds it for its session"
        );
        locks.forget(2);
        assert!(locks.try_lock(3, key, false, false));
    }
}
