//! The network: listeners, and a task for each client connection.
//!
//! ```text
//!  client_listener ─accept─► client_conn ─┬─ four-letter word ─► words
//!                                         ├─ handshake ─► core ─► session
//!                                         └─ requests ─► outbox (conn/pipeline) ─► socket
//! ```
//!
//! | queue | bound | beyond |
//! |---|---|---|
//! | bytes read and not decoded | one frame, `jute.maxbuffer` | closed |
//! | before there is a session | [`handshake::FRAME_MAX`] | closed |
//! | requests waiting on a connection | [`outbox::LIMITS`] | not read |
//! | requests waiting in the server | `globalOutstandingLimit` | not read |
//! | answers and events to a connection | [`outbox::LIMITS`] | closed |

pub(crate) mod client_conn;
pub(crate) mod client_listener;
pub(crate) mod connections;
#[allow(dead_code, reason = "members, which use it, are being built")]
pub(crate) mod election_mesh;
pub(crate) mod handshake;
pub(crate) mod outbox;
#[allow(dead_code, reason = "members, which use it, are being built")]
pub(crate) mod reports;
pub(crate) mod service;
pub(crate) mod words;
pub(crate) mod write_buf;
