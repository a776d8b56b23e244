//! The machine fed by hand: alone, and among others.

mod alone;
mod chaos;
mod ensemble;
mod transcripts;
mod world;
