//! Faults to put connections and servers through.

mod proxy;

pub use self::proxy::{Direction, Proxy};
