//! devinprod: a Postgres wire-protocol isolation proxy.
//!
//! A developer's application connects to devinprod as if it were Postgres, and works on production-like data.
//! Whatever it writes stays in a *sandbox*: one upstream transaction that is never committed, shared by all
//! connections of the application, in which BEGIN, COMMIT and ROLLBACK are played with savepoints. What the proxy
//! would miss, Postgres itself refuses: `devinprod setup` *seals* the database, so that a developer's role
//! has the right to write only where COMMIT fails.
//!
//! ```text
//! application ──► server ──► session ──► plan ──► sandbox ──► upstream ──► Postgres, sealed
//!                 TLS,       frames,     what is  which       one
//!                 SCRAM,     replies     this     savepoints, transaction
//!                 who are    in order    statement, who has   that never
//!                 you                    what is  the floor   ends
//!                                        sent
//! ```
//!
//! A statement's way: the [`session`] reads a message ([`wire`]) and hands its SQL to [`plan`], which looks at it
//! ([`sql`]) and decides once what becomes of it. The [`sandbox`] turns that plan into upstream messages, in the
//! virtual transaction of this client, as soon as the client has the floor; the [`upstream`] sends them and streams the answers
//! back. What devinprod itself has to say to a client is an [`error::Refusal`], and what happened goes
//! to [`audit`].
//!
//! The modules, from the ground up; each imports only from those above it in this list:
//!
//! - [`error`]: the only shape of error that a client sees from devinprod itself
//! - [`report`]: what is wrong with a file that somebody wrote, the source line underlined
//! - [`sql`]: pure functions on SQL text: split, classify, edit in place
//! - [`wire`]: bytes to messages and back: framing, startup, TLS, SCRAM
//! - [`catalog`]: what the proxy knows of an upstream's masked relations
//! - [`synth`]: synthetic values, and the SQL that makes them
//! - [`policy`]: which columns are sensitive, as a security team wrote it down
//! - [`audit`]: events, and where they are written
//! - [`evidence`]: what was shown about a commit, signed, and the gate that asks for it
//! - [`budget`]: how much a developer may read, counted as it passes
//! - [`notify`]: who is told of it
//! - [`upstream`]: the only place that opens a socket to Postgres
//! - [`sandbox`]: virtual transactions, who holds the floor, what is shared, when it ends
//! - [`plan`]: from a statement to what is done with it
//! - [`seal`]: what `devinprod setup` puts into a database, and how to check it
//! - [`rehearse`]: tries a migration on the real data, and undoes it
//! - [`changeset`]: what a sandbox would have changed
//! - [`session`]: one client
//! - [`tap`]: watches what passes between a command and the proxy, on the developer's side
//! - [`compare`]: two runs of a program, compared
//! - [`console`]: the virtual database `devinprod`: SHOW SANDBOXES and its like
//! - [`page`]: what a developer sees of it in a browser
//! - [`config`]: `devinprod.toml`, checked; composes the settings that the modules own
//! - [`server`]: accepts clients and hands each to where it is served
//! - [`cluster`]: private Postgres clusters, for the demo and for tests
//! - [`cli`]: the command line, one file per command

pub mod audit;
pub mod budget;
pub mod catalog;
pub mod changeset;
pub mod cli;
pub mod cluster;
pub mod compare;
pub mod config;
pub mod console;
pub mod error;
pub mod evidence;
pub mod notify;
pub mod page;
pub mod plan;
pub mod policy;
pub mod rehearse;
pub mod report;
pub mod sandbox;
pub mod seal;
pub mod server;
pub mod session;
pub mod sql;
pub mod synth;
pub mod tap;
pub mod upstream;
pub mod wire;
