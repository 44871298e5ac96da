//! Synthetic values: what stands where a sensitive value was, and the SQL that makes it.
//!
//! A [`Mask`] turns the SQL of a real value into the SQL of a synthetic one: deterministic, keyed with a secret
//! that never leaves the database, of the column's own type. [`definition`] is what the expressions call.
//! Nothing here knows a policy or a catalog.
//!
//! ```text
//! devinprod.mask_email(t.email, (SELECT key FROM devinprod.mask_key))
//!    │  plpgsql, only to keep the digest: no operator, every name qualified, so no search_path matters
//!    ├─ devinprod.mask_digest(class, value, key)    sha256, 32 bytes          SQL-standard bodies: bound when
//!    └─ devinprod.email_of(digest)                  words and digits from it  they are made, inlined when they run
//! ```
//!
//! Two rules hold for every function: it never raises (a message could carry a value), and a value whose key is
//! missing is NULL.

mod describe;
mod dictionary;
mod expression;
mod family;
mod mask;
mod parameters;

pub use describe::Description;
pub use expression::{Column, Unfit};
pub use mask::{IbanCountry, IdCountry, JsonKeys, Locale, Mask, NamePart, Unit};
pub use parameters::MaskError;

/// Where an expression finds the key: one InitPlan in a view whose owner may read it.
pub const KEY: &str = "(SELECT k.key FROM devinprod.mask_key AS k)";

/// The key, the functions and the dictionaries that the expressions use, in the schema `devinprod`.
///
/// Run as the sealing role with `search_path = pg_catalog`; may be run again. `@readers@` stands for the roles that
/// read masked views: they execute the mask functions, and never read the key.
pub fn definition() -> String {
    [
        include_str!("sql/key.sql"),
        include_str!("sql/base.sql"),
        &dictionary::functions(),
        include_str!("sql/contact.sql"),
        &include_str!("sql/payment.sql").replace("@luhn@", &luhn_sum()),
        include_str!("sql/date.sql"),
        include_str!("sql/number.sql"),
        include_str!("sql/text.sql"),
        include_str!("sql/json.sql"),
        include_str!("sql/close.sql"),
    ]
    .concat()
}

/// The Luhn sum of the 15 digits of `number`, as SQL: from the right, every other digit counts double, and a doubled
/// one counts as the sum of its own digits.
fn luhn_sum() -> String {
    (0..15)
        .map(|place| {
            let digit = format!("number / {} % 10", 10_u64.pow(place));
            if place % 2 == 0 {
                format!("2 * ({digit}) - 9 * ({digit} > 4)::integer")
            } else {
                digit
            }
        })
        .collect::<Vec<_>>()
        .join(" + ")
}
