//! What a server does not deserve: bytes that are no requests, clients that lie or dawdle, and
//! directories and files that cannot be used.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use support::{SOON, attach, client, configure, dial, fails, hello, read_frame, rest, start};
use zk_proto::connect::ConnectResponse;
use zk_proto::header::ReplyHeader;
use zk_proto::jute::{Decode as _, Reader};
use zk_proto::request::{CreateRequest, ExistsRequest, GetDataRequest, Request};
use zk_proto::{Acl, ErrorCode, Id, OpCode, Perms, SessionId, Xid};
use zk_server::Server;
use zk_server::faults::Faults;

/// Half-open connections at a time.
const HALF_OPEN: usize = 10_000;
/// What each of them may cost the server, in bytes.
const HALF_OPEN_BYTES: u64 = 5 << 10;

async fn embedded(settings: &[(&str, &str)]) -> Server {
    let builder = settings
        .iter()
        .fold(Server::builder(), |builder, (key, value)| {
            builder.set(key, value)
        });
    builder.start().await.expect("started")
}

/// Runs what blocks beside the server.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

/// A server that was told nonsense serves the next client.
async fn still_serves(server: Server) {
    let zk = client(server.client_address()).await;
    zk.create("/after", "").await.expect("created");
    server.shutdown().await.expect("it did not stop by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_hung_up_on_without_a_word() {
    let server = embedded(&[("maxClientCnxns", "0")]).await;
    let address = server.client_address();
    aside(move || {
        let mut random = 1_u64;
        for _ in 0..300 {
            let mut socket = dial(address);
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            // A length that is too long for a handshake, whatever follows; a quarter are negative.
            let len = 513 + u32::try_from(random >> 33).expect("31 bits") * 2;
            let mut bytes = len.to_be_bytes().to_vec();
            bytes.extend_from_slice(&random.to_be_bytes());
            socket.write_all(&bytes).expect("sent");
            assert_eq!(rest(socket), b"");
        }
        // Lengths that are right, and content that is not.
        for len in [0_u32, 1, 8, 43, 512] {
            let mut socket = dial(address);
            let mut bytes = len.to_be_bytes().to_vec();
            bytes.extend(vec![0x7f; usize::try_from(len).expect("small")]);
            socket.write_all(&bytes).expect("sent");
            assert_eq!(rest(socket), b"", "{len}");
        }
    })
    .await;
    still_serves(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_handshake_leaves_nothing_behind() {
    let server = embedded(&[("maxClientCnxns", "0")]).await;
    let address = server.client_address();
    aside(move || {
        let whole = hello(SessionId::NONE, &[0; 16], 10_000);
        for len in 0..whole.len() {
            let mut socket = dial(address);
            socket.write_all(&whole[..len]).expect("sent");
            socket.shutdown(std::net::Shutdown::Write).expect("shut");
            assert_eq!(rest(socket), b"", "{len}");
        }
    })
    .await;
    let zxid = server.last_zxid();
    assert_eq!(zxid.get(), 0, "no session was made");
    still_serves(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_longer_than_the_limit_ends_the_connection() {
    let server = embedded(&[("jute.maxbuffer", "2000")]).await;
    let address = server.client_address();
    aside(move || {
        for len in [2001_u32, 1 << 20, u32::MAX] {
            let mut socket = attach(address);
            socket.write_all(&len.to_be_bytes()).expect("sent");
            assert_eq!(rest(socket), b"", "{len}");
        }
        // At the limit it is a request: of a kind that does not exist.
        let mut socket = attach(address);
        let mut frame = 2000_u32.to_be_bytes().to_vec();
        frame.extend_from_slice(&7_i32.to_be_bytes());
        frame.extend_from_slice(&4711_i32.to_be_bytes());
        frame.extend(vec![0; 1992]);
        socket.write_all(&frame).expect("sent");
        let reply = read_frame(&mut socket);
        let header = ReplyHeader::decode(&mut Reader::new(&reply)).expect("a header");
        assert_eq!(header.xid, Xid::new(7));
    })
    .await;
    still_serves(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn opcodes_that_do_not_exist_are_refused_and_end_the_connection() {
    let server = embedded(&[("maxClientCnxns", "0")]).await;
    let address = server.client_address();
    aside(move || {
        let known: Vec<i32> = OpCode::ALL.iter().map(|op| op.code()).collect();
        let codes = (-20..60).chain([100, 106, 200, i32::MIN, i32::MAX]);
        for code in codes.filter(|code| !known.contains(code)) {
            let mut socket = attach(address);
            let mut frame = 8_u32.to_be_bytes().to_vec();
            frame.extend_from_slice(&7_i32.to_be_bytes());
            frame.extend_from_slice(&code.to_be_bytes());
            socket.write_all(&frame).expect("sent");
            let reply = read_frame(&mut socket);
            let header = ReplyHeader::decode(&mut Reader::new(&reply)).expect("a header");
            assert_eq!(header.err, ErrorCode::Unimplemented.code(), "{code}");
            rest(socket);
        }
    })
    .await;
    still_serves(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_bytes_are_waited_for_and_no_longer_than_allowed() {
    let server = embedded(&[
        ("nio.sessionlessCnxnTimeout", "1500"),
        ("tickTime", "100"),
        ("minSessionTimeout", "500"),
    ])
    .await;
    let address = server.client_address();
    aside(move || {
        // A byte at a time is a handshake all the same.
        let mut socket = dial(address);
        for byte in hello(SessionId::NONE, &[0; 16], 500) {
            socket.write_all(&[byte]).expect("sent");
        }
        let reply = read_frame(&mut socket);
        let reply = ConnectResponse::decode(&mut Reader::new(&reply)).expect("a reply");
        assert_ne!(reply.session_id, SessionId::NONE);
        // A frame that does not come to its end keeps no session alive.
        let begun = Instant::now();
        socket.write_all(&1000_u32.to_be_bytes()).expect("sent");
        dribble(&mut socket, begun);
        // And one that is no handshake yet no connection.
        let mut socket = dial(address);
        let begun = Instant::now();
        socket.write_all(&[0, 0, 0]).expect("sent");
        assert_eq!(rest(socket), b"");
        assert!(begun.elapsed() >= Duration::from_secs(1));
    })
    .await;
    still_serves(server).await;
}

/// Sends a byte now and then until the server hangs up.
fn dribble(socket: &mut TcpStream, begun: Instant) {
    let pause = Some(Duration::from_millis(20));
    socket.set_read_timeout(pause).expect("set");
    loop {
        assert!(begun.elapsed() < SOON, "the server waits for ever");
        if socket.write_all(&[0]).is_err() {
            return;
        }
        match socket.read(&mut [0; 64]) {
            Ok(0) => return,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return,
            Ok(_) | Err(_) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_sessions_are_refused_and_the_real_one_lives_on() {
    let server = embedded(&[]).await;
    let address = server.client_address();
    let zk = client(address).await;
    zk.create("/mine", "").ephemeral().await.expect("created");
    let node = zk.exists("/mine").await.expect("read").expect("there");
    let session = node.ephemeral_owner;
    aside(move || {
        let guesses = [
            (session, vec![0; 16]),
            (session, vec![7; 16]),
            (session, Vec::new()),
            (SessionId::new(session.get() + 1), vec![7; 16]),
            (SessionId::new(-1), vec![7; 16]),
            (SessionId::new(i64::MIN), vec![]),
        ];
        for (claimed, password) in guesses {
            let mut socket = dial(address);
            socket
                .write_all(&hello(claimed, &password, 10_000))
                .expect("sent");
            let bytes = rest(socket);
            if !bytes.is_empty() {
                let reply = ConnectResponse::decode(&mut Reader::new(&bytes[4..]));
                let reply = reply.expect("a reply");
                assert_eq!((reply.session_id, reply.timeout_ms), (SessionId::NONE, 0));
            }
        }
    })
    .await;
    assert!(zk.exists("/mine").await.expect("read").is_some());
    still_serves(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_its_share_of_connections_and_no_more() {
    let server = embedded(&[("maxClientCnxns", "5")]).await;
    let address = server.client_address();
    aside(move || {
        let kept: Vec<TcpStream> = (0..5).map(|_| attach(address)).collect();
        assert_eq!(rest(dial(address)), b"");
        drop(kept);
    })
    .await;
    still_serves(server).await;
}

/// A machine without IPv6 on loopback is reached over IPv4 all the same; the rest is not asked of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_an_address_is_reached_over_both_families() {
    let settings = [
        ("clientPortAddress", ""),
        ("maxClientCnxns", "2"),
        ("4lw.commands.whitelist", "cons"),
    ];
    let server = embedded(&settings).await;
    let port = server.client_address().port();
    aside(move || {
        let interfaces = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
        let is_loopback = |line: &str| line.starts_with(&format!("{:032x} ", 1));
        let old = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let new = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        let mut kept = vec![attach(old)];
        // As the reference shows it, and not as a part of IPv6.
        until(old, "cons", "\n /127.0.0.1:");
        if interfaces.lines().any(is_loopback) {
            kept.push(attach(new));
            until(new, "cons", "\n /[0:0:0:0:0:0:0:1]:");
        }
        kept.push(attach(old));
        assert_eq!(rest(dial(old)), b"");
    })
    .await;
    server.shutdown().await.expect("it did not stop by itself");
}

/// It holds on to megabytes of answers, and to one of the places of its address.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_ends_a_session_and_reads_nothing_is_given_up() {
    let settings = [
        ("nio.sessionlessCnxnTimeout", "1000"),
        ("4lw.commands.whitelist", "mntr"),
    ];
    let server = embedded(&settings).await;
    let address = server.client_address();
    let zk = client(address).await;
    zk.create("/big", vec![b'x'; 900_000])
        .await
        .expect("created");
    aside(move || {
        let mut socket = attach(address);
        let wish = Request::GetData(GetDataRequest {
            path: Some("/big".into()),
            watch: false,
        });
        // More than sockets hold, less than what the server lets wait.
        let mut wire: Vec<u8> = (1..=16).flat_map(|xid| frame(xid, &wish)).collect();
        wire.extend(frame(17, &Request::CloseSession));
        // Those of the two clients and of the one that asks.
        until(address, "mntr", "zk_num_alive_connections\t3\n");
        socket.write_all(&wire).expect("sent");
        until(address, "mntr", "zk_num_alive_connections\t2\n");
        drop(socket);
    })
    .await;
    drop(zk);
    still_serves(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_half_open_connections_cost_little_and_stop_nobody() {
    let wanted = u64::try_from(HALF_OPEN).expect("a number") + 500;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    assert!(
        limit.maximum.is_none_or(|maximum| maximum >= wanted),
        "this test needs {wanted} file descriptors (ulimit -Hn)"
    );
    let raised = rustix::process::Rlimit {
        current: limit.current.map(|current| current.max(wanted)),
        ..limit
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).expect("raised");

    let directory = tempfile::tempdir().expect("a directory");
    configure(
        directory.path(),
        "maxClientCnxns=0\nnio.sessionlessCnxnTimeout=60000",
    );
    let process = start(directory.path());
    let address = process.address;
    let zk = client(address).await;
    zk.create("/before", "").await.expect("created");
    let before = process.resident_kib();
    let sockets = aside(move || {
        let open = |at: usize| {
            let mut socket = dial_patiently(address);
            // Nothing, half a length, a length, and all but the last byte of the longest frame.
            let frame = [&512_u32.to_be_bytes()[..], &[0; 511]].concat();
            let said = [0, 2, 4, frame.len()][at % 4];
            socket.write_all(&frame[..said]).expect("sent");
            socket
        };
        (0..HALF_OPEN).map(open).collect::<Vec<TcpStream>>()
    })
    .await;
    // Somebody who means it is served meanwhile, and by then the server has seen them all.
    let meant = client(address).await;
    meant.create("/meanwhile", "").await.expect("created");
    let grown = process.resident_kib().saturating_sub(before) * 1024;
    let each = grown / u64::try_from(HALF_OPEN).expect("a number");
    println!("{HALF_OPEN} half-open connections cost {each} bytes each");
    assert!(each < HALF_OPEN_BYTES, "{each} bytes each");
    assert_eq!(sockets.len(), HALF_OPEN);
    drop(sockets);
    zk.create("/after", "").await.expect("created");
}

/// Connects though the server is busy accepting.
fn dial_patiently(address: SocketAddr) -> TcpStream {
    let begun = Instant::now();
    loop {
        match TcpStream::connect(address) {
            Ok(socket) => return socket,
            Err(error) => assert!(begun.elapsed() < SOON, "{error}"),
        }
    }
}

#[test]
fn a_member_without_a_good_myid_is_told_so() {
    let directory = tempfile::tempdir().expect("a directory");
    let members = "initLimit=5\nsyncLimit=2\nserver.1=127.0.0.1:2:3\nserver.2=127.0.0.1:4:5\n\
                   server.3=127.0.0.1:6:7";
    configure(directory.path(), members);
    let data = directory.path().join("data");
    let (code, said) = fails(directory.path());
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("myid file is missing"), "{said}");
    fs::create_dir(&data).expect("created");
    for (content, reason) in [
        ("", "is not a number"),
        ("x", "is not a number"),
        ("1 2", "is not a number"),
        ("4", "4"),
    ] {
        fs::write(data.join("myid"), content).expect("written");
        let (code, said) = fails(directory.path());
        assert_eq!(code, Some(2), "{content:?}: {said}");
        let path = data.join("myid").display().to_string();
        assert!(said.contains(&path) && said.contains(reason), "{said}");
    }
}

#[test]
fn a_data_directory_that_cannot_be_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    // A file stands where the directory should be.
    configure(directory.path(), "");
    fs::write(directory.path().join("data"), "a file").expect("written");
    let (code, said) = fails(directory.path());
    assert_eq!(code, Some(3), "{said}");
    let path = directory.path().join("data").display().to_string();
    assert!(
        said.contains("Unable to access datadir, exiting abnormally") && said.contains(&path),
        "{said}"
    );
}

#[test]
fn a_second_server_on_a_data_directory_is_told_of_the_first() {
    let directory = tempfile::tempdir().expect("a directory");
    configure(directory.path(), "");
    let first = start(directory.path());
    let (code, said) = fails(directory.path());
    assert_eq!(code, Some(3), "{said}");
    let by = format!("is in use by another server (pid {})", first.child.id());
    assert!(said.contains(&by), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_named_and_loses_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let faults = Faults::default();
    let server = Server::builder()
        .data_dir(directory.path())
        .set("preAllocSize", 64)
        .faults(&faults)
        .start()
        .await
        .expect("started");
    let zk = client(server.client_address()).await;
    zk.create("/kept", "1").await.expect("created");
    faults.fill_disk();
    let mut acknowledged = 0;
    while zk
        .create(&format!("/n{acknowledged}"), vec![b'x'; 10_000])
        .timeout(SOON)
        .await
        .is_ok()
    {
        acknowledged += 1;
        assert!(acknowledged < 1000, "the disk is not full");
    }
    let cause = server.shutdown().await.expect_err("it stopped by itself");
    let mut said = cause.to_string();
    let mut source = std::error::Error::source(&*cause);
    while let Some(error) = source {
        said = format!("{said}: {error}");
        source = error.source();
    }
    assert!(
        said.contains("log.1") && said.contains("no storage space"),
        "{said}"
    );
    drop(zk);
    let server = Server::builder().data_dir(directory.path()).start().await;
    let server = server.expect("it starts again");
    let zk = client(server.client_address()).await;
    assert!(zk.exists("/kept").await.expect("read").is_some());
    for number in 0..acknowledged {
        let path = format!("/n{number}");
        assert!(zk.exists(&path).await.expect("read").is_some(), "{path}");
    }
}

/// The largest number behind a prefix in the names of a directory.
fn newest(directory: &Path, prefix: &str) -> i64 {
    let names = files(directory).into_keys();
    let numbers = names.filter_map(|name| i64::from_str_radix(name.strip_prefix(prefix)?, 16).ok());
    numbers.max().expect("a file")
}

/// The files of a directory. Unfinished ones are nobody's.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).expect("a directory").flatten();
    entries
        .filter(|entry| !entry.file_name().to_string_lossy().ends_with(".tmp"))
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read(entry.path()).expect("read"))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_files_are_named_and_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    configure(directory.path(), "snapCount=20");
    let process = start(directory.path());
    let zk = client(process.address).await;
    let place = directory.path().join("data/version-2");
    // Until the newest log has some records: the last one alone would be taken for a torn one.
    let mut count = 0;
    while count < 60 || count + 1 - newest(&place, "log.") < 5 {
        zk.create(&format!("/n{count}"), "some data")
            .await
            .expect("created");
        count += 1;
    }
    drop(zk);
    process.kill();
    let whole = files(&place);
    let log = format!("log.{:x}", newest(&place, "log."));
    let snapshots: Vec<&String> = whole
        .keys()
        .filter(|name| name.starts_with("snapshot."))
        .collect();
    let flip = |name: &str, at: usize| {
        let mut content = whole[name].clone();
        content[at] ^= 0x40;
        content
    };
    let refused = |damage: BTreeMap<String, Vec<u8>>, reason: &[&str]| {
        for (name, content) in &damage {
            fs::write(place.join(name), content).expect("written");
        }
        let before = files(&place);
        let (code, said) = fails(directory.path());
        assert_eq!(code, Some(1), "{said}");
        assert!(
            reason.iter().all(|part| said.contains(part)),
            "{reason:?}: {said}"
        );
        assert_eq!(files(&place), before, "something was changed");
        for (name, content) in &whole {
            fs::write(place.join(name), content).expect("written");
        }
    };
    // In a record that others follow.
    refused(
        BTreeMap::from([(log.clone(), flip(&log, 60))]),
        &[&log, "offset 16", "checksum"],
    );
    refused(
        BTreeMap::from([(log.clone(), flip(&log, 1))]),
        &[&log, "header"],
    );
    let flipped = snapshots
        .iter()
        .map(|name| ((*name).clone(), flip(name, 40)));
    refused(flipped.collect(), &["snapshot."]);
    let gone = snapshots.iter().map(|name| ((*name).clone(), Vec::new()));
    refused(gone.collect(), &["snapshot"]);
    // One damaged snapshot of several is passed over, and nothing is lost.
    let newest_snapshot = format!("snapshot.{:x}", newest(&place, "snapshot."));
    fs::write(place.join(&newest_snapshot), flip(&newest_snapshot, 40)).expect("written");
    let process = start(directory.path());
    let zk = client(process.address).await;
    for number in 0..count {
        let path = format!("/n{number}");
        assert!(zk.exists(&path).await.expect("read").is_some(), "{path}");
    }
}

/// The frame of a request.
fn frame(xid: i32, request: &Request) -> Vec<u8> {
    let mut wire = bytes::BytesMut::new();
    zk_proto::frame::write_request(&mut wire, Xid::new(xid), request);
    wire.to_vec()
}

fn create(path: &str, len: usize) -> Request {
    Request::Create(CreateRequest {
        path: Some(path.into()),
        data: Some(vec![b'x'; len].into()),
        acl: Some(vec![Acl::new(Perms::ALL, Id::ANYONE)]),
        flags: 0,
    })
}

/// Xid and error of the next answer.
fn answered(socket: &mut TcpStream) -> (i32, i32) {
    let frame = read_frame(socket);
    let header = ReplyHeader::decode(&mut Reader::shared(&frame)).expect("a header");
    (header.xid.get(), header.err)
}

/// Waits until the answer to a four-letter word has this in it.
fn until(address: SocketAddr, word: &str, part: &str) {
    let start = Instant::now();
    loop {
        let mut socket = dial(address);
        socket.write_all(word.as_bytes()).expect("sent");
        let told = String::from_utf8(rest(socket)).expect("text");
        if told.contains(part) {
            return;
        }
        assert!(start.elapsed() < SOON, "{word} does not tell {part}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_requests_beyond_what_they_may_take_end_their_connection() {
    let faults = Faults::default();
    let server = Server::builder()
        .set("largeRequestThreshold", 1000)
        .set("largeRequestMaxBytes", 5000)
        .set("4lw.commands.whitelist", "*")
        .faults(&faults)
        .start()
        .await
        .expect("started");
    let address = server.client_address();
    aside(move || {
        let (mut first, mut second) = (attach(address), attach(address));
        let mut small = attach(address);
        faults.pause();
        first
            .write_all(&frame(1, &create("/first", 3000)))
            .expect("sent");
        until(address, "cons", "queued=1,");
        // Its length is refused before the rest is there.
        second
            .write_all(
                frame(1, &create("/second", 3000))
                    .get(..10)
                    .expect("a part"),
            )
            .expect("sent");
        assert_eq!(rest(second), b"");
        until(address, "mntr", "zk_large_requests_rejected\t1\n");
        small
            .write_all(&frame(1, &create("/small", 900)))
            .expect("sent");
        faults.resume();
        assert_eq!(answered(&mut first), (1, 0));
        assert_eq!(answered(&mut small), (1, 0));
        // What was answered takes nothing any more; nor does one whose connection is gone.
        for xid in 2..10 {
            let path = format!("/again-{xid}");
            first
                .write_all(&frame(xid, &create(&path, 3000)))
                .expect("sent");
            assert_eq!(answered(&mut first), (xid, 0));
        }
        let mut lost = attach(address);
        faults.pause();
        lost.write_all(&frame(1, &create("/lost", 3000)))
            .expect("sent");
        until(address, "cons", "queued=1,");
        drop(lost);
        faults.resume();
        // The server may learn of the end of `lost` after this, and refuses it until then.
        let start = Instant::now();
        let stored = || {
            let mut newest = attach(address);
            newest
                .write_all(&frame(1, &create("/last", 4000)))
                .expect("sent");
            newest.read_exact(&mut [0; 4]).is_ok()
        };
        while !stored() {
            assert!(start.elapsed() < SOON, "there is no room again");
        }
    })
    .await;
    still_serves(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_too_long_to_be_let_in_is_refused_in_its_place() {
    let faults = Faults::default();
    let server = Server::builder()
        .set("request_throttle_max_requests", 1)
        .set("throttled_op_wait_time", 50)
        .set("4lw.commands.whitelist", "*")
        .faults(&faults)
        .start()
        .await
        .expect("started");
    let address = server.client_address();
    aside(move || {
        let (mut first, mut second) = (attach(address), attach(address));
        faults.pause();
        first
            .write_all(&frame(1, &create("/first", 1)))
            .expect("sent");
        until(address, "cons", "queued=1,");
        let exists = Request::Exists(ExistsRequest {
            path: Some("/first".into()),
            watch: false,
        });
        let late = [
            (1, create("/second", 1)),
            (2, exists.clone()),
            (-2, Request::Ping),
        ];
        let late: Vec<u8> = late.iter().flat_map(|(xid, of)| frame(*xid, of)).collect();
        second.write_all(&late).expect("sent");
        until(address, "mntr", "zk_request_throttle_wait_count\t1\n");
        std::thread::sleep(Duration::from_millis(100));
        faults.resume();
        let throttled = ErrorCode::ThrottledOp.code();
        assert_eq!(answered(&mut first), (1, 0));
        assert_eq!(answered(&mut second), (1, throttled));
        assert_eq!(answered(&mut second), (2, throttled));
        assert_eq!(answered(&mut second), (-2, 0));
        until(address, "mntr", "zk_throttled_ops\t2\n");
        // What comes in time is executed, and nothing of the other was.
        second
            .write_all(&frame(3, &create("/second", 1)))
            .expect("sent");
        assert_eq!(answered(&mut second), (3, 0));
        first.write_all(&frame(2, &exists)).expect("sent");
        assert_eq!(answered(&mut first), (2, 0));
        second
            .write_all(&frame(4, &Request::CloseSession))
            .expect("sent");
        assert_eq!(answered(&mut second), (4, 0));
    })
    .await;
    still_serves(server).await;
}
