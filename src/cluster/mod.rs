//! Private Postgres clusters, for the demo and for tests.
