//! Isolation `none`: what is sent goes through as it is, and what is written is committed. For the stages local and
//! test only, which the configuration's check sees to.
//!
//! Here, too, each execution is on record, and counts in budgets. So messages are read as far as that needs:
//! [`client`] notes what each one runs ([`track`], [`names`]), [`upstream`] holds the answers against that. After a
//! Query or a Sync nothing further is sent until it is answered, as Postgres reads nothing further; so the end of an
//! answer is always known, and a cancel request of ours hits no other statement. Whatever answer is not expected ends the
//! connection: nothing may run unseen.

mod answer;
mod client;
mod names;
mod track;
mod upstream;

use super::CancelTarget;
use crate::config::Upstream;
use crate::error::{Refusal, SqlState};
use crate::session::{ClientError, Context, Login};
use crate::upstream::connect;
use crate::wire::backend::{self, Status};
use crate::wire::startup::{self, ClientStream, Startup};
use answer::Answer;
use bytes::BytesMut;
use client::FromClient;
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use track::Shared;
use upstream::{Cancel, FromUpstream};

/// Serves one client over a connection of its own; `limit` is its largest message in bytes. `register` is told how to
/// cancel it.
pub(super) async fn serve(
    mut stream: ClientStream,
    upstream: &Upstream,
    startup: &Startup,
    login: &Login,
    context: &Arc<Context>,
    limit: usize,
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
    let connection = match opened {
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
    let shared = Arc::new(Shared::default());
    let mut greeting = BytesMut::new();
    for (name, value) in &connection.parameters {
        shared.track().reading.told(name, value);
        backend::parameter_status(&mut greeting, name, value);
    }
    backend::backend_key_data(&mut greeting, connection.process, &connection.secret);
    backend::ready(&mut greeting, Status::Idle);
    if stream.write_all(&greeting).await.is_err() {
        return;
    }
    let (from_client, to_client) = tokio::io::split(stream);
    let (from_upstream, to_upstream) = tokio::io::split(connection.stream);
    let mut there = FromClient {
        client: from_client,
        upstream: to_upstream,
        input: BytesMut::new(),
        pass: 0,
        rest: 0,
        dropped: false,
        shared: shared.clone(),
        context: context.clone(),
        account: context.budgets.account(&login.upstream, &login.developer),
        limit,
        records_values: login.records_values,
    };
    let mut back = FromUpstream {
        upstream: from_upstream,
        client: to_client,
        input: connection.read_ahead,
        pass: 0,
        rest: 0,
        dropped: false,
        shared,
        context: context.clone(),
        login: login.clone(),
        cancel: Cancel {
            address: address.clone(),
            process: connection.process,
            secret: connection.secret,
        },
        answer: Answer::new(login.application()),
        made: VecDeque::new(),
        muted: false,
        torn: false,
    };
    let ended = {
        // Neither is ever left half-way and begun again: each knows how much of a message it has sent on.
        let mut there = pin!(there.run());
        let mut back = pin!(back.run());
        tokio::select! {
            ended = &mut back => ended,
            ended = &mut there => match ended {
                // The client has said all that it wants to say; the upstream answers it, and closes.
                Ok(()) => back.await,
                error => error,
            },
        }
    };
    back.end().await;
    match ended {
        Ok(()) | Err(ClientError::Gone) => {}
        Err(ClientError::Io(error)) => {
            tracing::debug!(developer = %login.developer, %error, "a pass-through connection ended");
        }
        Err(ClientError::Protocol(refusal)) => back.tell_end(&refusal).await,
    }
}
