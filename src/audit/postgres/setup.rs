//! The SQL that makes the copy's schema.

use crate::wire::verifier::Verifier;

const SCHEMA: &str = include_str!("schema.sql");

/// The role that the proxy logs in as.
pub const WRITER: &str = "devinprod_audit_writer";
/// The role whose members may read.
pub const AUDITOR: &str = "devinprod_auditor";

/// How the schema is made.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The writer's new password; None: it stays.
    pub verifier: Option<Verifier>,
    /// Days that are older than this many are dropped; None: that setting stays, and at first nothing is.
    pub retention_days: Option<u32>,
}

/// All of it as one transaction, which does no harm where it was run before. Its owner is who runs it.
pub fn script(options: &Options) -> String {
    let mut script = format!("BEGIN;\nSET LOCAL search_path = pg_catalog, pg_temp;\n{SCHEMA}");
    if let Some(verifier) = &options.verifier {
        script += &format!("ALTER ROLE {WRITER} PASSWORD '{verifier}';\n");
    }
    if let Some(days) = options.retention_days {
        script += &format!("UPDATE devinprod_audit.settings SET retention_days = {days};\n");
    }
    script + "COMMIT;\n"
}
