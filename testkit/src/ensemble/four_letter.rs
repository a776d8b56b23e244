//! Asks servers four-letter words.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Sends `word` and returns the reply.
///
/// # Errors
/// What the system says; `TimedOut` when the server has not answered and closed `within`.
///
/// # Cancel safety
/// Safe: dropping the future closes the connection.
pub(super) async fn ask(addr: SocketAddr, word: &str, within: Duration) -> io::Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(addr).await?;
        stream.write_all(word.as_bytes()).await?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await?;
        Ok(String::from_utf8_lossy(&reply).into_owned())
    };
    timeout(within, exchange).await.unwrap_or_else(|_| {
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no whole reply within {within:?}"),
        ))
    })
}

/// The value of a `Name: value` line of a reply.
pub(super) fn field<'a>(reply: &'a str, name: &str) -> Option<&'a str> {
    reply
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let reply = "Outstanding: 0\nZxid: 0x133\nMode: standalone\nNode count: 10\n";
        assert_eq!(field(reply, "Mode"), Some("standalone"));
        assert_eq!(field(reply, "Node count"), Some("10"));
        assert_eq!(field(reply, "Node"), None);
    }
}
