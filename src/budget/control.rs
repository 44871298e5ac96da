//! How the team reaches the budgets of a running proxy: a Unix socket beside its ledger.
//!
//! One line of JSON asks, one line answers. The socket is for the proxy's own user and for root, whatever the modes of the folder
//! say; what changes something is on record before it is done.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Allowed, Budgets, Line};
use crate::audit::{Event, EventKind, Events};
use crate::report::units::Span;

/// The longest request in bytes, and the longest that anybody is listened to.
const LONGEST: u64 = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(10);

/// So many are served at the same time.
const AT_ONCE: usize = 8;

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// How budgets stand; of one developer, or of all.
    List {
        /// Whose.
        developer: Option<String>,
    },
    /// Somebody may read more for a while.
    Grant {
        /// What, each once.
        allowed: Vec<Allowed>,
        /// Why.
        because: String,
        /// Who says so, where the operating system only knows that it is root.
        behalf_of: Option<String>,
    },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The budgets.
    Lines(Vec<Line>),
    /// It is granted, and on record.
    Granted,
    /// It is not done; why.
    Refused(String),
}

/// The socket in the ledger's folder.
fn socket(folder: &Path) -> PathBuf {
    folder.join("budgets.sock")
}

/// Asks the proxy that has the ledger in `folder`.
///
/// # Errors
/// No proxy answers there.
pub async fn ask(folder: &Path, request: &Request) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket(folder)).await?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(serde_json::from_slice(&answer)?)
}

/// A socket that is listened at. Only who has opened the ledger in that folder may make one: there is one such at a time.
#[derive(Debug)]
pub struct Control(UnixListener);

impl Control {
    /// Listens in `folder`; needs a tokio runtime.
    ///
    /// # Errors
    /// The socket cannot be made, for example because its path is longer than a socket's may be (about 100 bytes).
    pub fn listen(folder: &Path) -> io::Result<Self> {
        let path = socket(folder);
        // One that is left over belongs to nobody: who listened there had the ledger.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self(listener))
    }

    /// Answers until it is dropped.
    pub async fn serve(self, budgets: Budgets, events: Events) {
        let free = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            let Ok(permit) = Arc::clone(&free).acquire_owned().await else {
                return;
            };
            let stream = match self.0.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::error!(%error, "the socket of read budgets");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (budgets, events) = (budgets.clone(), events.clone());
            tokio::spawn(async move {
                let _permit = permit;
                if let Ok(Err(error)) = timeout(PATIENCE, converse(stream, &budgets, &events)).await
                {
                    tracing::debug!(%error, "a command about read budgets");
                }
            });
        }
    }
}

async fn converse(mut stream: UnixStream, budgets: &Budgets, events: &Events) -> io::Result<()> {
    let uid = stream.peer_cred()?.uid();
    let (reads, mut writes) = stream.split();
    let mut line = String::new();
    BufReader::new(reads.take(LONGEST))
        .read_line(&mut line)
        .await?;
    let answer = if ![0, rustix::process::geteuid().as_raw()].contains(&uid) {
        Answer::Refused("this is for the user that the proxy runs as, and for root".to_owned())
    } else {
        match serde_json::from_str(&line) {
            Ok(request) => answer(request, uid, budgets, events).await,
            Err(_) => Answer::Refused("the proxy does not understand this request".to_owned()),
        }
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    writes.write_all(&text).await?;
    writes.shutdown().await
}

async fn answer(request: Request, uid: u32, budgets: &Budgets, events: &Events) -> Answer {
    match request {
        Request::List { developer } => match budgets.list(developer.as_deref()).await {
            Ok(lines) => Answer::Lines(lines),
            Err(error) => Answer::Refused(error.to_string()),
        },
        Request::Grant {
            allowed,
            because,
            behalf_of,
        } => {
            let by = match behalf_of.filter(|_| uid == 0) {
                Some(name) => format!("{} for {}", os_user(uid), one_line(&name)),
                None => os_user(uid),
            };
            match grant(&allowed, &because, &by, budgets, events).await {
                Ok(()) => Answer::Granted,
                Err(reason) => Answer::Refused(reason),
            }
        }
    }
}

async fn grant(
    allowed: &[Allowed],
    because: &str,
    by: &str,
    budgets: &Budgets,
    events: &Events,
) -> Result<(), String> {
    let because = one_line(because);
    if because.is_empty() {
        return Err("a grant needs a reason".to_owned());
    }
    for one in allowed {
        budgets.may_grant(one)?;
    }
    for one in allowed {
        let lasts = Span(Duration::from_secs(one.seconds));
        let kind = EventKind::Administered {
            command: "budget grant".to_owned(),
            account: by.to_owned(),
            detail: format!("{} {} for {lasts}: {because}", one.amount, one.measure),
        };
        let mut event = Event::now(kind).developer(&one.developer);
        if let Some(upstream) = &one.upstream {
            event = event.upstream(upstream);
        }
        // First on record, then done: a grant that nobody can see later must not be.
        events
            .record(event)
            .await
            .map_err(|refusal| refusal.message)?;
        events.settled().await.map_err(|refusal| refusal.message)?;
        budgets.grant(one).await?;
    }
    Ok(())
}

/// Without line ends, and not too long.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words
        .join(" ")
        .chars()
        .filter(|c| !c.is_control())
        .take(500)
        .collect()
}

/// The name of a user of this machine.
fn os_user(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let its = fields.nth(1)?.parse::<u32>().ok()?;
        (its == uid).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("uid {uid}"))
}
