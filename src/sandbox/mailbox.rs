//! What others have to tell a client while it is idle: notifications, and that its work was undone.

use crate::error::Refusal;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

/// Something for a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mail {
    /// A NotificationResponse.
    Notification {
        /// The notifying client's process id.
        process: i32,
        /// The channel.
        channel: String,
        /// The payload.
        payload: String,
    },
    /// A NoticeResponse.
    Notice(Refusal),
}

/// The most that waits for one client; what comes after it replaces the oldest.
const CAPACITY: usize = 4096;

/// One client's mailbox.
#[derive(Debug, Default)]
pub struct Mailbox {
    mail: Mutex<VecDeque<Mail>>,
    arrived: Notify,
}

impl Mailbox {
    /// Leaves something.
    pub fn put(&self, mail: Mail) {
        let mut queue = self.mail.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() >= CAPACITY {
            queue.pop_front();
        }
        queue.push_back(mail);
        drop(queue);
        self.arrived.notify_one();
    }

    /// Takes all there is.
    pub fn take(&self) -> VecDeque<Mail> {
        std::mem::take(&mut *self.mail.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for the next arrival.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }
}
