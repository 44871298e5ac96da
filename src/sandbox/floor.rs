//! The floor of a sandbox: the right to use its world, held by one client at a time.

use super::world::{Sandbox, World};
use crate::audit::EndReason;
use std::sync::Arc;

/// The floor: the right to use the world. Dropped without [`Floor::release`], the state of the upstream is
/// not known, and the sandbox ends.
#[derive(Debug)]
pub struct Floor {
    pub(super) sandbox: Arc<Sandbox>,
    pub(super) world: Option<Box<World>>,
}

impl Floor {
    /// The world, unless it was given up.
    pub fn world(&mut self) -> Result<&mut World, EndReason> {
        self.world.as_deref_mut().ok_or(EndReason::UpstreamLost)
    }

    /// Gives the floor back.
    pub fn release(mut self) {
        let Some(world) = self.world.take() else {
            return;
        };
        self.sandbox.give_back(world);
    }

    /// The world cannot be used any more. True if the sandbox had not ended before.
    pub fn abandon(mut self, reason: EndReason) -> bool {
        self.break_off(reason)
    }

    fn break_off(&mut self, reason: EndReason) -> bool {
        let Some(world) = self.world.take() else {
            return false;
        };
        let first = self.sandbox.lose(reason);
        close(world);
        first
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.break_off(EndReason::UpstreamLost);
    }
}

/// Says goodbye to the upstream in the background; it rolls back.
pub(super) fn close(world: Box<World>) {
    // Outside of a runtime (a test that drops everything) closing the socket is all that can be done.
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(async move {
            let World { link, lease, .. } = *world;
            link.close().await;
            drop(lease);
        });
    }
}
