//! From SQL text to what is done with it.
