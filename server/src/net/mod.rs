//! The network: listeners, and a task for each connection of a client or member.
//!
//! ```text
//!  client_listener ─accept─► [tls] ─► client_conn ─┬─ four-letter word ─► words
//!                                         ├─ handshake ─► core ─► session
//!                                         └─ requests ─► outbox (conn/pipeline) ─► socket
//!                                                          ▲ delivery: by who applies, too
//!
//!  quorum port ──► learner_links ─┐
//!  leader_link ─► quorum port     ├─ packets ─► core, and back by way of peers
//!  election_mesh ─► election port ┘
//! ```
//!
//! | queue | bound | beyond |
//! |---|---|---|
//! | bytes read and not decoded | one frame, `jute.maxbuffer` | closed |
//! | before there is a session | [`handshake::FRAME_MAX`] | closed |
//! | requests waiting on a connection | [`outbox::LIMITS`] | not read |
//! | requests waiting in the server | `globalOutstandingLimit` | not read |
//! | bytes of large writes in the server | `largeRequestMaxBytes`, if there are large ones | closed |
//! | answers and events to a connection | [`outbox::LIMITS`] | closed |
//! | packets to a member | 64 MiB | closed, and synchronised anew |
//! | transactions of a leader, read and not durable | [`intake::BYTES_MAX`] | not read |
//!
//! A connection that stands still for longer than its session may is closed: [`overdue`].
//!
//! [`intake::BYTES_MAX`]: crate::stage::intake::BYTES_MAX

mod activity;
pub(crate) mod admission;
pub(crate) mod client_conn;
pub(crate) mod client_listener;
pub(crate) mod connections;
pub(crate) mod delivery;
pub(crate) mod election_mesh;
pub(crate) mod gauges;
pub(crate) mod handshake;
pub(crate) mod leader_link;
pub(crate) mod learner_links;
pub(crate) mod members;
pub(crate) mod monitor;
pub(crate) mod outbox;
pub(crate) mod overdue;
pub(crate) mod packets;
pub(crate) mod peer_sasl;
pub(crate) mod peer_socket;
pub(crate) mod peers;
mod race;
pub(crate) mod reports;
pub(crate) mod sasl;
pub(crate) mod service;
mod shared_writer;
pub(crate) mod tally;
pub(crate) mod throttle;
pub(crate) mod tls;
pub(crate) mod words;
pub(crate) mod write_buf;
