//! For whoever comes from another client, and for whoever wonders what can go wrong. No code.
//!
//! # What it is called elsewhere
//!
//! | Curator | kazoo | crate `zookeeper-client` | here |
//! |---|---|---|---|
//! | `CuratorFrameworkFactory`, `start`, `blockUntilConnected` | `KazooClient`, `start` | `Client::connector`, `connect` | [`Client::builder`](crate::Client::builder), [`Builder::connect`](crate::Builder::connect) |
//! | `create().creatingParentsIfNeeded()` | `create(makepath=True)` | `mkdir`, `create` | [`create`](crate::Client::create)`(..)`[`.parents()`](crate::op::Create::parents) |
//! | `create().orSetData()` | – | – | [`.or_set()`](crate::op::Create::or_set) |
//! | `create().withProtection()` | – | – | the recipes of `zk-recipes` look for what they made |
//! | `checkExists()` | `exists` | `check_stat` | [`exists`](crate::Client::exists) |
//! | `getData()` | `get` | `get_data` | [`get`](crate::Client::get), which is `None` where there is no znode |
//! | `getData().usingWatcher()` | `get(watch=…)` | `get_and_watch_data` | [`.watch()`](crate::op::Get::watch) |
//! | `setData().withVersion()` | `set(version=…)` | `set_data` | [`set`](crate::Client::set)`(..)`[`.version()`](crate::op::Set::version) |
//! | `delete().deletingChildrenIfNeeded()` | `delete(recursive=True)` | – | [`delete_tree`](crate::Client::delete_tree) |
//! | `delete().quietly()` | – | – | [`.if_exists()`](crate::op::Delete::if_exists) |
//! | `transaction()` | `transaction()` | `new_multi_writer` | [`transaction`](crate::Client::transaction) |
//! | `usingNamespace` | `chroot` | `chroot` | [`chroot`](crate::Client::chroot) |
//! | `watchers().add()` | – | `watch` | [`watch_node`](crate::Client::watch_node), [`watch_tree`](crate::Client::watch_tree) |
//! | `NodeCache`, `CuratorCache` | `DataWatch`, `ChildrenWatch` | – | [`observe`](crate::Client::observe), [`observe_children`](crate::Client::observe_children), caches in `zk-recipes` |
//! | `DistributedAtomicLong` and the like | `Counter` | – | [`update`](crate::Client::update) |
//! | `getConnectionStateListenable` | `add_listener` | `state_watcher` | [`state`](crate::Client::state), [`events`](crate::Client::events) |
//! | `EnsembleTracker` | – | – | [`follow_config`](crate::Client::follow_config) |
//! | `InterProcessMutex`, `LeaderLatch`, … | `Lock`, `Election`, … | – | `zk-recipes`, on the same znodes |
//!
//! # What can go wrong
//!
//! | what is seen | what it is | what to do |
//! |---|---|---|
//! | [`Outcome::Unknown`](crate::Outcome::Unknown) of a write | the connection was lost before the answer came: it may have taken effect, or may yet; or the answer is an error of its repetition, if it was declared idempotent | read behind a [`sync`](crate::Client::sync), or write with [`update`](crate::Client::update) or by version, so that a repetition is noticed |
//! | [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) | no server, or none that answers; the text names the last trouble, as [`Client::trouble`](crate::Client::trouble) does | wait, or look at the servers |
//! | [`ErrorKind::SessionExpired`](crate::ErrorKind::SessionExpired) | the servers heard nothing for the session timeout: ephemeral znodes and locks are gone | begin anew what hung on the session; a longer timeout bears longer pauses |
//! | [`WatchItem::Gap`](crate::WatchItem::Gap) | events may be missing: the connection was another, or the reader was too slow | read what is watched again at the [`WatchItem::Armed`](crate::WatchItem::Armed) behind it |
//! | [`ErrorKind::NoAuth`](crate::ErrorKind::NoAuth) after a password was changed | another password is another identity; servers cannot tell a wrong one | give the znodes an ACL of both for a while |
//! | [`ErrorKind::AuthFailed`](crate::ErrorKind::AuthFailed) | a server refused a credential; the client is closed | make another client; passwords that change come from a [`CredentialProvider`](crate::CredentialProvider) |
//! | [`ErrorKind::SessionHijacked`](crate::ErrorKind::SessionHijacked) | two processes go on with one [`SessionToken`](crate::SessionToken) | [`detach`](crate::Client::detach) the one before the other resumes |
//! | [`ErrorKind::DataTooLarge`](crate::ErrorKind::DataTooLarge) | more than [`Config::frame_max`](crate::Config::frame_max): servers would close the connection over it | keep znodes small; or raise `jute.maxbuffer` of every server first, then the limit here |
//! | [`ErrorKind::ReplyTooLarge`](crate::ErrorKind::ReplyTooLarge) | a list of children longer than [`Config::reply_max`](crate::Config::reply_max) | raise it, or spread the children |
//! | [`ErrorKind::Unimplemented`](crate::ErrorKind::Unimplemented) for a time to live | servers have it switched off by default | `zookeeper.extendedTypesEnabled=true` on every server |
//! | [`ErrorKind::Tls`](crate::ErrorKind::Tls) at once | a certificate that is not accepted, or no TLS on the other side | compare ports, names and authorities; nothing is gained by waiting |
