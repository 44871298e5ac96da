//! How a proxy comes to the shared ledger, notices that it is away, and comes back.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::super::{Counter, millis};
use super::seen::{Link, State};
use super::store::{Connection, Failure, Keys, hex, per};
use super::{Inner, Told, Unreachable, insert};
use crate::audit::{Event, EventKind};

/// How often the ledger is looked at, whether it was asked or not.
const BEAT: Duration = Duration::from_millis(500);

/// How long a ledger that has forgotten something waits for all proxies to say what they have seen: a few beats.
const SETTLES: Duration = Duration::from_secs(3);

/// How often an operation is begun anew because the ledger's life has changed.
const TRIES: usize = 4;

/// A name that nobody else has.
pub(super) fn name() -> String {
    hex(rand::random())
}

/// Looks at the ledger as long as somebody has it: comes back to it, and hears what others spend.
pub(super) async fn keep(ledger: Weak<Inner>) {
    loop {
        tokio::time::sleep(BEAT).await;
        match ledger.upgrade() {
            Some(ledger) => ledger.beat().await,
            None => return,
        }
    }
}

impl Inner {
    /// Asks the ledger. `asked` is an object, to which is added what every operation needs.
    pub(super) async fn ask(
        &self,
        operation: &str,
        keys: &Keys,
        mut asked: Value,
    ) -> Result<Told, Failure> {
        for _ in 0..TRIES {
            let (generation, mut connection, life) = self.settled().await?;
            insert(&mut asked, "life", &*life);
            insert(&mut asked, "seen", self.seen(keys));
            let run = self.store.run(&mut connection, operation, keys, &asked);
            let mut answer = match run.await {
                Ok(answer) => answer,
                Err(why) => {
                    self.lost(generation, &why);
                    return Err(why);
                }
            };
            let status = answer.text()?;
            self.time.heard(answer.number()?);
            if status != "another life" {
                return Ok(Told {
                    refused: status == "refused",
                    life,
                    answer,
                });
            }
            if let Err(why) = self.attach(generation, Some(connection)).await {
                self.lost(generation, &why);
                return Err(why);
            }
        }
        Err("it forgets faster than it can be told".to_owned())
    }

    /// The link, when everybody has had the time to say what they have seen.
    async fn settled(&self) -> Result<(u64, Connection, Arc<str>), Failure> {
        loop {
            let until = {
                let state = self.state();
                match &state.link {
                    Link::Lost => return Err("it is away".to_owned()),
                    Link::There {
                        connection,
                        settled,
                    } if *settled <= Instant::now() => {
                        return Ok((
                            state.generation,
                            connection.clone(),
                            Arc::clone(&state.life),
                        ));
                    }
                    Link::There { settled, .. } => *settled,
                }
            };
            tokio::time::sleep_until(until.into()).await;
        }
    }

    /// What was seen of these counters, so that a ledger that has forgotten it notices.
    fn seen(&self, keys: &Keys) -> Vec<Value> {
        let state = self.state();
        let there = keys.iter().filter_map(|(place, key)| {
            let seen = state.seen.get(key)?;
            Some(json!({
                "at": place,
                "per": per(seen.per),
                "window": seen.window,
                "version": seen.version,
            }))
        });
        there.collect()
    }

    /// Tells the ledger what was seen and what was let through meanwhile, learns how it stands, and goes on with it. Nothing is done
    /// if the link is no longer that of `generation`.
    pub(super) async fn attach(
        &self,
        generation: u64,
        connection: Option<Connection>,
    ) -> Result<(), Failure> {
        let _one = self.attaching.lock().await;
        if self.state().generation != generation {
            return Ok(());
        }
        let mut connection = match connection {
            Some(connection) => connection,
            None => self.store.connect().await?,
        };
        self.time.heard(connection.now);
        // What is let through while this is on its way is reported with the next.
        for last in [false, false, true] {
            if self.report(&mut connection, last).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reports once; true if nothing is left to be reported, and the link is there.
    async fn report(&self, connection: &mut Connection, last: bool) -> Result<bool, Failure> {
        let mut keys = Keys::default();
        let (asked, floors) = {
            let mut state = self.state();
            state.forget_the_past(self.local.now());
            let floors: Vec<(Arc<str>, u64)> = state
                .seen
                .iter()
                .map(|(key, seen)| (Arc::clone(key), seen.offline))
                .collect();
            (self.floors(&state, &mut keys, &floors, connection), floors)
        };
        let run = self.store.run(connection, "attach", &keys, &asked);
        let mut answer = run.await?;
        answer.text()?;
        self.time.heard(answer.number()?);
        let life: Arc<str> = answer.text()?.into();
        let settles = Duration::from_millis(answer.number()?);
        let mut levels = Vec::with_capacity(floors.len());
        for (key, reported) in floors {
            levels.push((key, reported, answer.level()?));
        }
        let mut state = self.state();
        for (key, reported, (level, version)) in levels {
            let Some(seen) = state.seen.get_mut(&key) else {
                continue;
            };
            let length = seen.per;
            seen.offline = seen.offline.saturating_sub(reported);
            seen.take_in(length, level, version);
            let kept = *seen;
            self.local.note(&key, kept.per, kept.window, kept.total());
        }
        state.report = name();
        if !last && state.seen.values().any(|seen| seen.offline > 0) {
            return Ok(false);
        }
        state.life = life;
        state.generation += 1;
        let was_lost = matches!(state.link, Link::Lost);
        state.link = Link::There {
            connection: connection.clone(),
            settled: Instant::now() + settles,
        };
        self.keep_life(&mut state);
        if was_lost && std::mem::take(&mut state.told) {
            tracing::info!(address = %self.settings.address, "the shared ledger is back");
            self.events.report(Event::now(EventKind::LedgerBack));
        }
        Ok(true)
    }

    fn floors(
        &self,
        state: &State,
        keys: &mut Keys,
        floors: &[(Arc<str>, u64)],
        connection: &Connection,
    ) -> Value {
        let floor = |(key, offline): &(Arc<str>, u64)| {
            let seen = state.seen.get(key)?;
            Some(json!({
                "at": keys.push(key),
                "per": per(seen.per),
                "window": seen.window,
                "used": hex(seen.used),
                "offline": hex(*offline),
            }))
        };
        let floors: Vec<Value> = floors.iter().filter_map(floor).collect();
        let grants = state.grants.iter();
        let grants = grants.map(|(id, left)| json!({ "id": id.to_string(), "left": hex(*left) }));
        let mut asked = Map::new();
        for (name, value) in [
            ("run", Value::from(&*connection.run)),
            ("fresh", name().into()),
            ("life", (&*state.life).into()),
            ("report", state.report.clone().into()),
            ("settles", millis(SETTLES).into()),
            ("floors", floors.into()),
            ("grants", grants.collect::<Vec<_>>().into()),
        ] {
            asked.insert(name.to_owned(), value);
        }
        asked.into()
    }

    /// The ledger did not answer, or not as it should.
    pub(super) fn lost(&self, generation: u64, why: &str) {
        let mut state = self.state();
        if state.generation != generation {
            return;
        }
        state.generation += 1;
        state.link = Link::Lost;
        if std::mem::replace(&mut state.told, true) {
            return;
        }
        let what = match self.settings.unreachable {
            Unreachable::Refuse => "who has a limit reads nothing".to_owned(),
            Unreachable::Share => format!(
                "each proxy goes on alone, with one part in {} of what was left",
                self.settings.proxies
            ),
        };
        tracing::error!(address = %self.settings.address, why, "the shared ledger cannot be reached: {what}");
        let what = format!("{}: {why}; {what}", self.settings.address);
        self.events
            .report(Event::now(EventKind::LedgerLost { what }));
    }

    async fn beat(&self) {
        let (generation, lost) = {
            let mut state = self.state();
            state.forget_the_past(self.local.now());
            (state.generation, matches!(state.link, Link::Lost))
        };
        if lost {
            if let Err(why) = self.attach(generation, None).await {
                tracing::debug!(why, "the shared ledger is still away");
            }
        } else if let Err(why) = self.look().await {
            tracing::debug!(why, "the shared ledger could not be looked at");
        }
    }

    async fn look(&self) -> Result<(), Failure> {
        let counters: Vec<Counter> = match self.settings.unreachable {
            Unreachable::Refuse => Vec::new(),
            // A share is one of what was left; so that has to be known.
            Unreachable::Share => {
                let state = self.state();
                let seen = state.seen.iter();
                seen.map(|(key, seen)| Counter {
                    key: Arc::clone(key),
                    per: Duration::from_millis(seen.per),
                })
                .collect()
            }
        };
        self.read(&counters).await.map(drop)
    }

    /// Another proxy of this folder, after this one was killed, knows what this one knew.
    fn keep_life(&self, state: &mut State) {
        match std::fs::write(&self.life_file, &*state.life) {
            Ok(()) => state.life_is_kept = true,
            // Then it says more than it need.
            Err(error) => tracing::warn!(%error, "the name of the ledger's life was not kept"),
        }
    }

    /// After a kill, what was let through here alone would not be reported: so what was seen has to be said again.
    pub(super) fn forget_life(&self, state: &mut State) {
        if std::mem::take(&mut state.life_is_kept)
            && let Err(error) = std::fs::remove_file(&self.life_file)
        {
            tracing::warn!(%error, "the name of the ledger's life was not removed");
        }
    }
}
