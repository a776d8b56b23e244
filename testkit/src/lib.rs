//! Test tools for `ZooKeeper` clients and servers.
//!
//! - [`differential`] asks two servers the same and compares their answers.
//! - [`ensemble`] runs servers, one or several, and stops, kills, pauses and restarts them:
//!   [`ensemble::reference`] Apache `ZooKeeper` from Debian's `zookeeper` package,
//!   [`ensemble::process`] our own `zkserver`.
//! - [`fault`] puts a TCP proxy between clients and a server and breaks the link on command.
//! - [`load`] applies load to servers and measures what it costs them.
//!
//! Nothing here judges what it sees; tests do.
//!
//! # Examples
//! A client behind a proxy loses its server, and gets it back.
//! ```no_run
//! use std::time::Duration;
//!
//! use zk_testkit::ensemble::reference::Reference;
//! use zk_testkit::fault::Proxy;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let ensemble = Reference::builder().servers(3).start().await?;
//! let leader = ensemble.leader().await?;
//! let proxy = Proxy::start(ensemble.server(leader).client_addr()).await?;
//! // Connect the client under test to `proxy.addr()`, then:
//! proxy.cut_all();
//! ensemble.kill(leader).await?;
//! let successor = ensemble.wait_for_leader(Duration::from_secs(20)).await?;
//! proxy.set_upstream(ensemble.server(successor).client_addr());
//! ensemble.restart(leader).await?;
//! ensemble.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//! | feature | adds |
//! |---|---|
//! | `reference-tests` | this crate's own tests that need Debian's `zookeeper` package |

pub mod check;
pub mod differential;
pub mod ensemble;
pub mod fault;
pub mod load;
pub mod sim;
