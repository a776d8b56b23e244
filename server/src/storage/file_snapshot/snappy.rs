//! The stream format of snappy-java: a header, then blocks with their lengths.

use std::io::{self, Read};

use zk_core::wire::file_name::Compression;

/// Plain bytes per block, as the reference writes them.
const BLOCK_BYTES: usize = 32 << 10;
/// Longest plain block read. Writers choose the size, and none chooses megabytes.
const BLOCK_BYTES_MAX: usize = 16 << 20;
/// Version, and oldest version that can read the file.
const VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];

/// Compresses into a buffer.
#[derive(Debug)]
pub(super) struct SnappyEncoder {
    encoder: snap::raw::Encoder,
    block: Vec<u8>,
    buffer: Vec<u8>,
}

impl Default for SnappyEncoder {
    fn default() -> Self {
        let buffer = [Compression::Snappy.magic(), &VERSIONS].concat();
        Self {
            encoder: snap::raw::Encoder::new(),
            block: Vec::new(),
            buffer,
        }
    }
}

impl SnappyEncoder {
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = BLOCK_BYTES - self.block.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() == BLOCK_BYTES {
                self.finish()?;
            }
        }
        Ok(())
    }

    /// Ends the current block.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let packed = self
            .encoder
            .compress_vec(&self.block)
            .map_err(io::Error::other)?;
        let len = u32::try_from(packed.len()).map_err(io::Error::other)?;
        self.buffer.extend_from_slice(&len.to_be_bytes());
        self.buffer.extend_from_slice(&packed);
        self.block.clear();
        Ok(())
    }

    /// What is compressed and not yet taken.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }
}

/// Decompresses a file, block by block.
#[derive(Debug)]
pub(super) struct SnappyDecoder<R> {
    input: R,
    decoder: snap::raw::Decoder,
    has_header: bool,
}

impl<R: Read> SnappyDecoder<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            decoder: snap::raw::Decoder::new(),
            has_header: false,
        }
    }

    /// The next plain block; `None` at the end of the file.
    pub(super) fn next_block(&mut self) -> io::Result<Option<Vec<u8>>> {
        if !self.has_header {
            let mut header = [0; 16];
            self.input.read_exact(&mut header)?;
            if !header.starts_with(Compression::Snappy.magic()) {
                return Err(damaged("the header of a snappy stream is missing"));
            }
            self.has_header = true;
        }
        let mut len = [0; 4];
        // The stream ends between blocks and nowhere else.
        if self.input.read(&mut len[..1])? == 0 {
            return Ok(None);
        }
        self.input.read_exact(&mut len[1..])?;
        let len = u64::from(u32::from_be_bytes(len));
        if len > snap::raw::max_compress_len(BLOCK_BYTES_MAX) as u64 {
            return Err(damaged("a snappy block is too long"));
        }
        let mut packed = Vec::new();
        self.input.by_ref().take(len).read_to_end(&mut packed)?;
        if packed.len() as u64 != len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let plain_len = snap::raw::decompress_len(&packed).map_err(io::Error::other)?;
        if plain_len > BLOCK_BYTES_MAX {
            return Err(damaged("a snappy block is too long"));
        }
        self.decoder
            .decompress_vec(&packed)
            .map(Some)
            .map_err(io::Error::other)
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
