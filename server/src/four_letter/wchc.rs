//! `wchc`: watched paths by session.

use std::fmt::Write as _;

use zk_proto::SessionId;

use super::render::render;

/// The answer; data watches only.
pub fn wchc(watches: &[(SessionId, Vec<String>)]) -> String {
    render(|out| {
        for (session, paths) in watches {
            writeln!(out, "{session}")?;
            for path in paths {
                writeln!(out, "\t{path}")?;
            }
        }
        writeln!(out)
    })
}
