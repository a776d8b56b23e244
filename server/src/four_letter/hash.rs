//! `hash`: digests of the tree at some zxids.

use std::fmt::Write as _;

use zk_proto::Zxid;

use super::render::render;

/// Digest of the tree at a zxid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DigestAt {
    /// The zxid.
    pub zxid: Zxid,
    /// The digest; signed when printed.
    pub digest: i64,
}

/// One line per digest, oldest first.
pub fn hash(digests: &[DigestAt]) -> String {
    render(|out| {
        for DigestAt { zxid, digest } in digests {
            writeln!(out, "{:x}: {digest}", zxid.get())?;
        }
        Ok(())
    })
}
