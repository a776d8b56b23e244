//! Torture of real servers: processes of ours, real clients, faults drawn from a seed, and a judge.
//!
//! ```text
//!   clients ──► journal ──► laws           slices of less than a minute:
//!      │ proxies                            gate open    clients work, faults strike
//!   servers ◄── faults                      gate closed  all is mended, trees are compared, judged
//! ```
//!
//! Beside the simulator it sees what no simulation does: kernels, disks, sockets, threads, the clock.
//! What was judged is forgotten, so a run may last for days. `--bin torture` is the command.

mod clients;
mod faults;
pub mod history;
pub mod laws;
mod run;
mod stage;

pub use self::run::{Plan, Summary, TortureError, run};
