//! The machine fed by hand: alone, and among others.

mod alone;
mod ensemble;
mod transcripts;
mod world;
