use bytes::{BufMut as _, BytesMut};
use simd_adler32::Adler32;
use zk_proto::jute::Encode;
use zk_proto::{Acl, SessionId};

use super::{AclKey, DBID, END_PATH, Form, MAGIC, StoredStat, Trailer, VERSION};
use crate::wire::txn::TxnDigest;

/// Writes the stream, part by part in the order of the stream: [`begin`], as many [`session`]s as
/// announced, [`begin_acls`], as many [`acl`]s as announced, [`znode`]s, [`finish`].
///
/// Each call appends to a buffer, which the caller may empty between calls.
///
/// [`begin`]: SnapshotEncoder::begin
/// [`session`]: SnapshotEncoder::session
/// [`begin_acls`]: SnapshotEncoder::begin_acls
/// [`acl`]: SnapshotEncoder::acl
/// [`znode`]: SnapshotEncoder::znode
/// [`finish`]: SnapshotEncoder::finish
#[derive(Clone)]
pub struct SnapshotEncoder {
    /// Of every byte so far.
    checksum: Adler32,
    /// Entries of the section being written that are announced and not yet written.
    due: i32,
    form: Form,
}

impl std::fmt::Debug for SnapshotEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotEncoder")
            .field("due", &self.due)
            .finish_non_exhaustive()
    }
}

impl SnapshotEncoder {
    /// Writes the header, if the form has one, and announces sessions.
    pub fn begin(form: Form, sessions: usize, out: &mut BytesMut) -> Self {
        let mut encoder = Self {
            checksum: Adler32::new(),
            due: 0,
            form,
        };
        if form == Form::File {
            encoder.summed(out, |out| {
                out.put_u32(MAGIC);
                out.put_i32(VERSION);
                out.put_i64(DBID);
            });
        }
        encoder.announce(sessions, out);
        encoder
    }

    /// Writes a session.
    ///
    /// # Panics
    /// If all sessions that were announced are written.
    pub fn session(&mut self, session: SessionId, timeout_ms: i32, out: &mut BytesMut) {
        self.take_due();
        self.summed(out, |out| {
            out.put_i64(session.get());
            out.put_i32(timeout_ms);
        });
    }

    /// Announces access control lists.
    ///
    /// # Panics
    /// If a session that was announced is missing.
    pub fn begin_acls(&mut self, acls: usize, out: &mut BytesMut) {
        self.announce(acls, out);
    }

    /// Writes an access control list.
    ///
    /// # Panics
    /// If all lists that were announced are written.
    pub fn acl(&mut self, key: AclKey, acl: &[Acl], out: &mut BytesMut) {
        self.take_due();
        self.summed(out, |out| {
            key.encode(out);
            acl.encode(out);
        });
    }

    /// Writes a znode; its parent must have been written before. `path` is empty for the root.
    ///
    /// # Panics
    /// If a list that was announced is missing.
    pub fn znode(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl: AclKey,
        stat: &StoredStat,
        out: &mut BytesMut,
    ) {
        assert_eq!(
            self.due, 0,
            "every announced access control list is written"
        );
        self.summed(out, |out| {
            path.encode(out);
            match data {
                Some(data) => data.encode(out),
                None => out.put_i32(-1),
            }
            acl.encode(out);
            stat.encode(out);
        });
    }

    /// Writes what stands behind the znodes.
    pub fn finish(mut self, trailer: &Trailer, out: &mut BytesMut) {
        self.summed(out, |out| END_PATH.encode(out));
        if self.form == Form::Wire {
            return;
        }
        self.seal(out);
        if let Some(digest) = trailer.digest
            && let Some(tree) = digest.tree
        {
            self.summed(out, |out| {
                digest.zxid.encode(out);
                TxnDigest::new(tree).encode(out);
            });
            self.seal(out);
        }
        if let Some(zxid) = trailer.last_zxid {
            self.summed(out, |out| zxid.encode(out));
            self.seal(out);
        }
    }

    fn announce(&mut self, count: usize, out: &mut BytesMut) {
        assert_eq!(self.due, 0, "every announced entry is written");
        self.due = i32::try_from(count).expect("handles of sessions and lists are 32 bits wide");
        let due = self.due;
        self.summed(out, |out| out.put_i32(due));
    }

    fn take_due(&mut self) {
        assert!(self.due > 0, "no more entries than announced are written");
        self.due -= 1;
    }

    fn seal(&mut self, out: &mut BytesMut) {
        let checksum = self.checksum.finish();
        self.summed(out, |out| {
            out.put_i64(i64::from(checksum));
            END_PATH.encode(out);
        });
    }

    /// Appends something and adds it to the checksum, if the form has one.
    fn summed(&mut self, out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
        let start = out.len();
        write(out);
        if self.form == Form::Wire {
            return;
        }
        self.checksum.write(out.get(start..).unwrap_or_default());
    }
}
