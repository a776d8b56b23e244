//! The shortest way to a client in a test.

use zk_client::Client;

use super::{Ensemble, Error};

/// Runs a test body with a client of a fresh ensemble of three, in a chroot of its own.
///
/// # Errors
/// If the ensemble does not start or the body fails.
///
/// # Cancel safety
/// Everything ends.
///
/// # Examples
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// zk_testkit::with_client(async |zk| {
///     zk.create("/a", "1").await?;
///     assert_eq!(zk.get("/a").await?.unwrap().data, "1");
///     Ok(())
/// })
/// .await
/// # }
/// ```
pub async fn with_client<E>(body: impl AsyncFnOnce(Client) -> Result<(), E>) -> Result<(), E>
where
    E: From<Error>,
{
    let ensemble = Ensemble::start(3).await?;
    let zk = ensemble.client().await?;
    let made = zk.create("/test", "").await.map_err(Error::Client);
    made?;
    let zk = zk.chroot("/test").map_err(Error::Client)?;
    body(zk).await
}
