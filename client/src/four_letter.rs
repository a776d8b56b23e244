//! Four-letter words: what servers tell operators in plain text, without a session.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::connect_string::Server;
use crate::driver::{Connector as _, TcpConnector};
use crate::error::{Error, ErrorKind, Outcome};

/// Longest answer taken, in bytes: `wchp` of a busy server is long.
const ANSWER_MAX: u64 = 64 << 20;

/// Asks a server one word and returns its answer. Servers answer only the words of their
/// `4lw.commands.whitelist`; by default that is `srvr` alone, and to all others they say so.
///
/// # Errors
/// [`ErrorKind::BadArguments`] if it is not four letters; [`ErrorKind::ConnectString`] if `server`
/// is not `host[:port]`; [`ErrorKind::Dns`], [`ErrorKind::Io`]; [`ErrorKind::Timeout`] if the answer
/// is not complete in time.
///
/// # Cancel safety
/// Dropping the future closes the connection.
pub async fn ask(server: &str, word: &str, within: Duration) -> Result<String, Error> {
    let error = |kind, detail: String| Error::new(kind, Outcome::Unknown).with_detail(detail);
    if word.len() != 4 || !word.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        let detail = format!("{word:?} is not four letters");
        return Err(Error::new(ErrorKind::BadArguments, Outcome::NotSent).with_detail(detail));
    }
    let server = only(server)?;
    let answer = async {
        let mut io = TcpConnector::default()
            .connect(&server, within)
            .await
            .map_err(|err| {
                let kind = match err.kind {
                    crate::ConnectErrorKind::Dns => ErrorKind::Dns,
                    crate::ConnectErrorKind::Timeout => ErrorKind::Timeout,
                    crate::ConnectErrorKind::Io | crate::ConnectErrorKind::Tls => ErrorKind::Io,
                };
                Error::new(kind, Outcome::NotSent).with_detail(err.message)
            })?;
        let broken = |err: std::io::Error| error(ErrorKind::Io, format!("{server}: {err}"));
        io.write_all(word.as_bytes()).await.map_err(broken)?;
        let mut answer = Vec::new();
        io.take(ANSWER_MAX)
            .read_to_end(&mut answer)
            .await
            .map_err(broken)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    timeout(within, answer).await.unwrap_or_else(|_| {
        let detail = format!("{server} did not answer {word} within {within:?}");
        Err(error(ErrorKind::Timeout, detail))
    })
}

/// Whether a server is up and serves clients: `ruok` is `imok` even while it does not, so this asks
/// `srvr` for its mode. `None` if it says that it does not serve.
///
/// # Errors
/// As [`ask`].
///
/// # Cancel safety
/// As [`ask`].
pub async fn mode(server: &str, within: Duration) -> Result<Option<String>, Error> {
    let answer = ask(server, "srvr", within).await?;
    Ok(answer
        .lines()
        .find_map(|line| line.strip_prefix("Mode: "))
        .map(str::to_owned))
}

fn only(text: &str) -> Result<Server, Error> {
    let parsed: crate::ConnectString = text.parse()?;
    parsed.servers.into_iter().next().ok_or_else(|| {
        Error::new(ErrorKind::ConnectString, Outcome::NotSent)
            .with_detail(format!("{text:?} names no server"))
    })
}
