//! From a statement on masked relations to one on the views in their place: [`redirect`].
//!
//! Nothing here is a boundary. What is not understood stays as it was written, and Postgres refuses it; what is changed
//! must mean the same. Every change is spliced into the client's own text, so that an error's position leads back to it.
//! All names of ours begin with `devinprod_`.

mod arbiter;
mod dml;
mod group;
mod insert;
mod like;
mod routine;
mod scope;
mod sources;
#[cfg(test)]
mod tests;
mod upsert;
mod utility;
mod walk;
mod written;

use crate::catalog::Masked;
use crate::sql::edit::Edit;
use crate::sql::lexer::{self, Token, TokenKind};
use crate::sql::statement::{Kind, Statement};
use crate::sql::value;

/// Where the proxy writes its token in [`Redirect::edits`] and in [`Returning::query`]: a plain word that stands inside of a
/// string constant.
pub const TOKEN: &str = "devinprod_token";

/// What is changed in a statement that reads masked relations; the default changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Redirect {
    /// What to splice into the text. These come before any other edit of the same place.
    pub edits: Vec<Edit>,
    /// The statement to send behind it, whose rows are the client's.
    pub returning: Option<Returning>,
    /// What the statement's tag becomes: this, and the number at its end. An INSERT may run as another statement.
    pub tag: Option<&'static str>,
    /// The views that are read: each one's oid, and the oid of the relation in whose place it stands.
    pub views: Vec<(u32, u32)>,
    /// Why Postgres will refuse it, as far as that can be told from here. The statement is sent all the same: this is
    /// what to tell when it fails with 42501 or 42703.
    pub blocked: Option<Blocked>,
}

/// RETURNING of columns that the statement's role may not read: the edits make the statement itself call
/// `devinprod.remember('`[`TOKEN`]`', …)` for each row, and the rows that the client asked for come from a second statement,
/// sent behind the first. Of a PREPARE it is what to send behind each EXECUTE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returning {
    /// The second statement, with [`TOKEN`] in it. It has no parameters.
    pub query: String,
}

/// Why a statement cannot work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// The column that stands in the way, `public.users.email`, or the relation if it is no single column.
    pub what: String,
    /// Where the policy says that it is not readable, or why it cannot be redirected.
    pub because: String,
    /// What would work.
    pub instead: String,
}

/// What to change in the statement, so that it reads the views in place of masked relations.
pub fn redirect(text: &str, statement: &Statement, masked: &Masked) -> Redirect {
    if masked.relations().is_empty() || !may_read(&statement.kind) {
        return Redirect::default();
    }
    let tokens = lexer::significant(text);
    if !names_masked(text, &tokens, masked) {
        return Redirect::default();
    }
    utility::redirect(text, &tokens, masked).unwrap_or_default()
}

fn may_read(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Read
            | Kind::EffectfulSelect
            | Kind::Write
            | Kind::Prepare { .. }
            | Kind::Execute { .. }
            | Kind::Declare { .. }
            | Kind::Copy(_)
            | Kind::CreateTable { .. }
            | Kind::Ddl
            | Kind::Code
    )
}

/// Does any name in the text bear that of a masked relation, also inside of a function's body? Most statements end here.
fn names_masked(text: &str, tokens: &[Token], masked: &Masked) -> bool {
    tokens.iter().any(|token| match token.kind {
        TokenKind::Word | TokenKind::QuotedIdentifier | TokenKind::UnicodeIdentifier => {
            value::identifier(token, text).is_some_and(|name| masked.knows(&name))
        }
        TokenKind::DollarString | TokenKind::String => {
            routine::body(text, token).is_some_and(|(body, _)| {
                let inner = lexer::significant(body);
                inner.iter().any(|token| {
                    value::identifier(token, body).is_some_and(|name| masked.knows(&name))
                })
            })
        }
        _ => false,
    })
}
