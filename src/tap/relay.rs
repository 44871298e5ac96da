//! The relay itself: accepts on loopback, connects to the proxy, passes bytes on.

use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::execution::Sink;
use super::watch::Watch;
use crate::error::{Refusal, SqlState};
use crate::upstream::address::Address;
use crate::upstream::connect;
use crate::wire::backend;
use crate::wire::packet::Packet;

/// How much is read at once, in bytes.
const CHUNK: usize = 32 * 1024;

/// A running relay. Dropped, it closes all of its connections.
#[derive(Debug)]
pub struct Tap {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    connections: Arc<AtomicU64>,
    tasks: TaskTracker,
    /// No new connections.
    closing: CancellationToken,
    /// No connections at all.
    stop: CancellationToken,
}

/// What each connection needs.
#[derive(Clone)]
struct Shared {
    address: Arc<Address>,
    sink: Arc<dyn Sink>,
    connections: Arc<AtomicU64>,
    began: Instant,
}

impl Tap {
    /// Listens on a free port, and tells `sink` of what passes between there and the proxy at this address.
    ///
    /// # Errors
    ///
    /// No port can be had.
    pub async fn start(address: Address, sink: Arc<dyn Sink>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let tap = Self {
            port: listener.local_addr()?.port(),
            connections: Arc::default(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            stop: CancellationToken::new(),
        };
        let shared = Shared {
            address: Arc::new(address),
            sink,
            connections: tap.connections.clone(),
            began: Instant::now(),
        };
        let (tasks, closing, stop) = (tap.tasks.clone(), tap.closing.clone(), tap.stop.clone());
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = closing.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let Ok((client, _)) = accepted else {
                    // Out of file descriptors, as a rule: others must end first.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                let (shared, stop) = (shared.clone(), stop.clone());
                tasks.spawn(async move {
                    let watch = OnceLock::new();
                    match stop
                        .run_until_cancelled(serve(client, &shared, &watch))
                        .await
                    {
                        Some(Ok(())) => {}
                        Some(Err(error)) => tracing::debug!(%error, "a tapped connection broke"),
                        None => stop_statement(&shared.address, &watch).await,
                    }
                });
            }
        });
        Ok(tap)
    }

    /// How many sessions were begun.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Takes no more connections, and gives those that are open this long to say goodbye.
    pub async fn finish(self, patience: Duration) {
        self.closing.cancel();
        self.tasks.close();
        // What still runs then is cancelled.
        if tokio::time::timeout(patience, self.tasks.wait())
            .await
            .is_err()
        {
            self.stop.cancel();
            self.tasks.wait().await;
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.closing.cancel();
        self.stop.cancel();
    }
}

/// A connection's watch, from its startup message on.
type Slot = OnceLock<Mutex<Watch>>;

/// Cancels what runs on a connection that is closed: the command is gone, and nobody is to wait for its statement.
async fn stop_statement(address: &Address, watch: &Slot) {
    let watch = watch.get().map(|watch| {
        watch
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .running()
    });
    if let Some((process, secret)) = watch.flatten() {
        let asked = connect::cancel(address, process, &secret, address.connect_timeout).await;
        if let Err(error) = asked {
            tracing::debug!(%error, "a statement that was left behind cannot be cancelled");
        }
    }
}

async fn serve(mut client: TcpStream, shared: &Shared, watch: &Slot) -> io::Result<()> {
    client.set_nodelay(true)?;
    let Some((first, is_cancel)) = first_packet(&mut client).await? else {
        return Ok(());
    };
    let patience = shared.address.connect_timeout;
    let opened = tokio::time::timeout(patience, connect::open(&shared.address)).await;
    let mut server = match opened {
        Ok(Ok(server)) => server,
        failed => {
            let why = match failed {
                Ok(Err(error)) => error.to_string(),
                _ => "no answer in time".to_owned(),
            };
            let refusal = Refusal::fatal(
                SqlState("57P03"),
                format!("the proxy cannot be reached: {why}"),
            )
            .hint("Check that devinprod serve is running, and the URL's host and port");
            let mut out = BytesMut::new();
            backend::refusal(&mut out, &refusal);
            return client.write_all(&out).await;
        }
    };
    server.write_all(&first).await?;
    server.flush().await?;
    if is_cancel {
        // Answered by the end of the stream, which comes when the request has been acted upon.
        let _ = server.read(&mut [0]).await;
        return Ok(());
    }
    let number = shared.connections.fetch_add(1, Ordering::Relaxed) + 1;
    let watch = watch.get_or_init(|| Mutex::new(Watch::new(number, shared.began)));
    let locked = || watch.lock().unwrap_or_else(PoisonError::into_inner);
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = tokio::io::split(server);
    let sends = pump(from_client, to_server, |bytes| {
        locked().client(bytes, Instant::now());
    });
    let answers = pump(from_server, to_client, |bytes| {
        let seen = locked().server(bytes, Instant::now());
        seen.into_iter().for_each(|seen| shared.sink.seen(seen));
    });
    tokio::pin!(sends, answers);
    let result = tokio::select! {
        answered = &mut answers => answered,
        // The client may have said all that it has to say, and still read.
        sent = &mut sends => match sent {
            Ok(()) => answers.await,
            Err(error) => Err(error),
        },
    };
    if locked().is_lost() {
        tracing::warn!("a connection could not be read to its end; what it did is not all counted");
    }
    result
}

/// Passes everything on, after `look` has seen it, until the stream ends.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut look: impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(CHUNK);
    loop {
        buffer.clear();
        if from.read_buf(&mut buffer).await? == 0 {
            return to.shutdown().await;
        }
        look(&buffer);
        to.write_all(&buffer).await?;
        to.flush().await?;
    }
}

/// The client's first packet that is for the proxy, with its length word, and whether it is a cancel request.
/// Requests for encryption are answered here: there is none on loopback.
async fn first_packet(client: &mut TcpStream) -> io::Result<Option<(BytesMut, bool)>> {
    loop {
        let mut packet = BytesMut::zeroed(4);
        if client.read_exact(&mut packet).await.is_err() {
            return Ok(None);
        }
        let length = packet.first_chunk().copied().map(u32::from_be_bytes);
        let Ok(length) = Packet::body_length(length.unwrap_or(0)) else {
            return Err(io::Error::other("no startup packet"));
        };
        packet.resize(4 + length, 0);
        let body = packet.get_mut(4..).unwrap_or_default();
        client.read_exact(body).await?;
        let deadline = tokio::time::Instant::now();
        match Packet::parse(body, deadline) {
            Ok(Packet::SslRequest | Packet::GssEncRequest) => client.write_all(b"N").await?,
            Ok(Packet::Cancel { .. }) => return Ok(Some((packet, true))),
            // What is wrong with it, the proxy says.
            Ok(Packet::Startup { .. }) | Err(_) => return Ok(Some((packet, false))),
        }
    }
}
