//! `dump`: sessions by when they expire, their ephemerals, connections likewise.

use std::fmt;
use std::fmt::Write as _;
use std::net::SocketAddr;

use zk_proto::SessionId;

use super::java::{java_address, java_date};
use super::render::render;

/// What `dump` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpView {
    /// Sessions, as this server tracks them.
    pub sessions: SessionsView,
    /// Paths of ephemerals by session.
    pub ephemerals: Vec<(SessionId, Vec<String>)>,
    /// Connections by when they are closed for silence.
    pub connections: Vec<ExpiryBucket<(SocketAddr, SessionId)>>,
}

/// Sessions, as a server tracks them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionsView {
    /// A leader or standalone server expires sessions itself.
    Tracked {
        /// Sessions known here only, when there may be any.
        local: Option<Vec<ExpiryBucket<SessionId>>>,
        /// Sessions of the ensemble.
        global: Vec<ExpiryBucket<SessionId>>,
    },
    /// A learner knows the timeouts.
    Learned {
        /// Sessions known here only, when there may be any.
        local: Option<Vec<ExpiryBucket<SessionId>>>,
        /// Sessions of the ensemble with their timeouts in ms, by id.
        global: Vec<(SessionId, i32)>,
    },
}

/// What expires at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpiryBucket<T> {
    /// When, in ms since the epoch.
    pub expires_ms: i64,
    /// What; may be empty.
    pub items: Vec<T>,
}

/// The answer.
pub fn dump(view: &DumpView) -> String {
    render(|out| view.write(out))
}

impl DumpView {
    fn write(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "SessionTracker dump:")?;
        self.sessions.write(out)?;
        writeln!(out, "ephemeral nodes dump:")?;
        writeln!(out, "Sessions with Ephemerals ({}):", self.ephemerals.len())?;
        for (session, paths) in &self.ephemerals {
            writeln!(out, "{session}:")?;
            for path in paths {
                writeln!(out, "\t{path}")?;
            }
        }
        writeln!(out, "Connections dump:")?;
        write_buckets(
            out,
            "Connections Sets",
            &self.connections,
            |out, (remote, session)| {
                writeln!(out, "\tip: {} sessionId: {session}", java_address(*remote))
            },
        )
    }
}

impl SessionsView {
    fn write(&self, out: &mut String) -> fmt::Result {
        let mut sets = |title: &str, buckets: &[ExpiryBucket<SessionId>]| {
            write_buckets(out, title, buckets, |out, session| {
                writeln!(out, "\t{session}")
            })
        };
        match self {
            Self::Tracked {
                local: None,
                global,
            } => sets("Session Sets", global),
            Self::Tracked {
                local: Some(local),
                global,
            } => {
                sets("Local Session Sets", local)?;
                sets("Global Session Sets", global)
            }
            Self::Learned { local, global } => {
                if let Some(local) = local {
                    sets("Local Session Sets", local)?;
                }
                writeln!(out, "Global Sessions({}):", global.len())?;
                for (session, timeout_ms) in global {
                    writeln!(out, "{session}\t{timeout_ms}ms")?;
                }
                Ok(())
            }
        }
    }
}

/// Buckets under a title that counts buckets and items.
fn write_buckets<T>(
    out: &mut String,
    title: &str,
    buckets: &[ExpiryBucket<T>],
    item: impl Fn(&mut String, &T) -> fmt::Result,
) -> fmt::Result {
    let items: usize = buckets.iter().map(|bucket| bucket.items.len()).sum();
    writeln!(out, "{title} ({})/({items}):", buckets.len())?;
    for bucket in buckets {
        writeln!(
            out,
            "{} expire at {}:",
            bucket.items.len(),
            java_date(bucket.expires_ms)
        )?;
        for entry in &bucket.items {
            item(out, entry)?;
        }
    }
    Ok(())
}
