use bytestring::ByteString;

use crate::jute::record;

record! {
    /// Lists the names of a znode's children.
    pub struct GetChildrenRequest {
        /// Path.
        pub path: Option<ByteString>,
        /// Whether to leave a child watch.
        pub watch: bool,
    }

    /// Lists the names of a znode's children, with its stat.
    pub struct GetChildren2Request {
        /// Path.
        pub path: Option<ByteString>,
        /// Whether to leave a child watch.
        pub watch: bool,
    }

    /// Lists the ephemeral znodes of this session.
    pub struct GetEphemeralsRequest {
        /// What their paths start with; null for all.
        pub prefix_path: Option<ByteString>,
    }

    /// Counts all descendants of a znode.
    pub struct GetAllChildrenNumberRequest {
        /// Path.
        pub path: Option<ByteString>,
    }
}
