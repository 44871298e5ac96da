//! The administrator's own connections: setup, doctor and the keeper ask their questions by
//! `tokio_postgres`, with the same TLS as every other connection.

use tokio_postgres::{Client, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::{Address, Password};
use super::connect::ConnectError;
use super::tls;

/// Connects as the address' own user. The connection runs in a task of its own, which ends when the client
/// is dropped; must be called inside a tokio runtime.
pub async fn admin(address: &Address) -> Result<Client, ConnectError> {
    admin_with(address, "").await
}

/// [`admin`] with startup options such as `-c name=value`.
pub async fn admin_with(address: &Address, options: &str) -> Result<Client, ConnectError> {
    let mut settings = address.to_tokio_postgres_config();
    if !options.is_empty() {
        settings.options(options);
    }
    let connecting = async {
        Ok(match tls::load(address).await? {
            None => {
                let (client, connection) = settings.connect(NoTls).await?;
                tokio::spawn(drive(connection));
                client
            }
            Some(config) => {
                let connector = MakeRustlsConnect::new(config);
                let (client, connection) = settings.connect(connector).await?;
                tokio::spawn(drive(connection));
                client
            }
        })
    };
    // The driver's own limit covers the TCP connection alone.
    tokio::time::timeout(address.connect_timeout, connecting)
        .await
        .map_err(|_| ConnectError::TimedOut)?
}

/// [`admin`] as another role, with its password.
pub async fn admin_as(
    address: &Address,
    role: &str,
    password: &str,
) -> Result<Client, ConnectError> {
    let mut own = address.clone();
    role.clone_into(&mut own.user);
    own.password = Password::new(password);
    admin(&own).await
}

async fn drive<E: std::fmt::Display>(connection: impl Future<Output = Result<(), E>>) {
    if let Err(error) = connection.await {
        tracing::debug!(%error, "an administrator's connection ended");
    }
}
