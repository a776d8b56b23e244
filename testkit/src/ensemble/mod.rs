//! Ensembles to test against.

pub mod reference;
