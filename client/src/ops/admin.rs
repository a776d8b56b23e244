use std::time::Duration;

use bytestring::ByteString;
use zk_proto::acl::ClientInfo;
use zk_proto::jute::Encode as _;
use zk_proto::request::ReconfigRequest;
use zk_proto::response::{
    GetAclResponse, GetDataResponse, SetAclResponse, SyncResponse, WhoAmIResponse,
};
use zk_proto::{ErrorCode, Id, OpCode, Stat, Version};

use super::call::{Answer, Call, incomplete, operation, path_frame, whole_frame};
use super::data::{Node, node};
use crate::acl::Acl;
use crate::client::Client;
use crate::core::{Frame, WatchKind};
use crate::error::Error;
use crate::watch::Watch;

/// Where servers keep the members of the ensemble, whatever the chroot.
const CONFIG_PATH: &str = "/zookeeper/config";

impl Client {
    /// Waits until this client's server has applied everything that was committed before: a read
    /// after it sees what others had completed. Nearly: a server that is cut off from a new leader
    /// and does not know it may still answer.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotReadOnly`] from a read-only server.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub fn sync<'a>(&'a self, path: &'a str) -> Sync<'a> {
        Sync {
            client: self,
            path,
            timeout: None,
        }
    }

    /// Reads a znode's ACL: `None` if there is no such znode. Digests are masked for those who may
    /// not administer it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NoAuth`] without the permission to read or administer it.
    ///
    /// # Cancel safety
    /// As [`Client::get`].
    pub fn get_acl<'a>(&'a self, path: &'a str) -> GetAcl<'a> {
        GetAcl {
            client: self,
            path,
            timeout: None,
        }
    }

    /// Sets a znode's ACL.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NoNode`]; [`crate::ErrorKind::InvalidAcl`];
    /// [`crate::ErrorKind::NoAuth`] without the permission to administer it;
    /// [`crate::ErrorKind::BadVersion`].
    ///
    /// # Cancel safety
    /// As [`Client::set`].
    pub fn set_acl<'a>(&'a self, path: &'a str, acl: Acl) -> SetAcl<'a> {
        SetAcl {
            client: self,
            path,
            acl,
            version: Version::ANY,
            timeout: None,
        }
    }

    /// Tells the identities of this connection, as the server sees them. Since 3.7.
    ///
    /// # Cancel safety
    /// As [`Client::get`].
    pub fn who_am_i(&self) -> WhoAmI<'_> {
        WhoAmI {
            client: self,
            timeout: None,
        }
    }

    /// Reads the members of the ensemble: one `server.N=` line each and the version; empty data from
    /// a server that stands alone. The chroot does not apply.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NoNode`] from servers before 3.5.
    ///
    /// # Cancel safety
    /// As [`Client::get`].
    pub fn get_config(&self) -> GetConfig<'_> {
        GetConfig {
            client: self,
            timeout: None,
        }
    }

    /// Changes the members of the ensemble. Answers the configuration that holds then.
    ///
    /// # Errors
    /// [`crate::ErrorKind::ReconfigDisabled`]; [`crate::ErrorKind::Unimplemented`] from a server
    /// that stands alone; [`crate::ErrorKind::ReconfigInProgress`];
    /// [`crate::ErrorKind::BadVersion`] if the configuration is not the one expected;
    /// [`crate::ErrorKind::BadArguments`]; [`crate::ErrorKind::NewConfigNoQuorum`];
    /// [`crate::ErrorKind::NoAuth`].
    ///
    /// # Cancel safety
    /// As [`Client::set`].
    pub fn reconfig(&self) -> Reconfig<'_> {
        let request = ReconfigRequest {
            cur_config_id: -1,
            ..ReconfigRequest::default()
        };
        Reconfig {
            client: self,
            request,
            timeout: None,
        }
    }
}

/// Gives a builder its deadline.
macro_rules! timeout {
    ($builder:ident) => {
        impl $builder<'_> {
            /// How long it may take, instead of the client's default.
            pub fn timeout(mut self, timeout: Duration) -> Self {
                self.timeout = Some(timeout);
                self
            }
        }
    };
}

/// See [`Client::sync`].
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited or sent"]
pub struct Sync<'a> {
    client: &'a Client,
    path: &'a str,
    timeout: Option<Duration>,
}

timeout!(Sync);

impl Sync<'_> {
    pub(super) fn into_call(self) -> Call<()> {
        let frame = path_frame(self.client, OpCode::Sync, self.path, 0).map(Frame::sealed);
        Call::new(self.client, OpCode::Sync, frame, |answer| {
            answer.body::<SyncResponse>().map(|_| ())
        })
        .resent(true)
        .within(self.timeout)
    }
}

operation!(Sync => ());

/// See [`Client::get_acl`].
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited or sent"]
pub struct GetAcl<'a> {
    client: &'a Client,
    path: &'a str,
    timeout: Option<Duration>,
}

timeout!(GetAcl);

impl GetAcl<'_> {
    fn into_call(self) -> Call<Option<(Acl, Stat)>> {
        let frame = path_frame(self.client, OpCode::GetAcl, self.path, 0).map(Frame::sealed);
        Call::new(self.client, OpCode::GetAcl, frame, |answer| {
            let found = answer.body_unless::<GetAclResponse>(ErrorCode::NoNode)?;
            Ok(found.map(|GetAclResponse { acl, stat }| {
                // Entries that do not hold the buffer that they came in.
                let own = |text: ByteString| ByteString::from(text.to_string());
                let entries = acl.unwrap_or_default().into_iter().map(|mut entry| {
                    entry.id = Id {
                        scheme: entry.id.scheme.map(own),
                        id: entry.id.id.map(own),
                    };
                    entry
                });
                (Acl::of(entries), stat)
            }))
        })
        .resent(true)
        .within(self.timeout)
    }
}

operation!(GetAcl => Option<(Acl, Stat)>);

/// See [`Client::set_acl`].
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited or sent"]
pub struct SetAcl<'a> {
    client: &'a Client,
    path: &'a str,
    acl: Acl,
    version: Version,
    timeout: Option<Duration>,
}

timeout!(SetAcl);

impl SetAcl<'_> {
    /// Only if the znode's ACL has this version ([`Stat::aversion`]).
    pub fn version(mut self, version: impl Into<Version>) -> Self {
        self.version = version.into();
        self
    }

    fn into_call(self) -> Call<Stat> {
        let acl = self.acl.entries();
        let rest = acl.encoded_len() + 4;
        let frame = path_frame(self.client, OpCode::SetAcl, self.path, rest).map(|mut frame| {
            acl.encode(frame.body());
            self.version.encode(frame.body());
            frame.sealed()
        });
        Call::new(self.client, OpCode::SetAcl, frame, |answer| {
            Ok(answer.body::<SetAclResponse>()?.stat)
        })
        .within(self.timeout)
    }
}

operation!(SetAcl => Stat);

/// See [`Client::who_am_i`].
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited or sent"]
pub struct WhoAmI<'a> {
    client: &'a Client,
    timeout: Option<Duration>,
}

timeout!(WhoAmI);

impl WhoAmI<'_> {
    fn into_call(self) -> Call<Vec<ClientInfo>> {
        let frame = Ok(Frame::with_body_len(OpCode::WhoAmI, 0).sealed());
        Call::new(self.client, OpCode::WhoAmI, frame, |answer| {
            Ok(answer.body::<WhoAmIResponse>()?.client_info)
        })
        .resent(true)
        .within(self.timeout)
    }
}

operation!(WhoAmI => Vec<ClientInfo>);

/// See [`Client::get_config`].
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited or sent"]
pub struct GetConfig<'a> {
    client: &'a Client,
    timeout: Option<Duration>,
}

timeout!(GetConfig);

impl<'a> GetConfig<'a> {
    /// Leaves a watch that fires when the configuration changes.
    pub fn watch(self) -> GetConfigWatched<'a> {
        GetConfigWatched(self)
    }

    fn into_call(self) -> Call<Node> {
        self.call(|answer| Ok(node(answer.body()?)))
    }

    fn call<T>(self, decode: fn(Answer<'_>) -> Result<T, Error>) -> Call<T> {
        let root = self.client.root();
        let frame = super::data::flagged(&root, OpCode::GetData, CONFIG_PATH);
        Call::new(&root, OpCode::GetData, frame, decode)
            .resent(true)
            .within(self.timeout)
    }
}

operation!(GetConfig => Node);

/// See [`GetConfig::watch`].
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited or sent"]
pub struct GetConfigWatched<'a>(GetConfig<'a>);

impl GetConfigWatched<'_> {
    fn into_call(self) -> Call<(Node, Watch)> {
        let call = self.0.call(|mut answer| {
            let (watch, op) = (answer.take_watch(), answer.op);
            let node = node(answer.body()?);
            Ok((node, watch.ok_or_else(|| incomplete(op, "watch"))?))
        });
        call.watching(WatchKind::Data, 1)
    }
}

operation!(GetConfigWatched => (Node, Watch));

/// See [`Client::reconfig`]. Either servers join and leave, or the whole list is replaced.
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited or sent"]
pub struct Reconfig<'a> {
    client: &'a Client,
    request: ReconfigRequest,
    timeout: Option<Duration>,
}

timeout!(Reconfig);

impl Reconfig<'_> {
    /// Servers to add or change: `server.N=host:port:port[:role];[host:]port`, separated by commas.
    pub fn joining(mut self, servers: &str) -> Self {
        self.request.joining_servers = Some(servers.into());
        self
    }

    /// Numbers of servers to remove, separated by commas.
    pub fn leaving(mut self, servers: &str) -> Self {
        self.request.leaving_servers = Some(servers.into());
        self
    }

    /// The whole new list, as [`Reconfig::joining`].
    pub fn members(mut self, servers: &str) -> Self {
        self.request.new_members = Some(servers.into());
        self
    }

    /// Only if the configuration has this version, the number behind `version=` in it.
    pub fn version(mut self, version: i64) -> Self {
        self.request.cur_config_id = version;
        self
    }

    fn into_call(self) -> Call<Node> {
        let frame = whole_frame(self.client, OpCode::Reconfig, &self.request);
        Call::new(self.client, OpCode::Reconfig, frame, |answer| {
            Ok(node(answer.body::<GetDataResponse>()?))
        })
        .within(self.timeout)
    }
}

operation!(Reconfig => Node);
