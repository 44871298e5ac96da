//! The web page: what a developer sees of their sandboxes in a browser. HTML made here, no script anywhere.
//!
//! Whoever comes logs in with the name and password of their connections. What they see then is what the console and the command
//! line show them: the page asks a [`House`], which answers for one developer only, and reads data as that developer.
//!
//! What keeps others out: the session is a random cookie that no script and no other site gets ([`entry`]); only logging in and out change
//! anything, both with a token in the form; a request must name a host that is ours, so that no other name can be turned onto this
//! address; and what is shown is text, whatever it holds, on a page that may run and load nothing ([`answer`]).

mod answer;
mod comparisons;
mod entry;
mod route;
mod serve;
mod view;

use std::net::SocketAddr;
use std::path::PathBuf;

use async_trait::async_trait;

use crate::audit::record::Record;
use crate::console::{Directory, Visitor};
use crate::error::Refusal;
use crate::wire::listen::Listen;
use crate::wire::verifier::Verifier;

pub use serve::serve;

/// `[page]`: where the page is served, and what it shows besides.
#[derive(Debug, Clone)]
pub struct PageSettings {
    /// The address, and TLS.
    pub listen: Listen,
    /// Names of this machine that browsers may use, besides the address itself and `localhost`.
    pub names: Vec<String>,
    /// A folder with a folder for each developer, with the reports of `devinprod compare --format json`.
    pub comparisons: Option<PathBuf>,
}

/// What the page asks the rest of the proxy, besides what the console asks.
#[async_trait]
pub trait House: Directory {
    /// Whether this is a developer's password: what it was checked against, or None; both are put on record.
    ///
    /// # Errors
    /// Nobody is let in now, because nothing can be put on record.
    async fn log_in(
        &self,
        visitor: &Visitor,
        password: String,
    ) -> Result<Option<Verifier>, Refusal>;

    /// What the developer's password is checked against now; None for who is a developer no more.
    fn verifier(&self, developer: &str) -> Option<Verifier>;

    /// Puts on record that they are gone.
    fn log_out(&self, developer: &str, address: SocketAddr);

    /// The last of what is on record of the developer.
    ///
    /// # Errors
    /// It cannot be read.
    async fn record(&self, developer: &str) -> Result<Tail, Refusal>;
}

/// The end of the record.
#[derive(Debug, Default)]
pub struct Tail {
    /// In the log's order.
    pub records: Vec<Record>,
    /// There was too much to look through in time.
    pub cut: bool,
}
