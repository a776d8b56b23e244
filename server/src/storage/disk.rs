//! The seam between storage and files.

use std::io;

use super::layout::{Area, Name};

/// The data directories of one server.
///
/// Nothing is durable before it is synced: bytes of a file by [`DiskFile::sync_data`], the
/// existence, name and absence of a file by [`Disk::sync_dir`] of its area. A failed sync leaves
/// unknown what is durable, and a later one that succeeds proves nothing about it: the caller
/// must stop.
pub trait Disk: Send {
    /// An open file.
    type File: DiskFile;

    /// Creates a file.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AlreadyExists`] if the name is taken.
    fn create(&self, name: Name) -> io::Result<Self::File>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if there is none.
    fn open(&self, name: Name) -> io::Result<Self::File>;

    /// Every file of ours in an area, sorted; others are left out.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read.
    fn list(&self, area: Area) -> io::Result<Vec<Name>>;

    /// Gives a file another name in the same area, replacing what has that name.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if there is none.
    fn rename(&self, from: Name, to: Name) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if there is none.
    fn remove(&self, name: Name) -> io::Result<()>;

    /// Makes names in an area durable.
    ///
    /// # Errors
    ///
    /// If it is unknown whether they are.
    fn sync_dir(&self, area: Area) -> io::Result<()>;

    /// Bytes that can still be written in an area.
    ///
    /// # Errors
    ///
    /// If the system does not tell.
    fn free_bytes(&self, area: Area) -> io::Result<u64>;

    /// The whole content of a file.
    ///
    /// # Errors
    ///
    /// As [`Disk::open`], or if it cannot be read.
    fn read(&self, name: Name) -> io::Result<Vec<u8>> {
        let file = self.open(name)?;
        let len = file.len()?;
        read_start(&file, len)
    }
}

/// An open file.
pub trait DiskFile: Send {
    /// Writes all the bytes at an offset, making the file longer where needed.
    ///
    /// # Errors
    ///
    /// Some of the bytes may have been written.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Reads some bytes at an offset; 0 at the end of the file.
    ///
    /// # Errors
    ///
    /// If the disk cannot.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Length of the file.
    ///
    /// # Errors
    ///
    /// If the system does not tell.
    fn len(&self) -> io::Result<u64>;

    /// Where the zeros begin that reach to the end of the file, as far as the system can tell without
    /// reading: at most the length of the file.
    ///
    /// # Errors
    ///
    /// If the disk cannot.
    fn data_end(&self) -> io::Result<u64> {
        self.len()
    }

    /// Whether the file has no bytes.
    ///
    /// # Errors
    ///
    /// As [`DiskFile::len`].
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts the file, or makes it longer with zeros that may take no space yet.
    ///
    /// # Errors
    ///
    /// If the disk cannot.
    fn set_len(&mut self, len: u64) -> io::Result<()>;

    /// Makes the file at least this long with zeros whose space is reserved, so that writing
    /// there cannot fail for lack of it.
    ///
    /// # Errors
    ///
    /// If there is not enough space.
    fn allocate(&mut self, len: u64) -> io::Result<()>;

    /// Has the device begin with these bytes, which were written and will not be read soon; says
    /// nothing about what is durable. A long file that comes to the device all at once, in its sync,
    /// keeps it from others for as long as that takes.
    ///
    /// # Errors
    ///
    /// If the disk cannot.
    fn begin_writing(&mut self, offset: u64, len: u64) -> io::Result<()> {
        let _ = (offset, len);
        Ok(())
    }

    /// Makes all bytes written and the length durable.
    ///
    /// # Errors
    ///
    /// If it is unknown whether they are.
    fn sync_data(&mut self) -> io::Result<()>;
}

/// The first bytes of a file: this many, or all.
///
/// # Errors
///
/// If they cannot be read.
pub(super) fn read_start(file: &impl DiskFile, len: u64) -> io::Result<Vec<u8>> {
    let len = usize::try_from(len).map_err(io::Error::other)?;
    let mut content = vec![0; len];
    let filled = fill(file, 0, &mut content)?;
    content.truncate(filled);
    Ok(content)
}

/// Reads what stands from an offset on, until a buffer is full or the file ends. Returns how many bytes
/// that were.
///
/// # Errors
///
/// If they cannot be read.
pub(super) fn fill(file: &impl DiskFile, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(offset + filled as u64, rest)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// Writes a whole file so that after a crash the name has either its old content or the new one.
///
/// # Errors
///
/// If a step fails. The name then has either content, and which is unknown.
pub fn write_durably<D: Disk>(disk: &D, name: Name, content: &[u8]) -> io::Result<()> {
    let temporary = Name::Temporary(name.role());
    match disk.remove(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = disk.create(temporary)?;
    file.write_at(0, content)?;
    file.sync_data()?;
    drop(file);
    disk.rename(temporary, name)?;
    disk.sync_dir(name.area())
}
