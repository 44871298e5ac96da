//! What the page asks: who is who, and what is on record of them.

use super::ProxyDirectory;
use crate::audit::EventKind;
use crate::audit::search::{Filter, search};
use crate::audit::time::milliseconds;
use crate::console::Visitor;
use crate::error::{Refusal, SqlState};
use crate::page::{House, Tail};
use crate::wire::verifier::Verifier;
use async_trait::async_trait;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

/// So many records are the tail.
const RECORDS: usize = 200;
/// How far back it goes.
const BACK: Duration = Duration::from_secs(24 * 60 * 60);
/// How long looking for it may take.
const PATIENCE: Duration = Duration::from_secs(3);

#[async_trait]
impl House for ProxyDirectory {
    async fn log_in(
        &self,
        visitor: &Visitor,
        password: String,
    ) -> Result<Option<Verifier>, Refusal> {
        let shared = &self.shared;
        shared.context.events.health()?;
        let known = self.verifier(&visitor.developer);
        // For nobody it takes as long.
        let verifier = known
            .clone()
            .unwrap_or_else(|| shared.mock.verifier(&visitor.developer));
        // Hashing is made to take long; one at a time, so that it takes at most one processor.
        let turn = shared.hashing.lock().await;
        let checked = tokio::task::spawn_blocking(move || verifier.accepts(&password)).await;
        drop(turn);
        let verifier = known.filter(|_| checked.unwrap_or(false));
        let kind = match verifier {
            Some(_) => EventKind::ClientConnected,
            None => EventKind::AuthenticationFailed,
        };
        shared.report_from(visitor.address, &visitor.developer, kind);
        Ok(verifier)
    }

    fn verifier(&self, developer: &str) -> Option<Verifier> {
        let config = self.shared.config();
        let developer = config.developers.get(developer)?;
        Some(developer.verifier.clone())
    }

    fn log_out(&self, developer: &str, address: SocketAddr) {
        self.shared
            .report_from(address, developer, EventKind::ClientDisconnected);
    }

    async fn record(&self, developer: &str) -> Result<Tail, Refusal> {
        let folder = self.shared.config().audit.folder.clone();
        let since = SystemTime::now().checked_sub(BACK);
        let filter = Filter {
            developer: Some(developer.to_owned()),
            since: milliseconds(since.unwrap_or(SystemTime::UNIX_EPOCH)),
            ..Filter::default()
        };
        // One at a time: it reads files.
        let turn = self.shared.reading_record.lock().await;
        let read = tokio::task::spawn_blocking(move || tail(&folder, &filter)).await;
        drop(turn);
        match read {
            Ok(Ok(tail)) => Ok(tail),
            Ok(Err(_)) | Err(_) => Err(Refusal::error(
                SqlState::IO_ERROR,
                "the record cannot be read",
            )
            .hint("Whoever runs the proxy should look at the folder of [audit]")),
        }
    }
}

fn tail(folder: &Path, filter: &Filter) -> io::Result<Tail> {
    let begun = Instant::now();
    let mut last = VecDeque::new();
    let found = search(folder, filter, |record, _| {
        if begun.elapsed() > PATIENCE {
            // Any error stops it; what it is stands here alone.
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        }
        last.push_back(record.clone());
        if last.len() > RECORDS {
            last.pop_front();
        }
        Ok(())
    });
    let cut = match found {
        Ok(()) => false,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => true,
        // Nothing was ever written.
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    Ok(Tail {
        records: last.into(),
        cut,
    })
}
