//! A wire between client and server that keeps a copy of every byte that the server says.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What the server said, not yet taken.
#[derive(Debug, Clone, Default)]
pub struct Tape(Arc<Mutex<Vec<u8>>>);

impl Tape {
    /// All that came since the last time, and the last bytes from before: a marker may stand across.
    pub fn take(&self) -> Vec<u8> {
        const OVERLAP: usize = 64;
        let mut kept = self.0.lock().unwrap();
        let all = std::mem::take(&mut *kept);
        kept.extend_from_slice(&all[all.len().saturating_sub(OVERLAP)..]);
        all
    }

    /// Forgets all that came.
    pub fn wipe(&self) {
        self.0.lock().unwrap().clear();
    }
}

/// Listens in front of a port of the loopback: every connection through it is on the tape, byte for byte, before
/// the client gets it.
pub async fn recorded(target: u16) -> (u16, Tape) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tape = Tape::default();
    let kept = tape.clone();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let kept = kept.clone();
            tokio::spawn(async move {
                let Ok(far) = TcpStream::connect(("127.0.0.1", target)).await else {
                    return;
                };
                let _ = (near.set_nodelay(true), far.set_nodelay(true));
                let (mut near_in, mut near_out) = near.into_split();
                let (mut far_in, mut far_out) = far.into_split();
                let asks = async move {
                    let _ = tokio::io::copy(&mut near_in, &mut far_out).await;
                };
                let answers = async move {
                    let mut buffer = vec![0; 64 * 1024];
                    while let Ok(n @ 1..) = far_in.read(&mut buffer).await {
                        kept.0.lock().unwrap().extend_from_slice(&buffer[..n]);
                        if near_out.write_all(&buffer[..n]).await.is_err() {
                            break;
                        }
                    }
                };
                tokio::select! { () = asks => {}, () = answers => {} }
            });
        }
    });
    (port, tape)
}
