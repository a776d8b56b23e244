//! Writes the corpora that the fuzz targets start from: requests of every kind, the data
//! directories of the reference, and its configuration.

use std::fs;
use std::path::Path;

use bytes::BytesMut;
use zk_core::wire::log_record::{self, Found};
use zk_proto::connect::ConnectRequest;
use zk_proto::request::{
    AuthPacket, CreateFlags, CreateRequest, DeleteRequest, GetDataRequest, Request, SetDataRequest,
};
use zk_proto::{Acl, Id, Perms, SessionId, Version, Xid, Zxid, frame};

fn main() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    let mut seed = |target: &str, bytes: &[u8]| {
        let folder = here.join("corpus").join(target);
        fs::create_dir_all(&folder).expect("a folder for the corpus");
        fs::write(folder.join(format!("seed-{count}")), bytes).expect("a seed is written");
        count += 1;
    };
    seed("connection", &connection());
    let directories = fs::read_dir(here.join("../core/vectors/disk")).expect("the vectors");
    for directory in directories.flatten() {
        let Ok(files) = fs::read_dir(directory.path().join("data/version-2")) else {
            continue;
        };
        for file in files.flatten() {
            let content = fs::read(file.path()).expect("a file");
            let name = file.file_name().to_string_lossy().into_owned();
            if name.starts_with("log.") {
                let end =
                    content.len() - content.iter().rev().take_while(|byte| **byte == 0).count();
                seed("log", &[&[0], &content[..end]].concat());
                seed("log", &entries(&content));
            } else if name.starts_with("snapshot.") {
                seed("snapshot", &[&[64], &content[..]].concat());
            }
        }
    }
    for text in [
        &b"tickTime=2000\ndataDir=/d\nclientPort=2181\n# comment\nmaxClientCnxns=60\n"[..],
        b"dataDir=/d\ninitLimit=5\nsyncLimit=2\nserver.1=a:2:3:participant;4\nserver.2=[::1]:2:3\n\
          group.1=1:2\nweight.1=3\n\xff\xff1\n",
        b"dataDir=/d\ndynamicConfigFile=x\ninitLimit=5\nsyncLimit=2\n\xffserver.1=a:2:3\nversion=1\xff1",
        b"dataDir : C:\\u0041\\\n  b\nauthProvider.1=x\nssl.clientAuth=want\nsecureClientPort=1\n",
    ] {
        seed("config", text);
    }
    println!("{count} seeds in {}", here.join("corpus").display());
}

fn connection() -> BytesMut {
    let mut out = BytesMut::new();
    let hello = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid::ZERO,
        timeout_ms: 10_000,
        session_id: SessionId::NONE,
        password: None,
        read_only: Some(false),
    };
    frame::write(&mut out, &[&hello]);
    let open = || Some(vec![Acl::new(Perms::ALL, Id::ANYONE)]);
    let path = |text: &'static str| Some(text.into());
    let requests = [
        Request::Create(CreateRequest {
            path: path("/a"),
            data: Some("data".into()),
            acl: open(),
            flags: CreateFlags::Persistent.code(),
        }),
        Request::Create(CreateRequest {
            path: path("/a/s-"),
            data: None,
            acl: open(),
            flags: CreateFlags::EphemeralSequential.code(),
        }),
        Request::SetData(SetDataRequest {
            path: path("/a"),
            data: None,
            version: Version::new(0),
        }),
        Request::GetData(GetDataRequest {
            path: path("/a"),
            watch: true,
        }),
        Request::Delete(DeleteRequest {
            path: path("/a"),
            version: Version::new(-1),
        }),
        Request::Auth(AuthPacket {
            auth_type: 0,
            scheme: path("digest"),
            auth: Some("u:p".into()),
        }),
    ];
    for (at, request) in requests.iter().enumerate() {
        let xid = i32::try_from(at).expect("few");
        frame::write_request(&mut out, Xid::new(xid), request);
    }
    out
}

/// The entries of a log, each behind its length.
fn entries(file: &[u8]) -> Vec<u8> {
    let mut out = vec![1];
    let mut offset = log_record::HEADER_LEN;
    while let Found::Record { entry, next } = log_record::read(file, offset, 1 << 20) {
        if let Ok(len) = u8::try_from(entry.len()) {
            out.push(len);
            out.extend_from_slice(entry);
        }
        offset = next;
    }
    out
}
