//! The machine against two models: one of Postgres' savepoint stack, which carries out the ops, and one of a
//! plain Postgres for one client, which says what must be alive.

use super::*;
use crate::sandbox::ops::Op;
use proptest::prelude::*;

const CLIENT: ClientId = 1;

/// What a client does.
#[derive(Debug, Clone, Copy)]
enum Act {
    Write,
    Read,
    Fail,
    Begin,
    Commit,
    Rollback,
    Savepoint,
    Release,
    RollbackTo,
    Save(u8),
    Back(u8),
}

/// Who makes named points and goes back to them.
const KEEPER: ClientId = 9;

/// The upstream: which writes are alive, and what each savepoint brings back.
#[derive(Debug, Default)]
struct Upstream {
    alive: Vec<u32>,
    armed: bool,
    failed: bool,
    stack: Vec<(String, Vec<u32>, bool)>,
}

impl Upstream {
    fn run(&mut self, ops: Vec<Op>) {
        for op in ops {
            match op {
                Op::Savepoint(name) => {
                    assert!(!self.failed, "SAVEPOINT in a failed transaction");
                    self.stack.push((name, self.alive.clone(), self.armed));
                }
                Op::Release(name) => {
                    assert!(!self.failed, "RELEASE in a failed transaction");
                    let at = self.find(&name);
                    self.stack.truncate(at);
                }
                Op::RollbackTo(name) => {
                    let at = self.find(&name);
                    self.stack.truncate(at + 1);
                    (_, self.alive, self.armed) = self.stack[at].clone();
                    self.failed = false;
                }
                Op::Restart => *self = Self::default(),
                Op::Arm => {
                    assert!(!self.failed, "arm() in a failed transaction");
                    self.armed = true;
                }
                Op::ReadOnly | Op::Install(_) => {}
            }
        }
    }

    fn find(&self, name: &str) -> usize {
        let found = self.stack.iter().rposition(|(own, ..)| own == name);
        found.expect("an op names a savepoint that does not exist")
    }

    fn write(&mut self, number: u32) {
        assert!(
            self.armed && !self.failed,
            "a write that Postgres would refuse"
        );
        self.alive.push(number);
    }
}

/// A block of the reference: what is alive in it, its savepoints, and whether it failed.
#[derive(Debug, Clone)]
struct Reference {
    alive: Vec<u32>,
    savepoints: Vec<(String, Vec<u32>)>,
    failed: bool,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => Just(Act::Write),
        2 => Just(Act::Read),
        2 => Just(Act::Fail),
        3 => Just(Act::Begin),
        2 => Just(Act::Commit),
        2 => Just(Act::Rollback),
        3 => Just(Act::Savepoint),
        1 => Just(Act::Release),
        2 => Just(Act::RollbackTo),
        1 => (0..3u8).prop_map(Act::Save),
        1 => (0..3u8).prop_map(Act::Back),
    ];
    proptest::collection::vec(act, 1..60)
}

proptest! {
    #[test]
    fn one_client_sees_what_plain_postgres_would_keep(acts in acts()) {
        let (mut machine, first) = Machine::begin("t");
        let mut upstream = Upstream::default();
        upstream.run(vec![first]);
        let mut committed: Vec<u32> = Vec::new();
        let mut points: Vec<(u8, Vec<u32>)> = Vec::new();
        let mut block: Option<Reference> = None;
        let settings = Settings::default();
        for (number, act) in (1..).zip(acts) {
            let kind = if block.is_some() { ScopeKind::Block } else { ScopeKind::Implicit };
            let failed_block = block.as_ref().is_some_and(|b| b.failed);
            match act {
                // The session answers 25P02 or 25P01 by itself.
                Act::Write | Act::Read | Act::Fail | Act::Savepoint | Act::Release if failed_block => {}
                // A failed block is put aside, as by any other client; the model has only one.
                Act::Save(_) if failed_block => {}
                Act::Savepoint | Act::Release | Act::RollbackTo if block.is_none() => {}
                Act::Write | Act::Fail => {
                    upstream.run(machine.enter(CLIENT, kind, &settings, false));
                    upstream.run(machine.effect());
                    upstream.write(number);
                    if matches!(act, Act::Fail) {
                        upstream.failed = true;
                        machine.fail();
                        if let Some(block) = &mut block {
                            block.failed = true;
                        }
                    } else if let Some(block) = &mut block {
                        block.alive.push(number);
                    } else {
                        committed.push(number);
                        upstream.run(machine.commit(CLIENT));
                    }
                }
                Act::Read => {
                    upstream.run(machine.enter(CLIENT, kind, &settings, false));
                    if block.is_none() {
                        upstream.run(machine.commit(CLIENT));
                    }
                }
                Act::Save(label) => match machine.save(KEEPER, &label.to_string()) {
                    Ok(ops) => {
                        upstream.run(ops);
                        points.retain(|(known, _)| *known != label);
                        points.push((label, committed.clone()));
                    }
                    Err(NoPoint::TooMany) => {}
                    Err(why) => {
                        prop_assert_eq!(why, NoPoint::Busy);
                        prop_assert!(block.is_some());
                    }
                },
                Act::Back(_) if block.is_some() => {}
                Act::Back(label) => {
                    let at = points.iter().position(|(known, _)| *known == label);
                    match (machine.back(KEEPER, &label.to_string()), at) {
                        (Ok(ops), Some(at)) => {
                            upstream.run(ops);
                            points.truncate(at + 1);
                            committed = points[at].1.clone();
                        }
                        (result, at) => prop_assert_eq!((result, at), (Err(NoPoint::Unknown), None)),
                    }
                }
                Act::Begin => {
                    block.get_or_insert(Reference {
                        alive: committed.clone(),
                        savepoints: Vec::new(),
                        failed: false,
                    });
                }
                Act::Commit => {
                    let ended = block.take();
                    if failed_block {
                        upstream.run(machine.rollback(CLIENT));
                    } else if let Some(ended) = ended {
                        upstream.run(machine.clear_failed(CLIENT));
                        upstream.run(machine.commit(CLIENT));
                        committed = ended.alive;
                    }
                }
                Act::Rollback => {
                    if block.take().is_some() {
                        upstream.run(machine.rollback(CLIENT));
                    }
                }
                Act::Savepoint => {
                    upstream.run(machine.enter(CLIENT, kind, &settings, false));
                    let (name, ops) = machine.savepoint();
                    upstream.run(ops);
                    if let Some(block) = &mut block {
                        block.savepoints.push((name, block.alive.clone()));
                    }
                }
                Act::Release => {
                    if let Some((name, _)) = block.as_mut().and_then(|b| b.savepoints.pop()) {
                        upstream.run(machine.release(&name));
                    }
                }
                Act::RollbackTo => {
                    if let Some(block) = &mut block
                        && let Some((name, alive)) = block.savepoints.last().cloned()
                    {
                        upstream.run(machine.rollback_to(&name));
                        block.alive = alive;
                        block.failed = false;
                    }
                }
            }
            prop_assert_eq!(machine.is_failed(), upstream.failed);
            if !upstream.failed {
                let expected = block.as_ref().map_or(&committed, |block| &block.alive);
                prop_assert_eq!(&upstream.alive, expected, "after {:?}", act);
                prop_assert_eq!(machine.is_armed(), upstream.armed);
            }
            let labels: Vec<String> = points.iter().map(|(label, _)| label.to_string()).collect();
            prop_assert_eq!(machine.points().collect::<Vec<_>>(), labels);
        }
    }
}

/// A client of two, as its session keeps it.
#[derive(Debug, Default)]
struct Session {
    in_block: bool,
    failed: bool,
    savepoints: Vec<String>,
    pending: Vec<u32>,
}

proptest! {
    #[test]
    fn what_two_clients_were_told_is_committed_never_vanishes_in_silence(
        acts in proptest::collection::vec((1..=2u64, acts().prop_map(|acts| acts[0])), 1..60)
    ) {
        let (mut machine, first) = Machine::begin("t");
        let mut upstream = Upstream::default();
        upstream.run(vec![first]);
        let settings = Settings::default();
        let mut sessions = [Session::default(), Session::default()];
        let mut told: Vec<(u32, ClientId)> = Vec::new();
        let mut lost: Vec<ClientId> = Vec::new();
        for (number, (client, act)) in (1..).zip(acts) {
            let joins = matches!(act, Act::Write | Act::Read | Act::Fail);
            // Who may not join waits for the holder: here, does nothing.
            if machine.holder().is_some_and(|h| h.client != client && !(joins && h.joinable)) {
                continue;
            }
            let session = &mut sessions[client as usize - 1];
            if machine.take_evicted(client) && session.in_block {
                session.failed = true;
                session.savepoints.clear();
            }
            let kind = if session.in_block { ScopeKind::Block } else { ScopeKind::Implicit };
            match act {
                Act::Begin => session.in_block = true,
                Act::Write | Act::Fail if !session.failed => {
                    upstream.run(machine.enter(client, kind, &settings, false));
                    upstream.run(machine.effect());
                    upstream.write(number);
                    if matches!(act, Act::Fail) {
                        upstream.failed = true;
                        machine.fail();
                        session.failed = session.in_block;
                    } else if session.in_block {
                        session.pending.push(number);
                        // The Sync behind the statement.
                        upstream.run(machine.end_piece(client));
                    } else {
                        told.push((number, client));
                        upstream.run(machine.commit(client));
                    }
                }
                Act::Commit if session.in_block && !session.failed => {
                    upstream.run(machine.clear_failed(client));
                    upstream.run(machine.commit(client));
                    let kept = std::mem::take(session).pending;
                    told.extend(kept.into_iter().filter(|n| upstream.alive.contains(n)).map(|n| (n, client)));
                }
                Act::Commit | Act::Rollback if session.in_block => {
                    upstream.run(machine.rollback(client));
                    *session = Session::default();
                }
                Act::Savepoint if session.in_block && !session.failed => {
                    upstream.run(machine.enter(client, kind, &settings, false));
                    let (name, ops) = machine.savepoint();
                    upstream.run(ops);
                    session.savepoints.push(name);
                }
                Act::RollbackTo => {
                    if let Some(name) = session.savepoints.last() {
                        upstream.run(machine.rollback_to(name));
                        session.failed = false;
                    }
                }
                _ => {}
            }
            lost.extend(machine.take_lost());
            prop_assert_eq!(machine.is_failed(), upstream.failed);
            if !upstream.failed {
                for (gone, owner) in told.iter().filter(|(n, _)| !upstream.alive.contains(n)) {
                    prop_assert!(*owner == client || lost.contains(owner), "write {gone} of {owner}");
                }
                told.retain(|(n, _)| upstream.alive.contains(n));
                lost.clear();
            }
        }
    }
}
