//! What others may ask of a machine; nothing here changes it.

use super::{ClientId, Holder, Machine, ScopeKind};

impl Machine {
    /// What the upstream's session has because a client wants it; None where it has its own default.
    pub fn installed_value(&self, name: &str) -> Option<&str> {
        self.now.installed.get(name).map(String::as_str)
    }

    /// Whether the upstream's transaction is in the failed state.
    pub fn is_failed(&self) -> bool {
        self.failed
    }

    /// Whether anything that was written is alive.
    pub fn is_dirty(&self) -> bool {
        self.now.effects > 0
    }

    /// Whether the right to write is held.
    pub fn is_armed(&self) -> bool {
        self.now.armed
    }

    /// Savepoints that stand now, the standing one included.
    pub fn savepoints(&self) -> usize {
        self.stack.len()
    }

    /// Whether anything with an effect happened in the client's open scope.
    pub fn changed_by(&self, client: ClientId) -> bool {
        self.open_scope(client)
            .and_then(|index| self.scopes.get(index))
            .and_then(|scope| self.stack.get(scope.bottom))
            .is_some_and(|bottom| bottom.at.effects != self.now.effects)
    }

    /// Whether the client has an open scope.
    pub fn has_scope(&self, client: ClientId) -> bool {
        self.open_scope(client).is_some()
    }

    /// Whether the client's scope is the topmost one.
    pub fn is_top(&self, client: ClientId) -> bool {
        self.scopes
            .last()
            .is_some_and(|top| top.client == client && top.is_open())
    }

    /// The open block on top, if there is one: others wait for it or join it.
    pub fn holder(&self) -> Option<Holder> {
        let top = self.scopes.last()?;
        if top.kind != ScopeKind::Block {
            return None;
        }
        // A failed block with savepoints of its own may still come back to one of them, and nobody else
        // can run until it does; one without can only roll back, and is put aside.
        let joinable = !self.failed || top.bottom + 1 == self.stack.len();
        Some(Holder {
            client: top.client,
            joinable,
        })
    }
}
