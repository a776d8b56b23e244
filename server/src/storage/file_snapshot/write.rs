//! Writing a snapshot.

use std::io::{self, Write as _};

use flate2::write::GzEncoder;
use zk_core::wire::file_name::Compression;
use zk_proto::Zxid;

use super::snappy::SnappyEncoder;
use crate::storage::disk::{Disk, DiskFile};
use crate::storage::layout::{Area, Name};

/// Bytes collected before they are written to the file.
const WRITE_BYTES: usize = 64 << 10;
/// Bytes after which the file is synced on the way, so that the device is never far behind and the
/// sync at the end has little left to do.
const SYNC_BYTES: u64 = 4 << 20;

/// A snapshot being written.
///
/// Until [`SnapshotWriter::finish`] it has a temporary name; one that is dropped leaves a file
/// that [`remove_unfinished_snapshots`] removes.
#[derive(Debug)]
pub struct SnapshotWriter<D: Disk> {
    disk: D,
    name: Name,
    file: D::File,
    offset: u64,
    /// Bytes before are synced.
    synced: u64,
    encoder: Encoder,
}

/// Compresses into a buffer.
#[derive(Debug)]
enum Encoder {
    Plain(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
    Snappy(Box<SnappyEncoder>),
}

impl<D: Disk> SnapshotWriter<D> {
    /// Begins the snapshot of a zxid.
    ///
    /// # Errors
    ///
    /// If the disk fails.
    pub fn create(disk: D, zxid: Zxid, compression: Compression) -> io::Result<Self> {
        let name = Name::snapshot(zxid, compression);
        let temporary = Name::Temporary(name.role());
        match disk.remove(temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let file = disk.create(temporary)?;
        let encoder = match compression {
            Compression::None => Encoder::Plain(Vec::new()),
            Compression::Gzip => {
                Encoder::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::default()))
            }
            Compression::Snappy => Encoder::Snappy(Box::default()),
        };
        Ok(Self {
            disk,
            name,
            file,
            offset: 0,
            synced: 0,
            encoder,
        })
    }

    /// Takes the next bytes of the stream.
    ///
    /// # Errors
    ///
    /// If the disk fails; the snapshot is useless then.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.encoder {
            Encoder::Plain(buffer) => buffer.extend_from_slice(bytes),
            Encoder::Gzip(encoder) => encoder.write_all(bytes)?,
            Encoder::Snappy(encoder) => encoder.write(bytes)?,
        }
        if self.encoder.buffer().len() >= WRITE_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Ends the stream, makes the file durable and gives it its name. Returns the name and the
    /// length of the file.
    ///
    /// # Errors
    ///
    /// If the disk fails; whether the snapshot has its name is then unknown, but if it has, it
    /// is whole.
    pub fn finish(mut self) -> io::Result<(Name, u64)> {
        match &mut self.encoder {
            Encoder::Plain(_) => {}
            Encoder::Gzip(encoder) => encoder.try_finish()?,
            Encoder::Snappy(encoder) => encoder.finish()?,
        }
        self.flush()?;
        self.file.sync_data()?;
        drop(self.file);
        self.disk
            .rename(Name::Temporary(self.name.role()), self.name)?;
        self.disk.sync_dir(self.name.area())?;
        Ok((self.name, self.offset))
    }

    fn flush(&mut self) -> io::Result<()> {
        let buffer = self.encoder.buffer();
        self.file.write_at(self.offset, buffer)?;
        self.file.begin_writing(self.offset, buffer.len() as u64)?;
        self.offset += buffer.len() as u64;
        buffer.clear();
        if self.offset - self.synced >= SYNC_BYTES {
            self.file.sync_data()?;
            self.synced = self.offset;
        }
        Ok(())
    }
}

impl Encoder {
    /// What is to be written.
    fn buffer(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Plain(buffer) => buffer,
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Snappy(encoder) => encoder.buffer(),
        }
    }
}

/// Removes what writers left that did not finish. Returns the names.
///
/// # Errors
///
/// If the disk fails.
pub fn remove_unfinished_snapshots<D: Disk>(disk: &D) -> io::Result<Vec<Name>> {
    let mut removed = Vec::new();
    for name in disk.list(Area::Data)? {
        if let Name::Temporary(role) = name
            && Name::Final(role).as_snapshot().is_some()
        {
            disk.remove(name)?;
            removed.push(name);
        }
    }
    if !removed.is_empty() {
        disk.sync_dir(Area::Data)?;
    }
    Ok(removed)
}
