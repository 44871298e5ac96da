//! [`Socket`]: one byte stream type for both sides of the proxy: TCP, a Unix-domain socket, or TLS over TCP.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

/// A connected stream. Reads and writes pass straight through; nothing is buffered here.
#[derive(Debug)]
pub enum Socket {
    /// Plain TCP.
    Tcp(TcpStream),
    /// A Unix-domain socket (upstream only).
    Unix(UnixStream),
    /// TLS over TCP, as server or as client.
    Tls {
        /// The encrypted stream.
        stream: Box<TlsStream<TcpStream>>,
        /// The server certificate's `tls-server-end-point` hash (RFC 5929), if its signature algorithm
        /// names a hash; both ends of the connection know the same bytes.
        end_point: Option<Arc<[u8]>>,
    },
}

impl Socket {
    /// Whether the bytes are encrypted on their way.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls { .. })
    }

    /// What SCRAM's channel binding `tls-server-end-point` binds to; None without TLS, or for a
    /// certificate whose signature algorithm has no hash of its own (Ed25519).
    pub fn end_point(&self) -> Option<&[u8]> {
        match self {
            Self::Tls { end_point, .. } => end_point.as_deref(),
            Self::Tcp(_) | Self::Unix(_) => None,
        }
    }

    /// The TCP stream underneath, for socket options and addresses.
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(tcp) => Some(tcp),
            Self::Tls { stream, .. } => Some(stream.get_ref().0),
            Self::Unix(_) => None,
        }
    }
}

/// Calls the same method on whatever stream the socket is.
macro_rules! delegate {
    ($socket:expr, $method:ident $(, $argument:expr)*) => {
        match $socket.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            Self::Unix(stream) => Pin::new(stream).$method($($argument),*),
            Self::Tls { stream, .. } => Pin::new(stream.as_mut()).$method($($argument),*),
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        delegate!(self, poll_read, cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, poll_write, cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_flush, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_shutdown, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, poll_write_vectored, cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
            Self::Tls { stream, .. } => stream.is_write_vectored(),
        }
    }
}
