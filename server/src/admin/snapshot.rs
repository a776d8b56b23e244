//! The command `snapshot`: a file with the whole tree, written for whoever asks, and sent to them.
//!
//! ```text
//!  GET /commands/snapshot                    the file, which is left in the data directory, too
//!  GET /commands/snapshot?streaming=false    only what it is
//! ```
//!
//! Whoever asks says who it is (`Authorization: digest user:password`, or `ip`), and must have all
//! permissions on the root. Where everyone has them, as in a new tree, that says nothing: then it has to
//! be the super user, or ask from this machine.
//!
//! # Source
//!
//! Apache `ZooKeeper` 3.9, `Commands.SnapshotCommand`, `Commands#handleAuthentication`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytestring::ByteString;
use hyper::StatusCode;
use hyper::header::{HeaderName, RETRY_AFTER};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};
use zk_core::conn::auth::{Access, Identities};
use zk_proto::request::AuthPacket;
use zk_proto::{Acl, Perms};

use super::http::{Answer, Asked, FileBody};
use super::{Admin, reply};
use crate::metrics::Counter;
use crate::stage::apply::ApplyItem;
use crate::stage::snapshot::{SnapshotOrder, SnapshotWritten};

/// The command.
pub(super) const NAME: &str = "snapshot";

const LAST_ZXID: HeaderName = HeaderName::from_static("last_zxid");
const SNAPSHOT_SIZE: HeaderName = HeaderName::from_static("snapshot_size");

/// Why there is no snapshot.
type Refused = (StatusCode, &'static str);

/// When snapshots may be asked for.
#[derive(Debug)]
pub(super) struct Turnstile {
    /// One is written at a time: each keeps what the tree has changed since it began.
    place: Arc<Semaphore>,
    last: Mutex<Option<Instant>>,
}

impl Default for Turnstile {
    fn default() -> Self {
        Self {
            place: Arc::new(Semaphore::new(1)),
            last: Mutex::new(None),
        }
    }
}

impl Turnstile {
    /// Lets somebody pass who comes at `now`, unless the last one came less than `interval` before,
    /// whose turn is the next after the time that is returned.
    fn pass(&self, now: Instant, interval: Duration) -> Result<(), Duration> {
        let last = &mut *self.last.lock();
        let since = last.map(|last| now.saturating_duration_since(last));
        if let Some(since) = since.filter(|since| *since < interval) {
            return Err(interval.saturating_sub(since));
        }
        *last = Some(now);
        Ok(())
    }
}

impl Admin {
    pub(super) async fn snapshot(&self, asked: &Asked) -> Answer {
        match self.ordered(asked).await {
            Ok(answer) | Err(answer) => answer,
        }
    }

    async fn ordered(&self, asked: &Asked) -> Result<Answer, Answer> {
        let refuse = |(status, error): Refused| {
            let answer = reply(NAME, Err(error.to_owned()));
            Answer { status, ..answer }
        };
        let service = &self.service;
        let settings = &service.config.admin;
        self.authorize(asked).map_err(refuse)?;
        if !settings.snapshot_enabled {
            let error = "Snapshot command is disabled";
            return Err(refuse((StatusCode::SERVICE_UNAVAILABLE, error)));
        }
        if !service.config.storage.serialize_last_processed_zxid {
            let error = "Snapshot command requires serializeLastProcessedZxid.enabled=true";
            return Err(refuse((StatusCode::INTERNAL_SERVER_ERROR, error)));
        }
        let too_soon = |wait: Duration| {
            service.metrics.count(Counter::SnapshotRateLimitedCount, 1);
            let error = "Snapshot request was rate limited";
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            let answer = refuse((StatusCode::TOO_MANY_REQUESTS, error));
            answer.with_header(RETRY_AFTER, seconds.to_string())
        };
        let turnstile = &self.snapshots;
        let place = Arc::clone(&turnstile.place).try_acquire_owned();
        let place = place.map_err(|_| too_soon(Duration::from_secs(1)))?;
        let interval = settings.rate_limiter_interval;
        turnstile.pass(Instant::now(), interval).map_err(too_soon)?;

        let (reply_to, written) = oneshot::channel();
        let order = SnapshotOrder { reply_to, place };
        service.apply.send([ApplyItem::Order(order)]);
        // Also if the server stops, or gets another tree meanwhile.
        let written = written.await.map_err(|_| {
            let error = "The snapshot could not be written";
            refuse((StatusCode::INTERNAL_SERVER_ERROR, error))
        })?;
        let SnapshotWritten { zxid, bytes, file } = written;
        tracing::info!(peer = %asked.remote, %zxid, bytes, "snapshot given out");
        let answer = match asked.parameter("streaming") {
            Some(streams) if !streams.eq_ignore_ascii_case("true") => reply(NAME, Ok(Vec::new())),
            Some(_) | None => {
                let body = FileBody::start(file, bytes, settings.idle_timeout, &self.tasks);
                Answer::file(body)
            }
        };
        Ok(answer
            .with_header(LAST_ZXID, zxid.to_string())
            .with_header(SNAPSHOT_SIZE, bytes.to_string()))
    }

    /// Whether whoever asks may have everything.
    fn authorize(&self, asked: &Asked) -> Result<(), Refused> {
        let missing = "Auth info is missing for the command";
        let header = asked.authorization.as_deref();
        let header = header.ok_or((StatusCode::UNAUTHORIZED, missing))?;
        let access = &self.service.access;
        let own = identify(access, header, asked.remote)
            .ok_or((StatusCode::UNAUTHORIZED, "Not authenticated"))?;
        let acl = {
            let tree = self.service.tree.read();
            tree.get("/").map(|root| root.shared_acl())
        };
        let may = acl.is_some_and(|acl| may_have_all(access, &own, &acl, asked.remote));
        may.then_some(())
            .ok_or((StatusCode::FORBIDDEN, "Not authorized"))
    }
}

/// Who somebody proves to be, by `scheme` or `scheme credentials`.
fn identify(access: &Access, header: &str, remote: IpAddr) -> Option<Identities> {
    let mut words = header.split(' ');
    let (scheme, credentials) = (words.next()?, words.next());
    if words.next().is_some() {
        return None;
    }
    if scheme == "ip" {
        return Some(Identities::of_peer(remote));
    }
    let packet = AuthPacket {
        auth_type: 0,
        scheme: Some(ByteString::from(scheme)),
        auth: credentials.map(|text| text.to_owned().into()),
    };
    let own = access
        .schemes
        .authenticate(&packet, remote, &Identities::none())
        .ok()?;
    let is_anybody = own.iter().next().is_some();
    is_anybody.then_some(own)
}

/// Whether somebody has all permissions by a list; one that grants them to everyone knows nobody.
fn may_have_all(access: &Access, own: &Identities, acl: &[Acl], remote: IpAddr) -> bool {
    let all = [
        Perms::CREATE,
        Perms::DELETE,
        Perms::READ,
        Perms::WRITE,
        Perms::ADMIN,
    ];
    let has_all = all.iter().all(|one| access.is_granted(own, acl, *one));
    let has_everyone = all.iter().all(|one| access.is_granted_to_world(acl, *one));
    let is_known = own.is_super() || remote.to_canonical().is_loopback();
    has_all && (is_known || !has_everyone)
}

#[cfg(test)]
mod tests {
    use zk_core::conn::auth::{DigestScheme, IpScheme, Schemes};
    use zk_proto::Id;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));

    fn access() -> Access {
        let digest = DigestScheme::identity("super:secret").into();
        let schemes = Schemes::new(vec![
            Box::new(IpScheme),
            Box::new(DigestScheme::new(Some(digest))),
        ]);
        Access::new(schemes)
    }

    fn may(header: &str, acl: &[Acl], remote: IpAddr) -> Option<bool> {
        let own = identify(&access(), header, remote)?;
        Some(may_have_all(&access(), &own, acl, remote))
    }

    #[test]
    fn a_list_that_knows_nobody_lets_in_super_and_this_machine() {
        let everyone = [Acl::new(Perms::ALL, Id::ANYONE)];
        for acl in [&everyone[..], &[]] {
            assert_eq!(may("digest bob:secret", acl, THERE), Some(false));
            assert_eq!(may("ip", acl, THERE), Some(false));
            assert_eq!(may("digest super:secret", acl, THERE), Some(true));
            assert_eq!(may("digest bob:secret", acl, HERE), Some(true));
            let mapped = IpAddr::from(std::net::Ipv4Addr::LOCALHOST.to_ipv6_mapped());
            assert_eq!(may("ip", acl, mapped), Some(true));
        }
    }

    #[test]
    fn all_permissions_are_needed_by_name() {
        let bob = Id::new("digest", DigestScheme::identity("bob:secret"));
        let acl = [Acl::new(Perms::ALL, bob.clone())];
        assert_eq!(may("digest bob:secret", &acl, THERE), Some(true));
        assert_eq!(may("digest bob:other", &acl, HERE), Some(false));
        assert_eq!(may("ip", &acl, HERE), Some(false));
        let acl = [
            Acl::new(Perms::READ | Perms::WRITE | Perms::CREATE, bob),
            Acl::new(Perms::DELETE, Id::ANYONE),
        ];
        assert_eq!(may("digest bob:secret", &acl, HERE), Some(false));
        let acl = [Acl::new(Perms::ALL, Id::new("ip", "10.0.0.7"))];
        assert_eq!(may("ip", &acl, THERE), Some(true));
        assert_eq!(may("ip", &acl, HERE), Some(false));
    }

    #[test]
    fn what_proves_nothing_is_nobody() {
        for header in [
            "",
            "digest",
            "digest  bob:secret",
            "digest bob secret",
            "x509",
            "super a",
        ] {
            assert_eq!(may(header, &[], HERE), None, "{header:?}");
        }
    }

    #[test]
    fn who_comes_too_soon_is_told_when_to_come() {
        let turnstile = Turnstile::default();
        let (start, interval) = (Instant::now(), Duration::from_secs(10));
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(turnstile.pass(at(0), interval), Ok(()));
        assert_eq!(turnstile.pass(at(4), interval), Err(Duration::from_secs(6)));
        assert_eq!(turnstile.pass(at(10), interval), Ok(()));
        assert_eq!(turnstile.pass(at(10), Duration::ZERO), Ok(()));
    }
}
