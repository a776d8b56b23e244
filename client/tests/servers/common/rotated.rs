use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use zk_client::{CredentialProvider, Credentials, Server};

/// A provider of credentials that gives what it was told to last.
#[derive(Debug, Clone)]
pub(crate) struct Rotated(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    asked: AtomicU32,
    answer: Mutex<Result<Credentials, &'static str>>,
}

impl Rotated {
    pub(crate) fn new(answer: Result<Credentials, &'static str>) -> Self {
        Self(Arc::new(Inner {
            asked: AtomicU32::new(0),
            answer: Mutex::new(answer),
        }))
    }

    /// What it gives from now on, or why nothing.
    pub(crate) fn set(&self, answer: Result<Credentials, &'static str>) {
        *self.0.answer.lock().expect("nobody panics with it") = answer;
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> u32 {
        self.0.asked.load(Ordering::Relaxed)
    }
}

/// The vault did not open.
#[derive(Debug, thiserror::Error)]
#[error("the vault does not open")]
struct Sealed(#[source] Reason);

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Reason(&'static str);

#[async_trait]
impl CredentialProvider for Rotated {
    async fn credentials(&self, _: &Server) -> Result<Credentials, Box<dyn Error + Send + Sync>> {
        self.0.asked.fetch_add(1, Ordering::Relaxed);
        let answer = self.0.answer.lock().expect("nobody panics with it").clone();
        Ok(answer.map_err(|why| Sealed(Reason(why)))?)
    }
}
