use bytes::Bytes;
use bytestring::ByteString;

use crate::Version;
use crate::jute::record;

record! {
    /// Deletes a znode without children.
    pub struct DeleteRequest {
        /// Path.
        pub path: Option<ByteString>,
        /// Version expected of its data, or [`Version::ANY`].
        pub version: Version,
    }

    /// Deletes a container without children.
    ///
    /// Since 3.9; before, the bytes of the path filled the rest of the frame without a length.
    pub struct DeleteContainerRequest {
        /// Path, as UTF-8.
        pub path: Option<Bytes>,
    }
}
