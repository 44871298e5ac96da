//! Statements of a tap, asked again: parameters go back as they came, whatever their types.

use std::error::Error;

use bytes::BytesMut;
use futures::TryStreamExt;
use tokio_postgres::types::{Format, FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Row};

use crate::tap::Parameter;

/// A parameter in the form in which it was sent.
#[derive(Debug)]
pub struct Raw<'a>(pub &'a Parameter);

impl ToSql for Raw<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        Ok(match &self.0.value {
            Some(value) => {
                out.extend_from_slice(value);
                IsNull::No
            }
            None => IsNull::Yes,
        })
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        match self.0.binary {
            true => Format::Binary,
            false => Format::Text,
        }
    }

    to_sql_checked!();
}

/// A value's bytes as text, for types that are the same in both forms.
pub(super) struct Plain(pub(super) String);

impl<'a> FromSql<'a> for Plain {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(String::from_utf8_lossy(raw).into_owned()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Runs a statement with parameters of these types (OIDs; 0 and unknown ones are left to the server).
///
/// # Errors
///
/// Of the server or the connection.
pub async fn ask(
    client: &Client,
    text: &str,
    types: &[u32],
    parameters: &[Parameter],
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let types: Vec<Type> = types.iter().map_while(|oid| Type::from_oid(*oid)).collect();
    let statement = client.prepare_typed(text, &types).await?;
    if statement.params().len() != parameters.len() {
        // The driver would panic; what the server says of it is the better answer.
        return client.query(text, &[]).await;
    }
    let raw: Vec<Raw<'_>> = parameters.iter().map(Raw).collect();
    let rows = client.query_raw(&statement, raw.iter().map(|raw| raw as &dyn ToSql));
    rows.await?.try_collect().await
}
