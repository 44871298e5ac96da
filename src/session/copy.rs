//! COPY FROM STDIN: the client's data goes on to the upstream, as fast as that takes it.

use super::{Session, Stop, end_reason};
use crate::audit::EndReason;
use crate::wire::frame;
use crate::wire::frontend::Frontend;

/// Most bytes that wait for the upstream.
const PENDING: usize = 64 * 1024;

impl Session {
    /// From CopyInResponse to CopyDone, CopyFail, or an error of the upstream.
    ///
    /// The Execute travelled with a Flush, never with a Sync: a server in copy mode swallows a Sync, or does
    /// not, when it fails just before.
    pub(super) async fn copy_in(&mut self) -> Result<(), Stop> {
        self.send().await?;
        loop {
            let Some(floor) = &mut self.floor else {
                return Err(Stop::Ended(EndReason::UpstreamLost));
            };
            let link = &mut floor.world()?.link;
            if answered(&link.input) {
                // The upstream has given up: its error comes next, and what the client still sends is
                // ignored when it arrives.
                return Ok(());
            }
            let message = match self.pending.pop_front() {
                Some(message) => message,
                None => tokio::select! {
                    biased;
                    result = link.progress() => {
                        result.map_err(|error| Stop::Ended(end_reason(&error)))?;
                        continue;
                    }
                    message = self.client.message() => message?,
                },
            };
            match message {
                Frontend::CopyData(data) => link.copy_data(&data),
                Frontend::CopyDone => {
                    link.copy_done();
                    break;
                }
                Frontend::CopyFail(reason) => {
                    link.copy_fail(&reason);
                    break;
                }
                // As Postgres does in copy mode.
                Frontend::Flush | Frontend::Sync => {}
                Frontend::Terminate => return Err(super::ClientError::Gone.into()),
                _ => {
                    link.copy_fail(b"unexpected message during COPY from stdin");
                    break;
                }
            }
            if link.pending() >= PENDING {
                link.drain()
                    .await
                    .map_err(|error| Stop::Ended(end_reason(&error)))?;
            }
        }
        self.world()?.link.flush();
        Ok(())
    }
}

/// Whether the upstream has said something that ends the copy.
fn answered(input: &[u8]) -> bool {
    match frame::peek(input) {
        Ok(Some(header)) => header.tag == b'E',
        Ok(None) => false,
        Err(_) => true,
    }
}
