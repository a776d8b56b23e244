//! Load on servers: the raw protocol, frames built beforehand, replies counted and not decoded.
//!
//! One thread drives any number of connections, so that the generator takes little of the machine
//! that the server runs on: a pipelined request costs it 0.1 to 0.3 µs. Replies are told apart by
//! their lengths, and checked for their xid and for an error, which ends the run: a load of errors
//! measures nothing.
//!
//! ```no_run
//! use std::time::Duration;
//! use zk_testkit::load::{Load, Op, prepare, run};
//!
//! # fn main() -> Result<(), zk_testkit::load::LoadError> {
//! let servers = ["127.0.0.1:2181".parse().expect("an address")];
//! prepare(servers[0])?;
//! let load = Load {
//!     op: Op::GetData,
//!     connections: 8,
//!     in_flight: 256,
//!     warm_up: Duration::from_millis(500),
//!     span: Duration::from_secs(2),
//! };
//! let sample = run(&load, &servers, &[])?;
//! println!("{:.0} a second", sample.rate());
//! # Ok(())
//! # }
//! ```

mod connection;
mod error;
mod fan_out;
mod fill;
mod op;
mod process;
mod run;
mod session;
mod zkserver;

pub use self::error::LoadError;
pub use self::fan_out::{FanOut, Watchers};
pub use self::fill::{fill, prepare};
pub use self::op::Op;
pub use self::process::{Cpu, Memory, cpu, memory, thread_cpu};
pub use self::run::{Load, Sample, run};
pub use self::session::{Session, open_and_close};
pub use self::zkserver::Zkserver;
