use bytestring::ByteString;

use crate::jute::record;

record! {
    /// Changes the members of the ensemble: by joining and leaving ones, or to a whole new list.
    pub struct ReconfigRequest {
        /// Servers to add, as `server.N=` lines separated by commas.
        pub joining_servers: Option<ByteString>,
        /// Numbers of servers to remove, separated by commas.
        pub leaving_servers: Option<ByteString>,
        /// All servers of the new ensemble, as `server.N=` lines separated by commas.
        pub new_members: Option<ByteString>,
        /// Version of the configuration that the change is based on, or −1.
        pub cur_config_id: i64,
    }
}
