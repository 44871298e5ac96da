//! What happened, for the record: events and where they go.
