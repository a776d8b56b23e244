//! Who offers a service, and whom of them to ask.

mod chooser;
mod down;
mod instance;
mod json;
mod provider;
mod registry;
mod uri;

pub use self::chooser::Strategy;
pub use self::down::{AllDown, DownPolicy};
pub use self::instance::{ServiceInstance, ServiceType};
pub use self::json::{InstanceError, JsonStyle};
pub use self::provider::{Picked, Provider, ProviderBuilder};
pub use self::registry::{
    Discovery, DiscoveryError, Found, InstanceCache, Registration, Undecodable,
};
pub use self::uri::{UriPart, UriSpec};
