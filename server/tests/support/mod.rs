//! The binary as a process, and connections that speak bytes.

#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod http;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use zk_client::Client;
use zk_proto::connect::ConnectRequest;
use zk_proto::header::ReplyHeader;
use zk_proto::jute::{Decode as _, Reader};
use zk_proto::request::{CreateRequest, MultiOp, MultiRequest, Request};
use zk_proto::response::{MultiResponse, MultiResult};
use zk_proto::{Acl, Bytes, Id, Perms, SessionId, Xid, Zxid};

/// Long enough for whatever is to happen soon.
pub(crate) const SOON: Duration = Duration::from_mins(1);

/// A server that is killed when the test is over.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    /// What it logged since it serves.
    pub(crate) log: Arc<Mutex<String>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Process {
    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }

    /// Memory that it takes, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("a Linux system");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        kib.expect("a size").parse().expect("a number")
    }
}

/// Writes a configuration with `more` behind what every test wants.
pub(crate) fn configure(directory: &Path, more: &str) {
    let text = format!(
        "dataDir={}\nclientPort=0\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n\
         preAllocSize=64\n{more}\n",
        directory.join("data").display()
    );
    fs::write(directory.join("zoo.cfg"), text).expect("written");
}

fn command(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zkserver"));
    command
        .arg("start-foreground")
        .arg(directory.join("zoo.cfg"))
        .stdin(Stdio::null());
    command
}

/// Starts the binary on what [`configure`] wrote, and waits until it says where it listens.
pub(crate) fn start(directory: &Path) -> Process {
    spawn(command(directory))
}

/// Starts it under a limit, in the words of the shell's `ulimit`.
pub(crate) fn start_under(limit: &str, directory: &Path) -> Process {
    let server = command(directory);
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("ulimit {limit} && exec \"$0\" \"$@\""))
        .arg(server.get_program())
        .args(server.get_args())
        .stdin(Stdio::null());
    spawn(shell)
}

fn spawn(mut command: Command) -> Process {
    let mut child = command.stderr(Stdio::piped()).spawn().expect("started");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let mut seen = Vec::new();
    let address = loop {
        let line = lines
            .next()
            .unwrap_or_else(|| panic!("ended: {seen:?}"))
            .expect("text");
        if let Some((_, rest)) = line.split_once("serving address=") {
            let address = rest.split_whitespace().next().expect("an address");
            break address.parse().expect("an address");
        }
        seen.push(line);
    };
    let log = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&log);
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            kept.lock().expect("no panic").extend([&line, "\n"]);
        }
    });
    Process {
        child,
        address,
        log,
    }
}

/// Runs the binary on what [`configure`] wrote, which makes it end by itself: its exit code, and
/// what it said.
pub(crate) fn fails(directory: &Path) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command(directory).output().expect("ran");
    (status.code(), String::from_utf8(stderr).expect("text"))
}

/// A client that gives up after a while.
pub(crate) async fn client(address: SocketAddr) -> Client {
    let address = address.to_string();
    let connect = Client::builder(&address)
        .session_timeout(Duration::from_secs(30))
        .connect();
    tokio::time::timeout(SOON, connect)
        .await
        .expect("in time")
        .expect("connected")
}

/// A connection that says what it is told to.
pub(crate) fn dial(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).expect("connected");
    socket.set_read_timeout(Some(SOON)).expect("set");
    socket.set_nodelay(true).expect("set");
    socket
}

/// What the server sends until it hangs up.
pub(crate) fn rest(mut socket: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match socket.read_to_end(&mut bytes) {
        // A reset is an end, too: the server did not read all that was sent.
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the server did not hang up: {error}"),
    }
    bytes
}

/// One frame.
pub(crate) fn read_frame(socket: &mut TcpStream) -> Bytes {
    let mut len = [0; 4];
    socket.read_exact(&mut len).expect("a length");
    let mut payload = vec![0; usize::try_from(u32::from_be_bytes(len)).expect("a size")];
    socket.read_exact(&mut payload).expect("a payload");
    payload.into()
}

/// The first frame of a client.
pub(crate) fn hello(session: SessionId, password: &[u8], timeout_ms: i32) -> Vec<u8> {
    let mut out = bytes::BytesMut::new();
    let hello = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid::ZERO,
        timeout_ms,
        session_id: session,
        password: Some(Bytes::copy_from_slice(password)),
        read_only: Some(false),
    };
    zk_proto::frame::write(&mut out, &[&hello]);
    out.to_vec()
}

/// A connection with a session of its own.
pub(crate) fn attach(address: SocketAddr) -> TcpStream {
    let mut socket = dial(address);
    socket
        .write_all(&hello(SessionId::NONE, &[0; 16], 30_000))
        .expect("sent");
    read_frame(&mut socket);
    socket
}

/// What a server answers to a multi that creates these znodes by create2, which a client of ours does
/// not send.
pub(crate) fn create2s(address: SocketAddr, paths: &[&str]) -> Vec<MultiResult> {
    let create2 = |path: &&str| {
        MultiOp::Create2(CreateRequest {
            path: Some((*path).into()),
            data: Some(Bytes::from_static(b"by create2")),
            acl: Some(vec![Acl::new(Perms::ALL, Id::ANYONE)]),
            flags: 0,
        })
    };
    let ops = paths.iter().map(create2).collect();
    let mut wire = bytes::BytesMut::new();
    let multi = Request::Multi(MultiRequest { ops });
    zk_proto::frame::write_request(&mut wire, Xid::new(1), &multi);
    let mut socket = attach(address);
    socket.write_all(&wire).expect("sent");
    let frame = read_frame(&mut socket);
    let mut reader = Reader::shared(&frame);
    let header = ReplyHeader::decode(&mut reader).expect("a header");
    assert_eq!((header.xid, header.err), (Xid::new(1), 0));
    let answer = MultiResponse::decode(&mut reader).expect("a body");
    answer.results
}
