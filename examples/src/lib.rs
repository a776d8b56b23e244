//! Programs a user would start from.
