//! What a log that is being written tells those who follow it: how far it is on disk. And what they tell it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::event::{Event, EventKind};

/// The log's end.
#[derive(Debug, Default)]
pub(super) struct Fed {
    /// The sequence number of the last line that is synced: what lies behind it may yet be taken back.
    confirmed: watch::Sender<u64>,
    news: Arc<Mutex<Vec<EventKind>>>,
}

/// A follower's end.
#[derive(Debug)]
pub struct Feed {
    /// The log's name.
    pub log: String,
    /// Where its segments are.
    pub folder: PathBuf,
    confirmed: watch::Receiver<u64>,
    news: Arc<Mutex<Vec<EventKind>>>,
}

impl Fed {
    pub fn feed(&self, log: String, folder: PathBuf) -> Feed {
        Feed {
            log,
            folder,
            confirmed: self.confirmed.subscribe(),
            news: self.news.clone(),
        }
    }

    pub fn confirm(&self, last: u64) {
        self.confirmed.send_replace(last);
    }

    /// What followers had to say since the last call.
    pub fn news(&self) -> Vec<Event> {
        let news = std::mem::take(&mut *self.news.lock().unwrap_or_else(PoisonError::into_inner));
        news.into_iter().map(Event::now).collect()
    }
}

impl Feed {
    /// The sequence number of the last line that will not be taken back.
    pub fn confirmed(&mut self) -> u64 {
        *self.confirmed.borrow_and_update()
    }

    /// Waits for more; false if the log has ended.
    pub async fn more(&mut self) -> bool {
        self.confirmed.changed().await.is_ok()
    }

    /// Has the log ended? What it confirmed can still be read.
    pub fn ended(&self) -> bool {
        self.confirmed.has_changed().is_err()
    }

    /// Has the log note something.
    pub fn tell(&self, news: EventKind) {
        self.news
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(news);
    }
}
