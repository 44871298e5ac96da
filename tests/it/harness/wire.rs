//! A raw client: it sends exactly the messages that it is told to, and keeps exactly the answers.
//!
//! Drivers hide what the differential tests must see: notices, status bytes, the order of answers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use fallible_iterator::FallibleIterator;
use postgres_protocol::IsNull;
use postgres_protocol::authentication::{md5_hash, sasl};
use postgres_protocol::message::backend::{ErrorFields, Message as Parsed, RowDescriptionBody};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long an answer may take; a test that waits longer has found a hang.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// One message of the server's, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The message's type.
    pub tag: u8,
    /// All that follows the length.
    pub body: Bytes,
}

/// A connection that has got as far as its first ReadyForQuery.
///
/// The methods named after messages only queue them; [`Client::send`] sends what is queued in one write.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    input: BytesMut,
    output: BytesMut,
    /// What the server reported with ParameterStatus, latest values.
    pub parameters: BTreeMap<String, String>,
    /// BackendKeyData's process number.
    pub process: i32,
    /// BackendKeyData's secret: 4 bytes, or more from protocol 3.2 on.
    pub secret: Bytes,
}

/// What the server answered instead of letting the client in, or that it hung up (None).
pub type Refused = Option<Message>;

impl Client {
    /// Connects with a URL `postgres://user:password@host:port/database`; panics if refused.
    pub async fn connect(url: &str) -> Self {
        match Self::try_connect(url, &[]).await {
            Ok(client) => client,
            Err(refused) => panic!("refused: {:?}", refused.map(|message| message.line())),
        }
    }

    /// Connects with further startup parameters.
    pub async fn try_connect(url: &str, parameters: &[(&str, &str)]) -> Result<Self, Refused> {
        let url = url::Url::parse(url).unwrap();
        let address = (url.host_str().unwrap(), url.port().unwrap());
        // Only what matters in tests is decoded: a `+` in a user name is itself.
        let user = url.username().replace("%2B", "+");
        let password = url.password().unwrap_or_default().to_owned();
        let mut client = Self {
            stream: TcpStream::connect(address).await.unwrap(),
            input: BytesMut::new(),
            output: BytesMut::new(),
            parameters: BTreeMap::new(),
            process: 0,
            secret: Bytes::new(),
        };
        client.stream.set_nodelay(true).unwrap();
        let database = url.path().trim_start_matches('/');
        let startup = [("user", user.as_str()), ("database", database)];
        let all = startup.iter().chain(parameters).copied();
        frontend::startup_message(all, &mut client.output).unwrap();
        client.send().await;
        client.log_in(&user, password.as_bytes()).await?;
        Ok(client)
    }

    /// Queues raw bytes.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.output.extend_from_slice(bytes);
        self
    }

    /// Queues a Query.
    pub fn query(&mut self, sql: &str) -> &mut Self {
        frontend::query(sql, &mut self.output).unwrap();
        self
    }

    /// Queues a Parse.
    pub fn parse(&mut self, name: &str, sql: &str, types: &[u32]) -> &mut Self {
        frontend::parse(name, sql, types.iter().copied(), &mut self.output).unwrap();
        self
    }

    /// Queues a Bind with text parameters and text results.
    pub fn bind(&mut self, portal: &str, statement: &str, values: &[Option<&str>]) -> &mut Self {
        let bound = frontend::bind(
            portal,
            statement,
            [0],
            values,
            |value, out| match value {
                Some(text) => {
                    out.extend_from_slice(text.as_bytes());
                    Ok(IsNull::No)
                }
                None => Ok(IsNull::Yes),
            },
            [0],
            &mut self.output,
        );
        assert!(bound.is_ok(), "a parameter is too long");
        self
    }

    /// Queues a Describe of a statement (`S`) or portal (`P`).
    pub fn describe(&mut self, kind: u8, name: &str) -> &mut Self {
        frontend::describe(kind, name, &mut self.output).unwrap();
        self
    }

    /// Queues an Execute; `rows` 0 means all.
    pub fn execute(&mut self, portal: &str, rows: i32) -> &mut Self {
        frontend::execute(portal, rows, &mut self.output).unwrap();
        self
    }

    /// Queues a Close of a statement (`S`) or portal (`P`).
    pub fn close(&mut self, kind: u8, name: &str) -> &mut Self {
        frontend::close(kind, name, &mut self.output).unwrap();
        self
    }

    /// Queues a Flush.
    pub fn flush(&mut self) -> &mut Self {
        self.raw(b"H\0\0\0\x04")
    }

    /// Queues a Sync.
    pub fn sync(&mut self) -> &mut Self {
        frontend::sync(&mut self.output);
        self
    }

    /// Queues a CopyData.
    pub fn copy_data(&mut self, data: &[u8]) -> &mut Self {
        frontend::CopyData::new(data)
            .unwrap()
            .write(&mut self.output);
        self
    }

    /// Queues a CopyDone.
    pub fn copy_done(&mut self) -> &mut Self {
        frontend::copy_done(&mut self.output);
        self
    }

    /// Queues a CopyFail.
    pub fn copy_fail(&mut self, reason: &str) -> &mut Self {
        frontend::copy_fail(reason, &mut self.output).unwrap();
        self
    }

    /// Queues a Terminate.
    pub fn terminate(&mut self) -> &mut Self {
        frontend::terminate(&mut self.output);
        self
    }

    /// Sends what is queued; a server that hung up is noticed when its answer is read.
    pub async fn send(&mut self) {
        let output = self.output.split();
        let _ = self.stream.write_all(&output).await;
    }

    /// The next message; None when the server has hung up.
    pub async fn read(&mut self) -> Option<Message> {
        tokio::time::timeout(ANSWER_LIMIT, self.next_message())
            .await
            .expect("no answer in time")
    }

    /// Sends what is queued and reads up to the next ReadyForQuery, or the end of the connection.
    pub async fn run(&mut self) -> Vec<Message> {
        self.run_until(b"Z").await
    }

    /// Sends what is queued and reads up to the first message of one of these types.
    pub async fn run_until(&mut self, tags: &[u8]) -> Vec<Message> {
        self.send().await;
        let mut messages = Vec::new();
        while let Some(message) = self.read().await {
            let last = tags.contains(&message.tag);
            messages.push(message);
            if last {
                break;
            }
        }
        messages
    }

    /// One Query and its answer as a transcript.
    pub async fn simple(&mut self, sql: &str) -> String {
        transcript(&self.query(sql).run().await)
    }

    /// Parse, Bind, Describe, Execute and Sync in one flush, unnamed, and the answer as a transcript.
    pub async fn extended(&mut self, sql: &str, values: &[Option<&str>]) -> String {
        self.parse("", sql, &[])
            .bind("", "", values)
            .describe(b'P', "")
            .execute("", 0)
            .sync();
        transcript(&self.run().await)
    }

    async fn next_message(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = take_message(&mut self.input) {
                if message.tag == b'S'
                    && let Some((name, value)) = two_strings(&message.body)
                {
                    self.parameters.insert(name, value);
                }
                return Some(message);
            }
            match self.stream.read_buf(&mut self.input).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    async fn log_in(&mut self, user: &str, password: &[u8]) -> Result<(), Refused> {
        let mut scram = None;
        loop {
            let message = self.read().await.ok_or(None)?;
            match message.parse() {
                Some(Parsed::AuthenticationOk) => {}
                Some(Parsed::AuthenticationCleartextPassword) => {
                    frontend::password_message(password, &mut self.output).unwrap();
                }
                Some(Parsed::AuthenticationMd5Password(body)) => {
                    let hash = md5_hash(user.as_bytes(), password, body.salt());
                    frontend::password_message(hash.as_bytes(), &mut self.output).unwrap();
                }
                Some(Parsed::AuthenticationSasl(_)) => {
                    let begun =
                        sasl::ScramSha256::new(password, sasl::ChannelBinding::unsupported());
                    let first = begun.message();
                    frontend::sasl_initial_response(sasl::SCRAM_SHA_256, first, &mut self.output)
                        .unwrap();
                    scram = Some(begun);
                }
                Some(Parsed::AuthenticationSaslContinue(body)) => {
                    let scram = scram.as_mut().expect("SASL was begun");
                    scram.update(body.data()).unwrap();
                    frontend::sasl_response(scram.message(), &mut self.output).unwrap();
                }
                Some(Parsed::AuthenticationSaslFinal(body)) => {
                    scram
                        .as_mut()
                        .expect("SASL was begun")
                        .finish(body.data())
                        .unwrap();
                }
                Some(Parsed::ReadyForQuery(_)) => return Ok(()),
                Some(Parsed::ErrorResponse(_)) => return Err(Some(message)),
                _ if message.tag == b'K' => {
                    let mut body = message.body.clone();
                    self.process = body.get_i32();
                    self.secret = body;
                }
                _ => {}
            }
            self.send().await;
        }
    }
}

/// Answers as text, one line per message.
pub fn transcript(messages: &[Message]) -> String {
    messages
        .iter()
        .map(|message| message.line() + "\n")
        .collect()
}

impl Message {
    /// An error's or notice's field, such as `C` for the SQLSTATE.
    pub fn field(&self, field: u8) -> Option<String> {
        let fields = match self.parse()? {
            Parsed::ErrorResponse(body) => fields(body.fields()),
            Parsed::NoticeResponse(body) => fields(body.fields()),
            _ => return None,
        };
        fields.get(&field).cloned()
    }

    /// The message as one readable line, without what differs from run to run (OIDs of tables, process
    /// numbers, places in Postgres' source).
    pub fn line(&self) -> String {
        let Some(parsed) = self.parse() else {
            return format!("{} {:?}", char::from(self.tag), self.body);
        };
        match parsed {
            Parsed::ParseComplete => "ParseComplete".to_owned(),
            Parsed::BindComplete => "BindComplete".to_owned(),
            Parsed::CloseComplete => "CloseComplete".to_owned(),
            Parsed::NoData => "NoData".to_owned(),
            Parsed::EmptyQueryResponse => "EmptyQueryResponse".to_owned(),
            Parsed::PortalSuspended => "PortalSuspended".to_owned(),
            Parsed::CopyDone => "CopyDone".to_owned(),
            Parsed::CommandComplete(body) => format!("CommandComplete {}", body.tag().unwrap()),
            Parsed::ReadyForQuery(body) => {
                format!("ReadyForQuery {}", char::from(body.status()))
            }
            Parsed::ParameterStatus(body) => format!(
                "ParameterStatus {}={}",
                body.name().unwrap(),
                body.value().unwrap()
            ),
            Parsed::NotificationResponse(body) => format!(
                "NotificationResponse {} {:?}",
                body.channel().unwrap(),
                body.message().unwrap()
            ),
            Parsed::ParameterDescription(body) => {
                let types: Vec<u32> = body.parameters().collect().unwrap();
                format!("ParameterDescription {types:?}")
            }
            Parsed::RowDescription(body) => row_description(&body),
            Parsed::DataRow(body) => {
                let mut line = "DataRow".to_owned();
                let buffer = body.buffer();
                let mut ranges = body.ranges();
                while let Some(range) = ranges.next().unwrap() {
                    let value = range.map(|range| &buffer[range]);
                    let _ = match value.map(String::from_utf8_lossy) {
                        Some(text) => write!(line, " {text:?}"),
                        None => write!(line, " NULL"),
                    };
                }
                line
            }
            Parsed::CopyData(body) => {
                format!("CopyData {:?}", String::from_utf8_lossy(body.data()))
            }
            Parsed::CopyInResponse(body) => format!("CopyInResponse {}", body.format()),
            Parsed::CopyOutResponse(body) => format!("CopyOutResponse {}", body.format()),
            Parsed::ErrorResponse(body) => report("ErrorResponse", &fields(body.fields())),
            Parsed::NoticeResponse(body) => report("NoticeResponse", &fields(body.fields())),
            _ => format!("{} {:?}", char::from(self.tag), self.body),
        }
    }

    fn parse(&self) -> Option<Parsed> {
        let mut frame = BytesMut::new();
        frame.extend_from_slice(&[self.tag]);
        frame.extend_from_slice(&u32::try_from(self.body.len() + 4).unwrap().to_be_bytes());
        frame.extend_from_slice(&self.body);
        Parsed::parse(&mut frame).ok().flatten()
    }
}

fn row_description(body: &RowDescriptionBody) -> String {
    let mut line = "RowDescription".to_owned();
    let mut columns = body.fields();
    while let Some(column) = columns.next().unwrap() {
        let _ = write!(line, " {}:{}", column.name(), column.type_oid());
        if column.type_modifier() != -1 {
            let _ = write!(line, "({})", column.type_modifier());
        }
        if column.table_oid() != 0 {
            let _ = write!(line, "@{}", column.column_id());
        }
        if column.format() != 0 {
            line.push_str("/binary");
        }
    }
    line
}

fn fields(mut iterator: ErrorFields<'_>) -> BTreeMap<u8, String> {
    let mut fields = BTreeMap::new();
    while let Some(field) = iterator.next().unwrap() {
        let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
        fields.insert(field.type_(), value);
    }
    fields
}

fn report(kind: &str, fields: &BTreeMap<u8, String>) -> String {
    let field = |name: u8| fields.get(&name).map(String::as_str).unwrap_or_default();
    let mut line = format!("{kind} {} {}: {}", field(b'S'), field(b'C'), field(b'M'));
    const FURTHER: [(u8, &str); 10] = [
        (b'D', "detail"),
        (b'H', "hint"),
        (b'P', "position"),
        (b'p', "internal position"),
        (b'q', "internal query"),
        (b'W', "where"),
        (b's', "schema"),
        (b't', "table"),
        (b'c', "column"),
        (b'n', "constraint"),
    ];
    for (name, word) in FURTHER {
        if fields.contains_key(&name) {
            let _ = write!(line, "; {word}: {}", field(name).replace('\n', "\\n"));
        }
    }
    line
}

fn take_message(input: &mut BytesMut) -> Option<Message> {
    let length = u32::from_be_bytes(input.get(1..5)?.try_into().unwrap());
    let end = 1 + usize::try_from(length).unwrap();
    (input.len() >= end).then(|| {
        let mut frame = input.split_to(end);
        let tag = frame[0];
        frame.advance(5);
        Message {
            tag,
            body: frame.freeze(),
        }
    })
}

fn two_strings(body: &[u8]) -> Option<(String, String)> {
    let mut parts = body.split(|byte| *byte == 0);
    let name = String::from_utf8_lossy(parts.next()?).into_owned();
    let value = String::from_utf8_lossy(parts.next()?).into_owned();
    Some((name, value))
}
