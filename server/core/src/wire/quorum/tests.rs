//! Golden vectors, and what the decoders refuse.
