//! The virtual database `devinprod`.
