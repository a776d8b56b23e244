//! `stat`: the server and a line per client.

use std::fmt::Write as _;

use super::cons::ConnectionInfo;
use super::render::render;
use super::srvr::ServerStatus;

/// The answer.
pub fn stat(status: &ServerStatus, connections: &[ConnectionInfo]) -> String {
    render(|out| {
        status.write_head(out)?;
        writeln!(out, "Clients:")?;
        for connection in connections {
            connection.write_brief(out)?;
            writeln!(out, ")")?;
        }
        writeln!(out)?;
        status.write_rest(out)
    })
}
