//! The admin server and the exporter, asked as operators' tools ask them.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::SOON;

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    /// As text.
    pub(crate) body: String,
    /// As it is.
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            (key == name).then_some(value)
        })
    }
}

pub(crate) async fn ask(address: SocketAddr, method: &str, path: &str) -> Answer {
    ask_as(address, method, path, None).await
}

/// Asks with an `Authorization`.
pub(crate) async fn ask_as(
    address: SocketAddr,
    method: &str,
    path: &str,
    who: Option<&str>,
) -> Answer {
    let asking = async {
        let mut socket = TcpStream::connect(address).await.expect("connected");
        let request = request(method, path, who);
        socket.write_all(request.as_bytes()).await.expect("sent");
        let mut bytes = Vec::new();
        socket.read_to_end(&mut bytes).await.expect("read");
        bytes
    };
    let bytes = timeout(SOON, asking).await.expect("in time");
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let (head, body) = bytes.split_at(end.expect("an answer") + 4);
    let head = String::from_utf8_lossy(head).trim_end().to_lowercase();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Answer {
        status: status.expect("a status"),
        head,
        body: String::from_utf8_lossy(body).into_owned(),
        bytes: body.to_vec(),
    }
}

/// What is sent to ask.
pub(crate) fn request(method: &str, path: &str, who: Option<&str>) -> String {
    let who = who.map_or_else(String::new, |who| format!("Authorization: {who}\r\n"));
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{who}Connection: close\r\n\r\n")
}
