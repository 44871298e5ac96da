//! The virtual database `devinprod`.

/// An identifier as SQL writes it, quoted whatever it is.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
