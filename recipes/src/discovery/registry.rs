use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use zk_client::{Acl, Client, Error, SessionId, Zxid};

use super::instance::{ServiceInstance, ServiceType};
use super::json::{InstanceError, JsonStyle};
use super::provider::ProviderBuilder;
use crate::cache::{CacheState, Children, Derived};
use crate::keep::{Conflict, KeepMode, KeepNode, KeepState, Kept};
use crate::kernel::parents::join;
use crate::kernel::retry::settled;

/// Services, who offers them, and whom to ask. With Curator's service discovery, both ways.
///
/// ```no_run
/// # async fn example(zk: zk_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use zk_recipes::{Discovery, ServiceInstance, Strategy};
///
/// let discovery = Discovery::<()>::new(&zk, "/services");
/// let me = ServiceInstance::new("api").address("10.0.0.1").port(8080);
/// let registration = discovery.register(me).await?;
///
/// let api = discovery.provider("api").strategy(Strategy::LeastLoaded).start();
/// api.ready().await?;
/// if let Some(instance) = api.pick() {
///     println!("ask {:?}:{:?}", instance.address, instance.port);
///     // instance.failed() if it does not answer
/// }
/// registration.unregister().await;
/// # Ok(())
/// # }
/// ```
///
/// # Guarantees
/// A registration heals itself: created again, in one transaction, with each new session; nothing is
/// written when only the connection was lost. Consumers serve what they last knew while they are cut off.
///
/// # Layout
/// `<base>/<service>/<id>`, JSON: see [`ServiceInstance::to_json`].
///
/// # Source
/// Apache Curator 5, x-discovery.
pub struct Discovery<T> {
    client: Client,
    base: String,
    style: JsonStyle,
    acl: Option<Acl>,
    conflict: Conflict,
    payload: PhantomData<fn() -> T>,
}

/// Why something about services did not work.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// Somebody else is registered by that id.
    #[error("{path}: the id is registered by session {owner}")]
    DuplicateId {
        /// Path of the znode.
        path: String,
        /// Whose it is.
        owner: SessionId,
    },
    /// The instance cannot be written.
    #[error("{path}: the instance cannot be written")]
    Instance {
        /// Path of the znode.
        path: String,
        /// What is wrong with it.
        source: InstanceError,
    },
    /// The client could not: no permission, an illegal name, a client that is closed.
    #[error("{path}: the service cannot be reached")]
    Client {
        /// Path of the znode.
        path: String,
        /// What went wrong.
        source: Error,
    },
    /// The client is closed.
    #[error("{path}: the client is closed")]
    Closed {
        /// Path of the znode.
        path: String,
    },
}

impl<T> Discovery<T> {
    /// Services below this path. Nothing is asked of a server yet.
    pub fn new(client: &Client, base: impl Into<String>) -> Self {
        Self {
            client: client.clone(),
            base: base.into(),
            style: JsonStyle::default(),
            acl: None,
            conflict: Conflict::Refuse,
            payload: PhantomData,
        }
    }

    /// What to write beside what must be there.
    #[must_use]
    pub fn json_style(mut self, style: JsonStyle) -> Self {
        self.style = style;
        self
    }

    /// Who may do what with registrations, instead of the client's default.
    #[must_use]
    pub fn acl(mut self, acl: Acl) -> Self {
        self.acl = Some(acl);
        self
    }

    /// What to do when somebody else is registered by the same id: [`DiscoveryError::DuplicateId`] by
    /// default. A process that comes back with a fixed id waits for the end of its old session by
    /// [`Conflict::Wait`].
    ///
    /// A static or permanent service has no session by which to tell who is alive: whoever registers it
    /// takes it over, and whoever had registered it before finds that [`Registration::state`] is
    /// [`KeepState::Refused`], or as the conflict says. So it is for the same id in the same session.
    #[must_use]
    pub fn conflict(mut self, conflict: Conflict) -> Self {
        self.conflict = conflict;
        self
    }

    /// The services that there are.
    ///
    /// # Errors
    /// [`DiscoveryError::Client`].
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn services(&self) -> Result<Vec<String>, DiscoveryError> {
        let client = self.client.clone();
        let names = settled(|| client.children(&self.base)).await;
        let mut names = names
            .map_err(|source| Self::error(&self.base, source))?
            .unwrap_or_default();
        names.sort();
        Ok(names)
    }

    fn error(path: &str, source: Error) -> DiscoveryError {
        DiscoveryError::Client {
            path: path.to_owned(),
            source,
        }
    }

    fn service(&self, name: &str) -> String {
        join(&self.base, name)
    }

    /// The znode of an instance. Without a name or an id it is none, and no directory either.
    fn path(&self, name: &str, id: &str) -> String {
        if name.is_empty() || id.is_empty() {
            return format!("{}/{name}/{id}", self.base.trim_end_matches('/'));
        }
        join(&self.service(name), id)
    }
}

impl<T: Serialize> Discovery<T> {
    /// Registers an instance, and keeps it registered.
    ///
    /// # Errors
    /// [`DiscoveryError::DuplicateId`]; [`DiscoveryError::Instance`]; [`DiscoveryError::Client`] without
    /// permission or for a name that is not legal; [`DiscoveryError::Closed`].
    ///
    /// # Cancel safety
    /// Dropping the future unregisters it.
    pub async fn register(
        &self,
        instance: ServiceInstance<T>,
    ) -> Result<Registration<T>, DiscoveryError> {
        let path = self.path(&instance.name, &instance.id);
        let data = instance.to_json(&self.style);
        let data = data.map_err(|source| DiscoveryError::Instance {
            path: path.clone(),
            source,
        })?;
        let mode = match instance.service_type {
            ServiceType::Dynamic => KeepMode::Ephemeral,
            ServiceType::DynamicSequential => KeepMode::EphemeralSequential,
            ServiceType::Static | ServiceType::Permanent => KeepMode::Persistent,
        };
        let keep = KeepNode::new(&self.client, &path, data)
            .mode(mode)
            .conflict(self.conflict);
        let keep = match &self.acl {
            Some(acl) => keep.acl(acl.clone()),
            None => keep,
        };
        let kept = keep.start();
        let mut states = kept.state();
        let settled = |state: &KeepState| match state {
            KeepState::Absent | KeepState::Taken { .. } => false,
            // A lost connection is no reason to give up.
            KeepState::Troubled(error) => !error.is_retryable(),
            KeepState::Kept { .. } | KeepState::Refused { .. } | KeepState::Closed => true,
        };
        let state = states.wait_for(settled).await.map(|state| state.clone());
        match state {
            Ok(KeepState::Kept { .. }) => Ok(Registration {
                kept,
                instance,
                style: self.style.clone(),
                path,
            }),
            Ok(KeepState::Refused { owner }) => Err(DiscoveryError::DuplicateId { path, owner }),
            Ok(KeepState::Troubled(source)) => Err(DiscoveryError::Client { path, source }),
            Ok(_) | Err(_) => Err(DiscoveryError::Closed { path }),
        }
    }
}

impl<T: DeserializeOwned + Send + Sync + 'static> Discovery<T> {
    /// All instances of a service that can be read, enabled or not, by id.
    ///
    /// # Errors
    /// [`DiscoveryError::Client`].
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn instances(&self, name: &str) -> Result<Vec<ServiceInstance<T>>, DiscoveryError> {
        let service = self.service(name);
        let ids = settled(|| self.client.children(&service)).await;
        let mut ids = ids
            .map_err(|source| Self::error(&service, source))?
            .unwrap_or_default();
        ids.sort();
        let mut found = Vec::new();
        for id in ids {
            let path = join(&service, &id);
            let node = settled(|| self.client.get(&path)).await;
            let node = node.map_err(|source| Self::error(&path, source))?;
            if let Some(node) = node
                && let Ok(instance) = ServiceInstance::from_json(&node.data)
            {
                found.push(instance);
            }
        }
        Ok(found)
    }

    /// Follows the instances of a service.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn cache(&self, name: &str) -> InstanceCache<T> {
        InstanceCache::start(&self.client, &self.service(name))
    }

    /// Sets up whom to ask of those that offer a service.
    pub fn provider(&self, name: &str) -> ProviderBuilder<T> {
        ProviderBuilder::new(self.client.clone(), self.service(name))
    }
}

impl<T> fmt::Debug for Discovery<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discovery")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

impl<T> Clone for Discovery<T> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            base: self.base.clone(),
            style: self.style.clone(),
            acl: self.acl.clone(),
            conflict: self.conflict,
            payload: PhantomData,
        }
    }
}

/// An instance that is registered. Dropped, it is unregistered in the background.
#[derive(Debug)]
#[must_use = "an instance is unregistered when this is dropped"]
pub struct Registration<T> {
    kept: Kept,
    instance: ServiceInstance<T>,
    style: JsonStyle,
    path: String,
}

impl<T: Serialize> Registration<T> {
    /// What is registered.
    pub fn instance(&self) -> &ServiceInstance<T> {
        &self.instance
    }

    /// How its znode is: the latest value, and a way to wait for the next.
    pub fn state(&self) -> watch::Receiver<KeepState> {
        self.kept.state()
    }

    /// Path of its znode, with the number of a sequential one, while it is there.
    pub fn path(&self) -> Option<String> {
        self.kept.path()
    }

    /// Says something else of the instance. Its name, id and type stay.
    ///
    /// # Errors
    /// [`DiscoveryError::Instance`] if the payload has no JSON; nothing is changed then.
    pub fn update(
        &mut self,
        change: impl FnOnce(&mut ServiceInstance<T>),
    ) -> Result<(), DiscoveryError>
    where
        T: Clone,
    {
        let mut wanted = self.instance.clone();
        change(&mut wanted);
        wanted.name.clone_from(&self.instance.name);
        wanted.id.clone_from(&self.instance.id);
        wanted.service_type = self.instance.service_type;
        let data = wanted.to_json(&self.style);
        let data = data.map_err(|source| DiscoveryError::Instance {
            path: self.path.clone(),
            source,
        })?;
        self.instance = wanted;
        self.kept.set_data(data);
        Ok(())
    }

    /// Unregisters it and waits until that is done.
    ///
    /// # Cancel safety
    /// It goes on in the background.
    pub async fn unregister(self) {
        self.kept.close().await;
    }
}

/// An instance as it was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found<T> {
    /// What it says.
    pub instance: ServiceInstance<T>,
    /// Path of its znode.
    pub path: String,
    /// The transaction that registered it.
    pub czxid: Zxid,
}

/// A znode of a service that is no instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecodable {
    /// Its path.
    pub path: String,
    /// Why.
    pub error: InstanceError,
}

/// What is known of a service.
#[derive(Debug)]
struct Known<T> {
    instances: Vec<Arc<Found<T>>>,
    undecodable: Vec<Undecodable>,
}

/// The instances of a service, followed: see [`Discovery::cache`].
pub struct InstanceCache<T> {
    derived: Derived<Arc<Known<T>>>,
    known: watch::Receiver<Arc<Known<T>>>,
}

impl<T: DeserializeOwned + Send + Sync + 'static> InstanceCache<T> {
    pub(crate) fn start(client: &Client, service: &str) -> Self {
        let derived = Derived::start(client, service, |children| Arc::new(decoded(children)));
        let known = derived.watch();
        Self { derived, known }
    }
}

impl<T> InstanceCache<T> {
    /// Waits until all instances that were there are known.
    ///
    /// # Errors
    /// As [`crate::Cache::ready`].
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn ready(&self) -> Result<(), Error> {
        self.derived.ready().await
    }

    /// The instances, by id.
    pub fn instances(&self) -> Vec<Arc<Found<T>>> {
        self.known.borrow().instances.clone()
    }

    /// Znodes that are no instances.
    pub fn undecodable(&self) -> Vec<Undecodable> {
        self.known.borrow().undecodable.clone()
    }

    /// Waits until something has changed: for ever once the client is closed, which
    /// [`InstanceCache::state`] tells.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn changed(&mut self) -> Vec<Arc<Found<T>>> {
        // The sender lives as long as this.
        self.known.changed().await.ok();
        self.instances()
    }

    /// How far it is to be relied on.
    pub fn state(&self) -> watch::Receiver<CacheState> {
        self.derived.state()
    }
}

impl<T> fmt::Debug for InstanceCache<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstanceCache")
            .field("derived", &self.derived)
            .finish_non_exhaustive()
    }
}

/// Decodes all that is there.
fn decoded<T: DeserializeOwned>(children: &Children) -> Known<T> {
    let mut known = Known {
        instances: Vec::new(),
        undecodable: Vec::new(),
    };
    for node in children.values() {
        // The payload is read by the user's own code, whose panic is a failure like any other.
        let read = catch_unwind(AssertUnwindSafe(|| ServiceInstance::from_json(&node.data)));
        let read = read.unwrap_or_else(|_| {
            Err(InstanceError {
                field: "payload",
                reason: "reading it panicked".to_owned(),
            })
        });
        match read {
            Ok(instance) => known.instances.push(Arc::new(Found {
                instance,
                path: node.path.clone(),
                czxid: node.stat.czxid,
            })),
            Err(error) => known.undecodable.push(Undecodable {
                path: node.path.clone(),
                error,
            }),
        }
    }
    known
        .instances
        .sort_by(|a, b| (&a.instance.id, &a.path).cmp(&(&b.instance.id, &b.path)));
    known
}
