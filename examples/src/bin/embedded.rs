//! A server in the same process, with a directory that outlives it.
//!
//! `cargo run -p zk-examples --bin embedded`
#![expect(
    clippy::print_stdout,
    reason = "telling what happens is what it is for"
)]

use std::time::Duration;

use zk_client::Client;
use zk_examples::Outcome;
use zk_server::Server;

#[tokio::main]
async fn main() -> Outcome {
    let data = tempfile::tempdir()?;

    let server = Server::builder().data_dir(data.path()).start().await?;
    println!(
        "serving       on a port of the loopback address: {}",
        server.client_address().ip().is_loopback()
    );
    let zk = Client::connect(&server.client_address().to_string()).await?;
    zk.create("/greeting", "hello").await?;
    println!("written       /greeting");
    zk.close(Duration::from_secs(5)).await;
    server.shutdown().await?;
    println!("stopped       what was acknowledged is on disk");

    // Another server, on the same directory.
    let server = Server::builder().data_dir(data.path()).start().await?;
    let zk = Client::connect(&server.client_address().to_string()).await?;
    let greeting = zk.get("/greeting").require().await?;
    println!("read again    {}", String::from_utf8_lossy(&greeting.data));
    zk.close(Duration::from_secs(5)).await;
    server.shutdown().await?;
    Ok(())
}
