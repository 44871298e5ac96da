//! The console on the wire: pgwire's codec and query handlers, fed from a client that is already logged in.

use std::fmt::Debug;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{FutureExt, Sink, SinkExt, StreamExt, stream};
use pgwire::api::portal::{Format, Portal};
use pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use pgwire::api::results::{DataRowEncoder, FieldFormat, FieldInfo, QueryResponse, Response, Tag};
use pgwire::api::stmt::QueryParser;
use pgwire::api::store::PortalStore;
use pgwire::api::{
    ClientInfo, ClientPortalStore, DefaultClient, NoopHandler, PgWireConnectionState, Type,
};
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use pgwire::messages::response::{ReadyForQuery, TransactionStatus};
use pgwire::messages::startup::ParameterStatus;
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use pgwire::tokio::server::{PgWireMessageServerCodec, process_error, process_message};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::codec::Framed;

use super::answer::{Answer, Cell, Columns, Kind, answer, columns};
use super::command::{Command, parse};
use super::{Directory, Visitor};
use crate::error::{Refusal, SqlState};
use crate::wire::bounded::Bounded;

/// The largest message body that the console reads, in bytes: its commands are short.
const MAX_BODY: u32 = 64 << 10;

/// What a client is told right after it logged in. Drivers look at some of these to learn how to speak.
const PARAMETERS: &[(&str, &str)] = &[
    (
        "server_version",
        concat!("15.0 (devinprod ", env!("CARGO_PKG_VERSION"), ")"),
    ),
    ("server_encoding", "UTF8"),
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("integer_datetimes", "on"),
    ("standard_conforming_strings", "on"),
    ("is_superuser", "off"),
];

/// Serves the console on `stream` until the client leaves.
///
/// The client must be logged in: AuthenticationOk is sent, and nothing after it. What is sent from
/// here on are the parameters, ReadyForQuery and the answers.
///
/// # Errors
/// The connection broke.
pub async fn serve<S>(stream: S, visitor: Visitor, directory: Arc<dyn Directory>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static,
{
    // pgwire's "secure" flag is about TLS that pgwire itself does; here it is done before.
    let client = DefaultClient::new(visitor.address, false);
    let mut socket = Framed::new(
        Bounded::new(stream, MAX_BODY),
        PgWireMessageServerCodec::new(client),
    );
    greet(&mut socket).await?;
    socket.set_state(PgWireConnectionState::ReadyForQuery);

    let console = Arc::new(Console {
        parser: Arc::new(Parser),
        visitor,
        directory,
    });
    loop {
        // pgwire's decoder panics on a message that is shorter than what it says it holds.
        let next = AssertUnwindSafe(socket.next()).catch_unwind().await;
        let message = match next {
            Ok(None | Some(Ok(PgWireFrontendMessage::Terminate(_)))) => break,
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(_))) | Err(_) => {
                // There is no telling where the next message begins.
                let refusal = Refusal::fatal(
                    SqlState::PROTOCOL_VIOLATION,
                    "invalid or oversized message to the devinprod console",
                );
                return process_error(&mut socket, user_error(refusal), false).await;
            }
        };
        let is_extended = message.is_extended_query();
        let result = process_message(
            message,
            &mut socket,
            Arc::new(NoopHandler),
            Arc::clone(&console),
            Arc::clone(&console),
            Arc::new(NoopHandler),
            Arc::new(NoopHandler),
        )
        .await;
        if let Err(error) = result {
            let is_fatal = error.is_fatal();
            process_error(&mut socket, error, is_extended).await?;
            if is_fatal {
                break;
            }
        }
    }
    Ok(())
}

async fn greet(
    socket: &mut (impl Sink<PgWireBackendMessage, Error = io::Error> + Unpin),
) -> io::Result<()> {
    for (name, value) in PARAMETERS {
        let parameter = ParameterStatus::new((*name).to_owned(), (*value).to_owned());
        socket
            .feed(PgWireBackendMessage::ParameterStatus(parameter))
            .await?;
    }
    let ready = ReadyForQuery::new(TransactionStatus::Idle);
    socket
        .send(PgWireBackendMessage::ReadyForQuery(ready))
        .await
}

/// The console of one client.
struct Console {
    parser: Arc<Parser>,
    visitor: Visitor,
    directory: Arc<dyn Directory>,
}

impl Console {
    async fn respond(&self, command: &Command, format: &Format) -> PgWireResult<Response> {
        let Answer { tag, rows } = answer(command, &self.visitor, self.directory.as_ref())
            .await
            .map_err(user_error)?;
        let Some(rows) = rows else {
            let tag = Tag::new(tag);
            return Ok(match command {
                Command::Begin => Response::TransactionStart(tag),
                Command::Commit | Command::Rollback => Response::TransactionEnd(tag),
                _ => Response::Execution(tag),
            });
        };
        let fields = Arc::new(fields(columns(command), format));
        let mut encoder = DataRowEncoder::new(Arc::clone(&fields));
        let rows: Vec<PgWireResult<_>> = rows
            .iter()
            .map(|row| {
                for cell in row {
                    match cell {
                        Cell::Text(value) => encoder.encode_field(value)?,
                        Cell::Int8(value) => encoder.encode_field(value)?,
                        Cell::Bool(value) => encoder.encode_field(value)?,
                    }
                }
                Ok(encoder.take_row())
            })
            .collect();
        let mut response = QueryResponse::new(fields, stream::iter(rows));
        response.set_command_tag(tag);
        Ok(Response::Query(response))
    }
}

#[async_trait]
impl SimpleQueryHandler for Console {
    async fn do_query<C>(&self, _client: &mut C, query: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let commands = parse(query).map_err(user_error)?;
        if commands.is_empty() {
            return Ok(vec![Response::EmptyQuery]);
        }
        let mut responses = Vec::with_capacity(commands.len());
        for command in &commands {
            match self.respond(command, &Format::UnifiedText).await {
                Ok(response) => responses.push(response),
                // What ran before it is answered, what follows does not run: as in Postgres.
                Err(error) => {
                    responses.push(Response::Error(Box::new(error.into())));
                    break;
                }
            }
        }
        Ok(responses)
    }
}

#[async_trait]
impl ExtendedQueryHandler for Console {
    type Statement = Command;
    type QueryParser = Parser;

    fn query_parser(&self) -> Arc<Parser> {
        Arc::clone(&self.parser)
    }

    async fn do_query<C>(
        &self,
        _client: &mut C,
        portal: &Portal<Command>,
        _max_rows: usize,
    ) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Command>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        self.respond(&portal.statement.statement, &portal.result_column_format)
            .await
    }
}

/// Makes one command of a Parse message.
struct Parser;

#[async_trait]
impl QueryParser for Parser {
    type Statement = Command;

    async fn parse_sql<C>(
        &self,
        _client: &C,
        sql: &str,
        _types: &[Option<Type>],
    ) -> PgWireResult<Option<Command>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let mut commands = parse(sql).map_err(user_error)?;
        let command = commands.pop();
        if commands.is_empty() {
            return Ok(command);
        }
        Err(user_error(Refusal::error(
            SqlState::SYNTAX_ERROR,
            "cannot insert multiple commands into a prepared statement",
        )))
    }

    fn get_parameter_types(&self, _command: &Command) -> PgWireResult<Vec<Type>> {
        Ok(Vec::new())
    }

    fn get_result_schema(
        &self,
        command: &Command,
        format: Option<&Format>,
    ) -> PgWireResult<Vec<FieldInfo>> {
        Ok(fields(
            columns(command),
            format.unwrap_or(&Format::UnifiedText),
        ))
    }
}

fn fields(columns: Columns, format: &Format) -> Vec<FieldInfo> {
    let field = |(at, (name, kind)): (usize, &(&str, Kind))| {
        let (datatype, size) = match kind {
            Kind::Text => (Type::TEXT, -1),
            Kind::Int8 => (Type::INT8, 8),
            Kind::Bool => (Type::BOOL, 1),
        };
        // A client may send fewer format codes than there are columns; pgwire would panic on those.
        let format = match format {
            Format::UnifiedText => FieldFormat::Text,
            Format::UnifiedBinary => FieldFormat::Binary,
            Format::Individual(codes) => FieldFormat::from(codes.get(at).copied().unwrap_or(0)),
        };
        FieldInfo::new((*name).to_owned(), None, None, datatype, format).with_type_size(size)
    };
    columns.iter().enumerate().map(field).collect()
}

/// A refusal in pgwire's shape: the only way in which text of ours gets into it.
fn user_error(refusal: Refusal) -> PgWireError {
    let severity = refusal.severity.as_str().to_owned();
    let mut info = ErrorInfo::new(
        severity.clone(),
        refusal.sqlstate.0.to_owned(),
        refusal.message,
    );
    info.severity_nonlocalized = Some(severity);
    info.detail = refusal.detail;
    info.hint = refusal.hint;
    info.position = refusal.position.map(|position| position.to_string());
    PgWireError::UserError(Box::new(info))
}

#[cfg(test)]
mod tests;
