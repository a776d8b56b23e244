//! Keys that are read together: their meaning depends on each other and on the member list.

use std::num::NonZeroU32;

use super::Kind::{Choice, Flag, Text};
use super::Twin::{None, Prefixed};
use super::{Kind, int};

/// A port that is none unless written.
const PORT: Kind = Kind::Int {
    default: -1,
    min: 0,
    max: 65_535,
};

settings! {
    /// What `resolve` combines into paths, listeners, timeouts and topology.
    pub(in crate::config) Basics {
        /// Directory of snapshots, epoch files and `myid`; required.
        data_dir: String = "dataDir", None, Text("");
        /// Directory of the transaction log; `dataDir` when absent.
        data_log_dir: String = "dataLogDir", None, Text("");
        /// Base time unit in ms.
        tick_time_ms: u32 = "tickTime", None, int(3000, 1);
        /// Plaintext client port.
        client_port: Option<u16> = "clientPort", None, PORT;
        /// Address the plaintext client port binds to; all addresses when absent.
        client_port_address: String = "clientPortAddress", None, Text("");
        /// TLS client port.
        secure_client_port: Option<u16> =
            "secureClientPort", None, PORT;
        /// Address the TLS client port binds to; all addresses when absent.
        secure_client_port_address: String = "secureClientPortAddress", None, Text("");
        /// Smallest session timeout granted, in ms; -1 is 2 ticks.
        min_session_timeout_ms: i32 = "minSessionTimeout", None, int(-1, -1);
        /// Largest session timeout granted, in ms; -1 is 20 ticks.
        max_session_timeout_ms: i32 = "maxSessionTimeout", None, int(-1, -1);
        /// Ticks a learner has to connect and sync; required in an ensemble.
        init_limit: Option<NonZeroU32> = "initLimit", None, int(0, 0);
        /// Ticks between a request to a learner and its answer; required in an ensemble.
        sync_limit: Option<NonZeroU32> = "syncLimit", None, int(0, 0);
        /// Ticks to connect to the elected leader; 0 is `initLimit`.
        connect_to_learner_master_limit: u32 = "connectToLearnerMasterLimit", None, int(0, 0);
        /// Role of this member; the member list decides when it differs.
        peer_type: String = "peerType", None, Choice { default: "", of: &["participant", "observer"] };
        /// File with the member lines, when they are not in this one.
        dynamic_config_file: String = "dynamicConfigFile", None, Text("");
        /// Whether one lone voter runs standalone.
        standalone_enabled: bool = "standaloneEnabled", None, Flag(true);
        /// Allows several addresses per member, joined by `|`.
        multi_address_enabled: bool = "multiAddress.enabled", Prefixed, Flag(false);
        /// Accepts a third, secure client part in member lines; members of 3.9 cannot read it.
        secure_client_spec: bool = "reconfig.secureClientSpec", Prefixed, Flag(false);
        /// Turns the forgiving of comments behind values off (`true`).
        strict_config: bool = "strictConfig", Prefixed, Flag(false);
    }
}
