//! Errors of the upstream: what they undo, and how they read to the client.

use super::expect::{Expect, Own};
use super::{Session, Stop};
use crate::audit::EndReason;
use crate::wire::backend::Fields;
use crate::wire::frame::HEADER;
use bytes::{Buf, BytesMut};

impl Session {
    /// An error of the upstream: everything planned behind it does not happen.
    pub(super) fn on_error(&mut self, message: BytesMut) -> Result<(), Stop> {
        let mut body = message;
        body.advance(HEADER);
        let mut fields = Fields::parse(body.freeze());
        if matches!(
            fields.get(b'V').or_else(|| fields.get(b'S')),
            Some(b"FATAL" | b"PANIC")
        ) {
            tracing::warn!(code = %fields.text(b'C'), "the upstream ended a sandbox's connection");
            return Err(Stop::Ended(EndReason::UpstreamLost));
        }
        let poison = matches!(self.queue.front(), Some(Expect::Poison));
        let own = matches!(self.queue.front(), Some(Expect::Own(_)));
        if !poison && !self.told_cut() {
            self.failed(fields.text(b'C'));
            self.map_error(&mut fields, own);
            fields.write(&mut self.client.out, b'E');
        }
        self.forget_planned();
        Ok(())
    }

    /// Forgets all that was planned beyond what has been reached, up to the Sync.
    pub(super) fn forget_planned(&mut self) {
        self.held.clear();
        self.described.clear();
        self.origin = None;
        self.open_portal = false;
        let mut sync = None;
        for expect in std::mem::take(&mut self.queue) {
            match expect {
                Expect::Parse { id, registers, .. } => {
                    if let Some(name) = registers {
                        self.statements.remove(&name);
                    }
                    if let Ok(world) = self.world() {
                        world.link.prepared.remove(&id);
                    }
                }
                Expect::Own(Own::Prepared(id)) => {
                    if let Ok(world) = self.world() {
                        world.link.prepared.remove(&id);
                    }
                }
                Expect::Made(name) => {
                    self.statements.remove(&name);
                }
                Expect::Sync { .. } => sync = Some(expect),
                _ => {}
            }
        }
        self.skipping = sync.is_none();
        self.queue.extend(sync);
        if let Some(block) = self.view.block_mut() {
            block.failed = true;
        }
        if let Ok(world) = self.world() {
            world.link.unnamed = None;
            world.machine.fail();
            world.catalog.rolled_back();
        }
        self.planned = None;
        if self.view.block.is_none() {
            if let Some(before) = self.before_implicit.take() {
                self.view = *before;
            }
            self.portals.clear();
            self.view.notifications = Default::default();
            self.rolled_back();
        }
    }

    /// Makes an error of the upstream read as if the client had asked it directly.
    fn map_error(&mut self, fields: &mut Fields, own: bool) {
        if let Some(origin) = &self.origin
            && let Ok(position) = fields.text(b'P').parse::<usize>()
        {
            if origin.behind {
                fields.remove(b'P');
            } else {
                let position = origin.sendable.original_position(position) + origin.offset;
                fields.set(b'P', position.to_string());
            }
        }
        self.explain_masked(fields);
        let statements = &self.statements;
        let cursors = &self.cursor_names;
        let bound = self.queue.front();
        fields.for_each_text(|text| {
            let text = std::str::from_utf8(text).ok()?;
            let mut changed = text.contains("devinprod_").then(|| text.to_owned())?;
            for (name, upstream) in cursors {
                changed = changed.replace(upstream, name);
            }
            for (name, prepared) in statements {
                if let (Ok(name), Ok(upstream)) = (
                    std::str::from_utf8(name),
                    std::str::from_utf8(&prepared.upstream),
                ) && !upstream.is_empty()
                {
                    changed = changed.replace(upstream, name);
                }
            }
            if let Some(Expect::Bind { portal, .. }) = bound {
                changed = with_portal(&changed, portal);
            }
            Some(changed.into_bytes())
        });
        let code = fields.text(b'C');
        let holder = self.lock_watch.take().and_then(|watch| watch.found());
        match code.as_str() {
            "55P03" | "40P01" | "57014" => {
                if let Some(holder) = holder {
                    fields.append(b'D', &format!("The lock is held by {holder}."));
                }
            }
            "42501" if fields.text(b'H').is_empty() => {
                fields.set(b'H', self.privilege_hint(&fields.text(b'M')));
            }
            "25006" if self.sandbox.is_read_only() => {
                fields.set(b'H', "This upstream is served with isolation read_only: nothing can be written, not even for the time of a sandbox");
            }
            "25006" if !self.view.is_read_only() => {
                fields.append(
                    b'D',
                    "It ran inside another client's open READ ONLY transaction.",
                );
                fields.set(b'H', "Run it again when that transaction has ended, or set sandbox.overlap to \"wait\": then it waits for that");
            }
            _ => {}
        }
        // What a constraint or a trigger of the client's says at COMMIT is its own.
        if own && !code.starts_with("23") && !code.starts_with("P0") {
            fields.append(b'W', "devinprod, on behalf of the statement");
        }
    }

    fn privilege_hint(&self, message: &str) -> String {
        if message.starts_with("must be owner") {
            "Objects that existed before the sandbox cannot be altered in it; objects that it made itself can".to_owned()
        } else {
            "A sandbox runs as a developer role, which may write to tables but not reach beyond them; ask whoever runs devinprod setup if this should be allowed".to_owned()
        }
    }
}

/// The upstream's name of a portal replaced by the client's own.
fn with_portal(text: &str, name: &[u8]) -> String {
    const OURS: &str = "portal \"devinprod_p";
    let Some((before, rest)) = text.split_once(OURS) else {
        return text.to_owned();
    };
    let after = rest.split_once('"').map_or("", |(_, after)| after);
    match std::str::from_utf8(name) {
        Ok("") | Err(_) => format!("{before}unnamed portal{after}"),
        Ok(name) => format!("{before}portal \"{name}\"{after}"),
    }
}
