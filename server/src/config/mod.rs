//! Configuration: from the files and variables operators write to one typed value.
//!
//! ```text
//!  zoo.cfg ──► zoo_cfg (grammar) ──┐
//!  dynamic file ► zoo_cfg ► members ├─► resolve (+ topology, security) ──► Config + notices
//!  JVM flags ──► jvm_flags ────────┤          ▲
//!  myid ───────► my_id ────────────┘          └── keys: one row per key
//! ```
//!
//! Every key is honoured, refused or ignored by its row in [`keys`]; a key without a row is
//! reported with the nearest one that has. A bad value of any key is an error that names file,
//! line, key and value, also where the reference silently takes the default.
//!
//! Flags of the JVM reach the server as `-D` definitions in `JVMFLAGS` and `SERVER_JVMFLAGS`:
//! those of a key's property set the key unless the file does, all others are reported and
//! ignored. See [`keys::markdown`] for the table of all keys.
//!
//! # Examples
//!
//! ```
//! use zk_server::config::{Config, Properties, Sources, Strictness};
//!
//! let text = b"dataDir=/var/lib/zookeeper\nclientPort=2181\n";
//! let main = Properties::parse("zoo.cfg", text, Strictness::Normal)?;
//! let resolved = Config::resolve(Sources {
//!     main: &main,
//!     dynamic: None,
//!     environment: &[],
//!     my_id: None,
//!     strictness: Strictness::Normal,
//! })?;
//! assert_eq!(resolved.config.tick.as_millis(), 3000);
//! # Ok::<(), zk_server::config::ConfigError>(())
//! ```

mod dynamic_file;
mod error;
pub mod jaas;
mod jvm_flags;
pub mod keys;
mod load;
mod masked;
mod members;
mod my_id;
mod resolve;
mod security;
mod topology;
mod value;
mod zoo_cfg;

pub(crate) use dynamic_file::DynamicFiles;
pub use error::{ConfigError, Problem};
pub use jvm_flags::VARIABLES;
pub(crate) use load::newer_members;
pub(crate) use masked::masked;
pub use members::{MemberRules, Members};
pub use my_id::parse as parse_my_id;
pub use resolve::{Config, ListenAddress, Resolved, Sources};
pub use security::AuthProvider;
pub use topology::{Ensemble, Topology, dynamic_version};
pub use value::Secret;
pub use zk_core::ensemble::{ClientAddress, Hierarchy, Member, PeerAddress, Role};
pub use zoo_cfg::{Level, Notice, Origin, Properties, Setting, Strictness};
