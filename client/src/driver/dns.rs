//! The DNS itself: for SRV records, of which the system's way to find addresses knows nothing.

use std::io;
use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use tokio::net::lookup_host;

use super::transport::Resolver;
use crate::core::ServiceRecord;

/// Asks name servers, and keeps no answers: servers move, and whoever asks has just lost one.
#[derive(Debug, Clone)]
pub struct DnsResolver {
    /// The system's if there are none.
    name_servers: Vec<SocketAddr>,
}

impl DnsResolver {
    /// Asks the name servers that the system is configured with, as that is at each question. Host
    /// names are left to the system altogether.
    pub fn system() -> Self {
        Self {
            name_servers: Vec::new(),
        }
    }

    /// Asks these name servers for everything; the system's if there are none.
    pub fn of(name_servers: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self {
            name_servers: name_servers.into_iter().collect(),
        }
    }

    fn resolver(&self) -> Result<TokioResolver, NetError> {
        let mut builder = if self.name_servers.is_empty() {
            TokioResolver::builder_tokio()?
        } else {
            let configs = self.name_servers.iter().map(|address| {
                let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
                let connections = connections.map(|mut connection| {
                    connection.port = address.port();
                    connection
                });
                NameServerConfig::new(address.ip(), true, connections.into())
            });
            let config = ResolverConfig::from_name_servers(configs.collect());
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        builder.options_mut().cache_size = 0;
        builder.build()
    }
}

#[async_trait]
impl Resolver for DnsResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        if self.name_servers.is_empty() {
            return Ok(lookup_host((host, port)).await?.collect());
        }
        let resolver = self.resolver().map_err(io::Error::other)?;
        let found = resolver.lookup_ip(host).await.map_err(io::Error::other)?;
        let addresses = found.iter().map(|address| SocketAddr::new(address, port));
        Ok(addresses.collect())
    }

    async fn services(&self, name: &str) -> io::Result<Vec<ServiceRecord>> {
        let resolver = self.resolver().map_err(io::Error::other)?;
        let found = resolver.srv_lookup(name).await.map_err(io::Error::other)?;
        let records = found.answers().iter().filter_map(|record| {
            let RData::SRV(srv) = &record.data else {
                return None;
            };
            Some(ServiceRecord {
                priority: srv.priority,
                weight: srv.weight,
                host: srv.target.to_utf8(),
                port: srv.port,
            })
        });
        Ok(records.collect())
    }
}
