//! Four-letter words: the texts a server answers to `srvr`, `mntr` and their kin on its client
//! ports.
//!
//! Formatting only: every word takes a plain view of the state it reports and returns the bytes
//! Apache `ZooKeeper` 3.9 would have sent for it. Who may ask is decided by [`Whitelist`], what
//! a server answers that serves nobody by [`Word::without_service`].
//!
//! ```
//! use zk_server::four_letter::{Whitelist, Word};
//!
//! let whitelist = Whitelist::parse("ruok, mntr", false);
//! assert!(whitelist.allows(Word::Ruok));
//! assert_eq!(
//!     Word::Stat.refusal(),
//!     "stat is not executed because it is not in the whitelist.\n"
//! );
//! ```

mod conf;
mod cons;
mod crst;
mod dirs;
mod dump;
mod envi;
mod hash;
mod isro;
mod java;
mod mntr;
mod render;
mod role;
mod ruok;
mod srst;
mod srvr;
mod stat;
mod trace_mask;
mod wchc;
mod wchp;
mod wchs;
mod whitelist;
mod word;

pub use conf::{ConfView, MemberConf, conf};
pub use cons::{ConnectionInfo, SessionInfo, cons};
pub use crst::crst;
pub use dirs::dirs;
pub use dump::{DumpView, ExpiryBucket, SessionsView, dump};
pub use envi::{EnvironmentView, envi};
pub use hash::{DigestAt, hash};
pub use isro::isro;
pub use java::{civil_date, java_address, java_date, java_double};
pub use mntr::{MonitorView, Sample, mntr};
pub use role::Mode;
pub use ruok::ruok;
pub use srst::srst;
pub use srvr::{Latency, ProposalSizes, ServerStatus, srvr};
pub use stat::stat;
pub use trace_mask::{TRACE_MASK_DEFAULT, gtmk, stmk, trace_mask_argument};
pub use wchc::wchc;
pub use wchp::wchp;
pub use wchs::wchs;
pub use whitelist::Whitelist;
pub use word::{NOT_SERVING, WithoutService, Word};
