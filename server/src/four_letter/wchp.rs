//! `wchp`: watching sessions by path.

use std::fmt::Write as _;

use zk_proto::SessionId;

use super::render::render;

/// The answer; data watches only.
pub fn wchp(watches: &[(String, Vec<SessionId>)]) -> String {
    render(|out| {
        for (path, sessions) in watches {
            writeln!(out, "{path}")?;
            for session in sessions {
                writeln!(out, "\t{session}")?;
            }
        }
        writeln!(out)
    })
}
