use bytes::Bytes;
use bytestring::ByteString;

use crate::Version;
use crate::jute::record;

record! {
    /// Tells a znode's stat.
    pub struct ExistsRequest {
        /// Path.
        pub path: Option<ByteString>,
        /// Whether to leave a watch: a data watch if the znode exists, an exist watch if not.
        pub watch: bool,
    }

    /// Tells a znode's data and stat.
    pub struct GetDataRequest {
        /// Path.
        pub path: Option<ByteString>,
        /// Whether to leave a data watch.
        pub watch: bool,
    }

    /// Sets a znode's data.
    pub struct SetDataRequest {
        /// Path.
        pub path: Option<ByteString>,
        /// Data; null is kept apart from empty.
        pub data: Option<Bytes>,
        /// Version expected, or [`Version::ANY`].
        pub version: Version,
    }

    /// Requires a znode to have a version; inside a multi only.
    pub struct CheckVersionRequest {
        /// Path.
        pub path: Option<ByteString>,
        /// Version expected of its data, or [`Version::ANY`] to require only that it exists.
        pub version: Version,
    }

    /// Waits until this server has applied what was committed before.
    pub struct SyncRequest {
        /// Echoed; neither checked nor used.
        pub path: Option<ByteString>,
    }
}
