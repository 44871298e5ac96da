//! [`Stage`]: what kind of data an upstream holds.

use serde::Deserialize;

/// What kind of data an upstream holds: it decides what an operator may relax.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// A developer's own database.
    Local,
    /// Test data that nobody would miss.
    Test,
    /// Production-like data.
    Preprod,
    /// Production, or a copy of it.
    Prod,
}

impl Stage {
    /// As the configuration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Test => "test",
            Self::Preprod => "preprod",
            Self::Prod => "prod",
        }
    }

    /// May an upstream of this stage be used unsealed, or with no isolation at all?
    pub fn is_relaxed(self) -> bool {
        matches!(self, Self::Local | Self::Test)
    }
}
