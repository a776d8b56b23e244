//! Servers in containers, through the `testcontainers` crate.
//!
//! [`Image::of`] puts a `zkserver` binary into an image of its own, [`Image::named`] takes a published
//! one that is configured as Docker's official `zookeeper` image is: by `ZOO_MY_ID`, `ZOO_SERVERS` and
//! their like.
//!
//! ```text
//!        clients, on loopback            published port of each server,
//!      ────┬─────────┬─────────┬────     by way of the engine's own network
//!       zk-…-1    zk-…-2    zk-…-3
//!      ────┴─────────┴────✂────┴────     a network between the servers alone
//! ```
//!
//! The servers know each other by names that only the second network has, so who is taken off it
//! ([`Containers::isolate`]) is cut off from its peers for certain, and its clients still reach it.
//!
//! The engine is found as `testcontainers` finds it (`DOCKER_HOST`, or the usual sockets). It must run
//! on this machine, because the ports are published on loopback only. Containers and networks go with
//! the [`Containers`] value, also when a test panics; what a process leaves that is killed goes when
//! an ensemble is next started on the same machine. Images of binaries stay, tagged by their content:
//! `docker image prune --all --filter label=zk-testkit` removes them.

mod builder;
mod config;
mod engine;
mod error;
mod image;
mod running;
mod server;

pub use self::builder::Builder;
pub use self::engine::parts_of;
pub use self::error::ContainerError;
pub use self::image::Image;
pub use self::running::Containers;
