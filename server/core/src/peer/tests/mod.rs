//! The machine fed by hand: alone, and among others.

mod alone;
mod changes;
mod chaos;
mod ensemble;
mod reconfig;
mod transcripts;
mod world;
