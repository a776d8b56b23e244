//! `zkcli` on a real server: what it says and what it ends with, in the words of `zkCli.sh`.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

mod common;

use std::fs;
use std::process::{Output, Stdio};

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::process::Command;
use zk_testkit::ensemble::TlsFiles;

use self::common::{Setup, fresh, shared, soon, until};

fn zkcli(server: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zkcli"));
    command.args(["-server", server]).kill_on_drop(true);
    command
}

/// What a command says and ends with: exit code, standard output, standard error.
async fn once(server: &str, words: &[&str]) -> (i32, String, String) {
    let output = zkcli(server).args(words).output();
    parts(soon("the command ends", output).await.unwrap())
}

fn parts(output: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let code = output.status.code().expect("it ends by itself");
    (code, text(output.stdout), text(output.stderr))
}

/// Does commands one after the other and compares what each says with what it is to say.
async fn transcript(server: &str, lines: &[(&str, i32, &str, &str)]) {
    for (line, code, out, err) in lines {
        let words: Vec<_> = line.split(' ').collect();
        let said = once(server, &words).await;
        let wanted = (*code, (*out).to_owned(), (*err).to_owned());
        assert_eq!(said, wanted, "{line}");
    }
}

#[tokio::test]
async fn commands_say_what_those_of_the_reference_say() {
    let servers = Setup::alone()
        .property("zookeeper.extendedTypesEnabled", "true")
        .start()
        .await;
    let server = servers.addr(0).to_string();
    let ttl_max = "ttl must be positive and cannot be larger than: 1099511627775\n";
    let set_usage = "set path data [-s] [-v version] [-b]\n -b         Supply data in base64 format\n \
                     -s         Print znode stats additionally\n -v <arg>   Set with an expected \
                     version\n\n";
    let hex = "         +-------------------------------------------------+\n         \
               |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |\n\
               +--------+-------------------------------------------------+----------------+\n\
               |00000000| 68 65 6c 6c 6f                                  |hello           |\n\
               +--------+-------------------------------------------------+----------------+\n";
    transcript(
        &server,
        &[
            ("ls /", 0, "[zookeeper]\n", ""),
            ("create /a hello", 0, "", "Created /a\n"),
            ("create /a again", 1, "", "Node already exists: /a\n"),
            ("create /x/y", 1, "", "Node does not exist: /x/y\n"),
            ("create noslash", 1, "", "Path must start with / character\n"),
            ("create /a/", 1, "", "Path must not end with / character\n"),
            ("create -s /a/s- x", 0, "", "Created /a/s-0000000000\n"),
            ("create -s -e /a/se-", 0, "", "Created /a/se-0000000001\n"),
            ("create -c /cont", 0, "", "Created /cont\n"),
            ("create -t 60000 /ttl v", 0, "", "Created /ttl\n"),
            ("create -t abc /ttl2", 1, "", "-t argument must be a long value\n"),
            ("create -t -5 /ttl2", 1, "", ttl_max),
            (
                "create -c -e /z",
                1,
                "",
                "-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential.\n",
            ),
            ("create -t 5 -e /z", 1, "", "TTLs cannot be used with Ephemeral znodes\n"),
            ("create", 1, "", "create [-s] [-e] [-c] [-t ttl] path [data] [acl]\n"),
            ("create -q /z", 1, "", "Unrecognized option: -q\n"),
            ("create /acl d world:anyone:cdrwa,ip:127.0.0.1:r", 0, "", "Created /acl\n"),
            (
                "create /acl2 d bad",
                1,
                "",
                "bad does not have the form scheme:id:perm\nAcl is not valid : null\n",
            ),
            (
                "create /acl3 d foo:bar:r",
                1,
                "",
                "KeeperErrorCode = InvalidACL for /acl3\nAcl is not valid : /acl3\n",
            ),
            ("get /a", 0, "hello\n", ""),
            ("get /nope", 1, "", "Node does not exist: /nope\n"),
            ("get -b /a", 0, "aGVsbG8=\n", ""),
            ("get -x /a", 0, hex, ""),
            ("set /a v2", 0, "", ""),
            ("set -v 99 /a v4", 1, "", "version No is not valid : /a\n"),
            ("set -v abc /a v4", 1, "", "-v argument must be an int value\n"),
            ("set /a", 1, "", set_usage),
            ("set -b /a aGVsbG8=", 0, "", ""),
            ("get /a", 0, "hello\n", ""),
            ("stat /nope", 1, "", "Node does not exist: /nope\n"),
            ("ls", 1, "", "ls [-s] [-w] [-R] path\n"),
            (
                "ls -R /",
                0,
                "/\n/a\n/acl\n/cont\n/ttl\n/zookeeper\n/a/s-0000000000\n/zookeeper/config\n\
                 /zookeeper/quota\n",
                "",
            ),
            ("ls /nope", 1, "", "Node does not exist: /nope\n"),
            ("getAcl /a", 0, "'world,'anyone\n: cdrwa\n", ""),
            (
                "getAcl /acl",
                0,
                "'world,'anyone\n: cdrwa\n'ip,'127.0.0.1\n: r\n",
                "",
            ),
            ("setAcl /acl world:anyone:cdrwa", 0, "", ""),
            ("setAcl -v 77 /a world:anyone:r", 1, "", "version No is not valid : /a\n"),
            ("setAcl -R /a world:anyone:cdrwa", 0, "", ""),
            ("delete /a", 1, "", "Node not empty: /a\n"),
            ("delete /nope", 1, "", "Node does not exist: /nope\n"),
            ("delete -v 9 /acl", 1, "", "version No is not valid : /acl\n"),
            ("delete /acl", 0, "", ""),
            ("deleteall /a", 0, "", ""),
            ("deleteall /nope", 1, "", "Node does not exist: /nope\n"),
            ("deleteall /a -b x", 1, "", "-b argument must be an int value\n"),
            ("sync /nope", 0, "Sync is OK\n", ""),
            ("whoami", 0, "Auth scheme: User\nip: 127.0.0.1\n", ""),
            ("getEphemerals", 0, "[]\n", ""),
            ("getAllChildrenNumber /zookeeper", 0, "2\n", ""),
            ("removewatches /q", 1, "", "KeeperErrorCode = No such watcher for /q\n"),
            ("addWatch /q", 0, "", ""),
            ("redo 1", 1, "", "Command index out of range\n"),
            ("config", 0, "\n", ""),
            ("reconfig -remove 3", 1, "", "KeeperErrorCode = Reconfig is disabled\n"),
            (
                "reconfig -v zz -remove 3",
                1,
                "",
                "-v must be followed by a long (configuration version)\n",
            ),
            ("addauth digest u:p", 0, "", ""),
            ("delete /zookeeper", 1, "", "Arguments are not valid : /zookeeper\n"),
        ],
    )
    .await;
    // Its session was closed with the command: nothing ephemeral is left.
    let (code, out, err) = once(&server, &["deleteall", "/"]).await;
    let failed = "Failed to delete some node(s) in the subtree!\n";
    assert_eq!((code, out.as_str(), err.as_str()), (0, "", failed));
    let (code, _, err) = once(&server, &["bogus"]).await;
    assert_eq!(code, 127);
    assert!(
        err.ends_with("Command not found: Command not found bogus\n"),
        "{err}"
    );
    assert!(
        err.contains("\n\tsetAcl [-s] [-v version] [-R] path acl\n"),
        "{err}"
    );
}

#[tokio::test]
async fn stats_are_shown_field_by_field() {
    let servers = shared().await;
    let server = format!(
        "{}{}",
        servers.addr(0),
        servers.client().await.chroot_path()
    );
    once(&server, &["create", "/a", "hello"]).await;
    for command in ["stat", "get -s", "ls -s", "getAcl -s"] {
        let words: Vec<_> = command.split(' ').chain(["/a"]).collect();
        let (code, out, _) = once(&server, &words).await;
        assert_eq!(code, 0);
        let names = [
            "cZxid",
            "ctime",
            "mZxid",
            "mtime",
            "pZxid",
            "cversion",
            "dataVersion",
            "aclVersion",
            "ephemeralOwner",
            "dataLength",
            "numChildren",
        ];
        let lines: Vec<_> = out.lines().collect();
        let stat = lines.get(lines.len() - names.len()..).unwrap();
        for (line, name) in stat.iter().zip(names) {
            assert!(line.starts_with(&format!("{name} = ")), "{command}: {out}");
        }
        assert!(
            out.ends_with("ephemeralOwner = 0x0\ndataLength = 5\nnumChildren = 0\n"),
            "{out}"
        );
    }
}

#[tokio::test]
async fn quotas_are_kept_as_the_reference_keeps_them() {
    let servers = Setup::alone().start().await;
    let server = servers.addr(0).to_string();
    let path = "absolute path is /zookeeper/quota/q/zookeeper_limits\n";
    let all = "Output quota for /q count=3,bytes=100=;byteHardLimit=200;countHardLimit=4\n\
               Output stat for /q count=1,bytes=1\n";
    transcript(
        &server,
        &[
            ("create /q 1", 0, "", "Created /q\n"),
            ("setquota -n 3 /q", 0, "", ""),
            ("setquota -b 100 /q", 0, "", ""),
            ("setquota -N 4 /q", 0, "", ""),
            ("setquota -B 200 /q", 0, "", ""),
        ],
    )
    .await;
    // Servers count as they go.
    until("the server has counted", async || {
        once(&server, &["listquota", "/q"]).await == (0, all.to_owned(), path.to_owned())
    })
    .await;
    transcript(
        &server,
        &[
            ("setquota -n 0 /q", 1, "", "the num quota must be greater than zero\n"),
            ("setquota -n 3 /nope", 1, "", "/nope does not exist.\n"),
            (
                "setquota -n 3 /zookeeper/quota",
                1,
                "",
                "cannot set a quota under the path: /zookeeper/quota\n",
            ),
            ("create /q/c0 x", 0, "", "Created /q/c0\n"),
            (
                "setquota -n 3 /q/c0",
                1,
                "",
                "/q/c0 has a parent /q which has a quota\n",
            ),
            ("delquota -n /q", 0, "", ""),
            ("delquota /q", 0, "", ""),
            (
                "listquota /q",
                0,
                "",
                "absolute path is /zookeeper/quota/q/zookeeper_limits\nquota for /q does not exist.\n",
            ),
            ("delquota /q", 0, "Quota does not exist for /q\n", ""),
            ("ls /zookeeper/quota", 0, "[]\n", ""),
            ("create /q/c0/d x", 0, "", "Created /q/c0/d\n"),
            ("setquota -n 9 /q/c0/d", 0, "", ""),
            (
                "setquota -n 9 /q",
                1,
                "",
                "/q has a child /q/c0/d which has a quota\n",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn lines_of_standard_input_are_done_one_by_one() {
    let servers = shared().await;
    let chroot = fresh();
    let zk = servers.client_below(&chroot).await;
    let server = format!("{}{chroot}", servers.addr(0));
    let mut child = zkcli(&server)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = "create /a \"hello world\"\nget -w /a\n\nset /a 'x y'\nsync /\nget /a\ncreate -e /e\n\
                 getEphemerals\nredo 1\nhistory\nremovewatches /a\nremovewatches /a\nclose\nls /\n";
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(lines.as_bytes()).await.unwrap();
    drop(stdin);
    let output = soon("it ends with its input", child.wait_with_output()).await;
    let (code, out, err) = parts(output.unwrap());
    // The last command failed, because the session was closed before.
    assert_eq!(code, 1, "{out}\n{err}");
    assert!(
        err.contains("Created /a\n") && err.ends_with("Not connected\n"),
        "{err}"
    );
    assert!(
        err.contains("KeeperErrorCode = No such watcher for /a\n"),
        "{err}"
    );
    for wanted in [
        "Welcome to ZooKeeper!\n",
        "hello world\n",
        "\nWATCHER::\n\nWatchedEvent state:SyncConnected type:NodeDataChanged path:/a zxid: ",
        "WatchedEvent state:SyncConnected type:None path:null zxid: -1\n",
        "WatchedEvent state:Closed type:None path:null zxid: -1\n",
        "\nx y\n",
        "\n[/e]\n",
        "\n1 - get -w /a\n",
        &format!("[zk: {server}(CLOSED) 12] ls /\n"),
    ] {
        assert!(out.contains(wanted), "{wanted:?} is not in {out}");
    }
    assert!(
        zk.exists("/e").await.unwrap().is_none(),
        "the session was closed"
    );
}

#[tokio::test]
async fn server_that_is_not_there_is_said_to_be_so_at_once() {
    let (code, out, err) = once("127.0.0.1:1", &["ls", "/"]).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.starts_with("KeeperErrorCode = ConnectionLoss for /\n"),
        "{err}"
    );
    assert!(err.contains("127.0.0.1:1"), "{err}");
    let (code, _, err) = once("a b", &["ls", "/"]).await;
    assert!(code == 1 && err.contains("illegal connect string"), "{err}");
    let timeout = ["-waitforconnection", "-timeout", "300", "ls", "/"];
    let (code, _, err) = once("127.0.0.1:1", &timeout).await;
    assert!(code == 1 && err.contains("ConnectionLoss"), "{err}");
    let (code, _, err) = once("127.0.0.1:1", &["-timeout", "soon", "ls", "/"]).await;
    assert!(code == 2 && err.contains("soon"), "{err}");
}

#[tokio::test]
async fn chroot_that_is_missing_has_no_root() {
    let servers = shared().await;
    let server = format!("{}{}", servers.addr(0), fresh());
    transcript(&server, &[("ls /", 1, "", "Node does not exist: /\n")]).await;
}

#[tokio::test]
async fn client_configuration_says_how_to_speak_tls() {
    let dir = TempDir::new().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    let files = TlsFiles {
        keystore_pem: file(
            "server.pem",
            &format!("{certificate}{}", key.serialize_pem()),
        ),
        truststore_pem: file("ca.pem", &certificate),
        client_auth: false,
    };
    let ca = files.truststore_pem.display().to_string();
    let servers = Setup::alone().tls(files).start().await;
    let server = servers.secure_addr(0).to_string();
    until("the TLS port listens", async || {
        TcpStream::connect(&server).await.is_ok()
    })
    .await;
    let properties =
        format!("zookeeper.client.secure=true\nzookeeper.ssl.trustStore.location={ca}\n");
    let properties = file("client.properties", &properties).display().to_string();
    let words = ["-client-configuration", &properties, "ls", "/"];
    let said = once(&server, &words).await;
    assert_eq!(said, (0, "[zookeeper]\n".to_owned(), String::new()));
    let (code, _, err) = once(&server, &["ls", "/"]).await;
    assert!(code == 1 && err.contains("ConnectionLoss"), "{err}");
    let words = ["-client-configuration", "/does/not/exist", "ls", "/"];
    let (code, _, err) = once(&server, &words).await;
    assert!(code == 2 && err.contains("/does/not/exist"), "{err}");
}
