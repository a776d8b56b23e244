//! Test tools for programs that use `ZooKeeper`: whole ensembles in the process of the test, and
//! everything that can go wrong with them.
//!
//! ```
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use zk_testkit::{Ensemble, Way};
//!
//! let ensemble = Ensemble::start(3).await?;
//! let zk = ensemble.client().await?;
//! zk.create("/config", "v1").await?;
//!
//! // Whatever happens to one server, the others go on.
//! let leader = ensemble.leader().await?;
//! ensemble.kill(leader).await?;
//! assert_eq!(zk.get("/config").await?.unwrap().data, "v1");
//! ensemble.restart(leader).await?;
//!
//! // A cable that is pulled, and put back.
//! ensemble.cut(0, 1, Way::Both)?;
//! ensemble.heal();
//! ensemble.wait_for_convergence().await?;
//! # Ok(())
//! # }
//! ```
//!
//! - [`Ensemble`] starts servers and hurts them: kill, pause, partition, slow or full disks, expired
//!   sessions. [`Backend`] says what they are: servers of ours in this process, processes of ours,
//!   Apache's, or containers (feature `containers`). [`with_client`] is the shortest way to a client in a test.
//! - [`fault`] is the TCP proxy that all links pass.
//! - [`ensemble`] runs processes, ours and Apache's, with their own configuration files.
//! - [`load`] drives servers as fast as they go, and measures them.
//! - [`differential`] asks two servers the same and compares their answers.
//! - [`simulation`] runs your own code, on the real client, under thousands of fault schedules.
//! - [`sim`] runs the core of whole ensembles through faults drawn from a seed, judged by the laws
//!   in [`check`].
//! - [`torture`] runs processes of ours through faults for hours, judged by what clients are told.
//!
//! # One suite, all backends
//! ```no_run
//! use zk_testkit::{Backend, Ensemble, Error};
//!
//! async fn suite(ensemble: &Ensemble) -> Result<(), Error> {
//!     let zk = ensemble.client().await?;
//!     zk.create("/report", "done").await?;
//!     ensemble.kill(ensemble.leader().await?).await?;
//!     assert_eq!(zk.get("/report").await?.unwrap().data, "done");
//!     Ok(())
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Error> {
//! # #[cfg(feature = "containers")]
//! # use zk_testkit::ensemble::containers::Image;
//! for backend in [
//!     Backend::InProcess,
//!     Backend::Processes("target/release/zkserver".into()),
//!     Backend::Apache, // Debian's package
//! #   #[cfg(feature = "containers")]
//!     Backend::Containers(Image::of("target/release/zkserver")),
//! #   #[cfg(feature = "containers")]
//!     Backend::Containers(Image::named("zookeeper:3.9")),
//! ] {
//!     suite(&Ensemble::builder().backend(backend).start().await?).await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | verb | in the process | processes | Apache's | containers |
//! |---|---|---|---|---|
//! | kill, stop, launch, restart, pause, resume, expire, faults of the link to clients | yes | yes | yes | yes |
//! | isolate, heal | yes | yes, but for some votes | no | yes, in the containers' network |
//! | cut, delay, throttle, drop, reset links between servers | yes | yes, but for some votes | no | no |
//! | slow, full and broken disks (`faults`) | yes | no | no | no |
//!
//! # Features
//! | feature | adds |
//! |---|---|
//! | `containers` | `Backend::Containers`: servers in containers, through the `testcontainers` crate |
//! | `mutants` | planted bugs in the core, for `--bin mutants` |

pub mod check;
pub mod differential;
pub mod ensemble;
pub mod fault;
mod harness;
pub mod load;
pub mod sim;
pub mod simulation;
pub mod torture;

pub use harness::{Backend, Builder, Ensemble, Error, Way, with_client};
