//! Isolation `none`: bytes go through as they are. For the stages local and test only, which the
//! configuration's check sees to.

use super::CancelTarget;
use crate::config::Upstream;
use crate::error::{Refusal, SqlState};
use crate::session::Login;
use crate::upstream::connect;
use crate::wire::backend::{self, Status};
use crate::wire::startup::{self, ClientStream, Startup};
use bytes::BytesMut;
use tokio::io::AsyncWriteExt;

/// Buffers in each direction, in bytes.
const BUFFER: usize = 16 * 1024;

/// Serves one client over a connection of its own. `register` is told how to cancel it.
pub(super) async fn serve(
    mut stream: ClientStream,
    upstream: &Upstream,
    startup: &Startup,
    login: &Login,
    register: impl FnOnce(CancelTarget),
) {
    let address = &upstream.address;
    let parameters: Vec<(&str, &str)> = startup
        .parameters
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let opened = connect::connect(
        address,
        &address.user,
        &address.password,
        &parameters,
        address.connect_timeout,
    )
    .await;
    let mut connection = match opened {
        Ok(connection) => connection,
        Err(error) => {
            let refusal = Refusal::fatal(
                SqlState::CANNOT_CONNECT_NOW,
                format!("the upstream {} cannot be reached: {error}", upstream.name),
            );
            let _ = startup::refuse(&mut stream, &refusal).await;
            return;
        }
    };
    register(CancelTarget::Upstream {
        upstream: upstream.name.clone(),
        process: connection.process,
        secret: connection.secret.clone(),
    });
    let mut greeting = BytesMut::new();
    for (name, value) in &connection.parameters {
        backend::parameter_status(&mut greeting, name, value);
    }
    backend::backend_key_data(&mut greeting, connection.process, &connection.secret);
    backend::ready(&mut greeting, Status::Idle);
    greeting.extend_from_slice(&connection.read_ahead);
    if stream.write_all(&greeting).await.is_err() {
        return;
    }
    let carried = tokio::io::copy_bidirectional_with_sizes(
        &mut stream,
        &mut connection.stream,
        BUFFER,
        4 * BUFFER,
    )
    .await;
    if let Err(error) = carried {
        tracing::debug!(developer = %login.developer, %error, "a pass-through connection ended");
    }
}
