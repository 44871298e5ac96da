//! What `devinprod setup` puts into a database.
