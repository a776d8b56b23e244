//! Every recorded answer of Apache `ZooKeeper` 3.9.3, taken apart into the view it shows and
//! rendered again, byte for byte.

use std::net::SocketAddr;

use zk_proto::{SessionId, Zxid};
use zk_server::four_letter::*;

/// Roles whose server serves.
const SERVING: [&str; 5] = ["standalone", "leader", "follower", "observer", "readonly"];

fn golden(role: &str, name: &str) -> String {
    let path = format!(
        "{}/vectors/4lw/{role}/{name}.txt",
        env!("CARGO_MANIFEST_DIR")
    );
    std::fs::read_to_string(&path).expect(&path)
}

/// What stands between `start` and `end`.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text
        .split_once(start)
        .unwrap_or_else(|| panic!("no {start:?} in {text:?}"));
    rest.split_once(end).map_or(rest, |(part, _)| part)
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse()
        .unwrap_or_else(|_| panic!("not a number: {text:?}"))
}

fn field<T: std::str::FromStr>(text: &str, start: &str, end: &str) -> T {
    number(between(text, start, end))
}

fn hex(text: &str) -> i64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16)
        .expect("hexadecimal")
        .cast_signed()
}

fn session(text: &str) -> SessionId {
    SessionId::new(hex(text))
}

/// Ms since the epoch of a date in November 2026.
fn date(text: &str) -> i64 {
    let mut parts = text
        .split([' ', ':'])
        .skip(2)
        .map_while(|part| part.parse::<i64>().ok());
    let mut next = || parts.next().expect("day, hour, minute, second");
    let (day, hour, minute, second) = (next(), next(), next(), next());
    (1_793_491_200 + ((day - 1) * 24 + hour) * 3600 + minute * 60 + second) * 1000
}

fn mode(text: &str) -> Mode {
    match text {
        "standalone" => Mode::Standalone,
        "leader" => Mode::Leader,
        "follower" => Mode::Follower,
        "observer" => Mode::Observer,
        "read-only" => Mode::ReadOnly,
        other => panic!("unknown mode {other}"),
    }
}

/// Three numbers behind `start`, separated by slashes.
fn triple<'a>(text: &'a str, start: &str) -> [&'a str; 3] {
    let parts: Vec<&str> = between(text, start, "\n").split('/').collect();
    parts.try_into().expect("three numbers")
}

fn status(text: &str) -> ServerStatus {
    let [min, avg, max] = triple(text, "Latency min/avg/max: ");
    let sizes = text.contains("Proposal sizes").then(|| {
        let [last, min, max] = triple(text, "last/min/max: ").map(number);
        ProposalSizes { last, min, max }
    });
    ServerStatus {
        version: between(text, "version: ", "\n").to_owned(),
        latency: Latency {
            min: number(min),
            avg: number(avg),
            max: number(max),
        },
        received: field(text, "Received: ", "\n"),
        sent: field(text, "Sent: ", "\n"),
        connections: field(text, "Connections: ", "\n"),
        outstanding: field(text, "Outstanding: ", "\n"),
        zxid: Zxid::new(hex(between(text, "Zxid: ", "\n"))),
        mode: mode(between(text, "Mode: ", "\n")),
        node_count: field(text, "Node count: ", "\n"),
        proposal_sizes: sizes,
    }
}

fn connections(text: &str) -> Vec<ConnectionInfo> {
    let lines = text.lines().filter(|line| line.starts_with(" /"));
    lines
        .map(|line| ConnectionInfo {
            remote: number(between(line, "/", "[")),
            interest_ops: u32::try_from(hex(between(line, "[", "]"))).expect("small"),
            queued: field(line, "queued=", ","),
            received: field(line, "recved=", ","),
            sent: number(
                between(line, "sent=", ")")
                    .split(',')
                    .next()
                    .expect("a number"),
            ),
            session: line.contains("sid=").then(|| SessionInfo {
                id: session(between(line, "sid=", ",")),
                last_operation: match between(line, "lop=", ",") {
                    "GETD" => "GETD",
                    "NA" => "NA",
                    "PING" => "PING",
                    other => panic!("unknown operation {other}"),
                },
                established_ms: field(line, "est=", ","),
                timeout_ms: field(line, ",to=", ","),
                last_cxid: if line.contains("lcxid=") {
                    i32::try_from(hex(between(line, "lcxid=", ","))).expect("small")
                } else {
                    -1
                },
                last_zxid: Zxid::new(hex(between(line, "lzxid=", ","))),
                last_response_ms: field(line, "lresp=", ","),
                last_latency_ms: field(line, "llat=", ","),
                min_latency_ms: field(line, "minlat=", ","),
                avg_latency_ms: field(line, "avglat=", ","),
                max_latency_ms: field(line, "maxlat=", ")"),
            }),
        })
        .collect()
}

#[test]
fn srvr_and_stat() {
    for role in SERVING {
        for name in ["srvr", "stat"] {
            let text = golden(role, name);
            let status = status(&text);
            let rendered = match name {
                "srvr" => srvr(&status),
                _ => stat(&status, &connections(&text)),
            };
            assert_eq!(rendered, text, "{role}");
        }
    }
    for (role, name) in [
        ("standalone", "srvr_after_srst"),
        ("default-whitelist", "srvr"),
    ] {
        let text = golden(role, name);
        assert_eq!(srvr(&status(&text)), text);
    }
}

#[test]
fn cons_lists_sessions_and_sockets() {
    for role in SERVING {
        let text = golden(role, "cons");
        assert_eq!(cons(&connections(&text)), text, "{role}");
    }
    let text = golden("standalone", "cons_after_crst");
    assert_eq!(cons(&connections(&text)), text);
}

#[test]
fn conf_of_every_role() {
    for role in SERVING {
        let text = golden(role, "conf");
        let member = text.contains("initLimit").then(|| MemberConf {
            init_limit: field(&text, "initLimit=", "\n"),
            sync_limit: field(&text, "syncLimit=", "\n"),
            election_ports: vec![field(&text, "electionPort=", "\n")],
            quorum_ports: vec![field(&text, "quorumPort=", "\n")],
            is_observer: between(&text, "peerType=", "\n") == "1",
            membership: text.contains("membership").then(|| {
                let lines = text.lines().filter(|line| line.starts_with("server."));
                (lines.map(str::to_owned).collect(), 0)
            }),
        });
        let view = ConfView {
            client_port: field(&text, "clientPort=", "\n"),
            secure_client_port: field(&text, "secureClientPort=", "\n"),
            data_dir: between(&text, "dataDir=", "\n").to_owned(),
            data_dir_bytes: field(&text, "dataDirSize=", "\n"),
            data_log_dir: between(&text, "dataLogDir=", "\n").to_owned(),
            data_log_bytes: field(&text, "dataLogSize=", "\n"),
            tick_time_ms: field(&text, "tickTime=", "\n"),
            max_client_cnxns: field(&text, "maxClientCnxns=", "\n"),
            min_session_timeout_ms: field(&text, "minSessionTimeout=", "\n"),
            max_session_timeout_ms: field(&text, "maxSessionTimeout=", "\n"),
            listen_backlog: field(&text, "clientPortListenBacklog=", "\n"),
            server_id: field(&text, "serverId=", "\n"),
            member,
        };
        assert_eq!(conf(&view), text, "{role}");
    }
}

#[test]
fn conf_joins_ports_of_several_addresses() {
    let member = MemberConf {
        init_limit: 10,
        sync_limit: 5,
        election_ports: vec![3888, 3889],
        quorum_ports: vec![2888, 2889],
        is_observer: true,
        membership: Some((vec!["server.1=h:1:2:participant".to_owned()], 0x1_0000_002e)),
    };
    let view = ConfView {
        client_port: 2181,
        secure_client_port: -1,
        data_dir: "/d/version-2".to_owned(),
        data_dir_bytes: 1,
        data_log_dir: "/l/version-2".to_owned(),
        data_log_bytes: 2,
        tick_time_ms: 2000,
        max_client_cnxns: 60,
        min_session_timeout_ms: 4000,
        max_session_timeout_ms: 40_000,
        listen_backlog: -1,
        server_id: 1,
        member: Some(member),
    };
    let text = conf(&view);
    assert!(
        text.contains("electionPort=3888|3889\nquorumPort=2888|2889\npeerType=1\n"),
        "{text}"
    );
    assert!(
        text.ends_with("membership: \nserver.1=h:1:2:participant\nversion=10000002e"),
        "{text}"
    );
}

#[test]
fn dump_of_trackers_and_learners() {
    for role in SERVING {
        let text = golden(role, "dump");
        let sessions = between(&text, "SessionTracker dump:\n", "ephemeral nodes dump:\n");
        let sessions = match sessions.split_once("Global Sessions(") {
            Some((local, global)) => SessionsView::Learned {
                local: local
                    .starts_with("Local")
                    .then(|| buckets(local, |line| session(line.trim()))),
                global: global
                    .lines()
                    .skip(1)
                    .map(|line| {
                        let (id, timeout) = line.split_once('\t').expect("two columns");
                        (session(id), number(timeout.trim_end_matches("ms")))
                    })
                    .collect(),
            },
            None => SessionsView::Tracked {
                local: None,
                global: buckets(sessions, |line| session(line.trim())),
            },
        };
        let mut ephemerals: Vec<(SessionId, Vec<String>)> = Vec::new();
        for line in between(&text, "Sessions with Ephemerals", "Connections dump")
            .lines()
            .skip(1)
        {
            match line.strip_prefix('\t') {
                Some(path) => ephemerals
                    .last_mut()
                    .expect("a session")
                    .1
                    .push(path.to_owned()),
                None => ephemerals.push((session(line.trim_end_matches(':')), Vec::new())),
            }
        }
        let connections = buckets(between(&text, "Connections Sets", "\0"), |line| {
            let remote: SocketAddr = field(line, "ip: /", " ");
            (remote, session(between(line, "sessionId: ", "\n")))
        });
        let view = DumpView {
            sessions,
            ephemerals,
            connections,
        };
        assert_eq!(dump(&view), text, "{role}");
    }
}

fn buckets<T>(text: &str, item: impl Fn(&str) -> T) -> Vec<ExpiryBucket<T>> {
    let mut buckets: Vec<ExpiryBucket<T>> = Vec::new();
    for line in text.lines().skip(1) {
        match line.split_once(" expire at ") {
            Some((_, when)) => {
                buckets.push(ExpiryBucket {
                    expires_ms: date(when),
                    items: Vec::new(),
                });
            }
            None => buckets.last_mut().expect("a bucket").items.push(item(line)),
        }
    }
    buckets
}

#[test]
fn envi_shows_the_names_of_a_jvm() {
    for role in SERVING.into_iter().chain(["noquorum"]) {
        let text = golden(role, "envi");
        let value = |key: &str| between(&text, &format!("\n{key}="), "\n").to_owned();
        let java = |key: &str| Some(value(key)).filter(|value| value != "<NA>");
        let megabytes = |key: &str| number(value(key).trim_end_matches("MB"));
        let view = EnvironmentView {
            version: value("zookeeper.version"),
            host_name: value("host.name"),
            java_version: java("java.version"),
            java_vendor: java("java.vendor"),
            java_home: java("java.home"),
            java_class_path: java("java.class.path"),
            java_library_path: java("java.library.path"),
            tmp_dir: value("java.io.tmpdir"),
            java_compiler: java("java.compiler"),
            os_name: value("os.name"),
            os_arch: value("os.arch"),
            os_version: value("os.version"),
            user_name: value("user.name"),
            user_home: value("user.home"),
            user_dir: value("user.dir"),
            memory_free_mb: megabytes("os.memory.free"),
            memory_max_mb: megabytes("os.memory.max"),
            memory_total_mb: megabytes("os.memory.total"),
        };
        assert_eq!(envi(&view), text, "{role}");
    }
}

#[test]
fn mntr_prints_numbers_as_java_does() {
    for role in SERVING {
        let text = golden(role, "mntr");
        let value = |key: &str| {
            text.contains(&format!("zk_{key}\t"))
                .then(|| between(&text, &format!("zk_{key}\t"), "\n"))
        };
        let head = [
            "version",
            "server_state",
            "peer_state",
            "observer_master_id",
        ];
        let lines = text.lines().map(|line| {
            let (key, value) = line.split_once('\t').expect("two columns");
            (key.strip_prefix("zk_").expect("a prefix"), value)
        });
        let metrics = lines
            .filter(|(key, _)| !head.contains(key))
            .map(|(key, value)| {
                let sample = match value.parse() {
                    Ok(int) => Sample::Int(int),
                    Err(_) => Sample::Double(number(value)),
                };
                (key.to_owned(), sample)
            })
            .collect();
        let view = MonitorView {
            version: value("version").expect("a version").to_owned(),
            mode: mode(value("server_state").expect("a state")),
            peer_state: value("peer_state").map(str::to_owned),
            observer_master_id: value("observer_master_id").map(number),
            metrics,
        };
        assert_eq!(mntr(&view), text, "{role}");
    }
}

#[test]
fn watches_by_count_session_and_path() {
    for role in SERVING {
        let text = golden(role, "wchs");
        let counts: Vec<usize> = text
            .split([' ', '\n', ':'])
            .filter_map(|w| w.parse().ok())
            .collect();
        assert_eq!(wchs(counts[0], counts[1], counts[2]), text, "{role}");

        let by_session: Vec<_> = groups(&golden(role, "wchc"))
            .into_iter()
            .map(|(head, rest)| (session(&head), rest))
            .collect();
        assert_eq!(wchc(&by_session), golden(role, "wchc"), "{role}");

        let by_path: Vec<_> = groups(&golden(role, "wchp"))
            .into_iter()
            .map(|(head, rest)| (head, rest.iter().map(|id| session(id)).collect()))
            .collect();
        assert_eq!(wchp(&by_path), golden(role, "wchp"), "{role}");
    }
}

/// Lines, with the indented ones that follow each.
fn groups(text: &str) -> Vec<(String, Vec<String>)> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        match line.strip_prefix('\t') {
            Some(item) => groups.last_mut().expect("a head").1.push(item.to_owned()),
            None => groups.push((line.to_owned(), Vec::new())),
        }
    }
    groups
}

#[test]
fn hash_and_dirs() {
    for role in SERVING {
        let text = golden(role, "hash");
        let digests: Vec<DigestAt> = text
            .lines()
            .map(|line| {
                let (zxid, digest) = line.split_once(": ").expect("two columns");
                DigestAt {
                    zxid: Zxid::new(hex(zxid)),
                    digest: number(digest),
                }
            })
            .collect();
        assert_eq!(hash(&digests), text, "{role}");

        let text = golden(role, "dirs");
        let rendered = dirs(
            field(&text, "datadir_size: ", "\n"),
            field(&text, "logdir_size: ", "\n"),
        );
        assert_eq!(rendered, text, "{role}");
    }
}

#[test]
fn words_of_fixed_text() {
    for role in SERVING {
        assert_eq!(ruok(), golden(role, "ruok"), "{role}");
        assert_eq!(crst(), golden(role, "crst"), "{role}");
        assert_eq!(srst(), golden(role, "srst"), "{role}");
        assert_eq!(isro(role == "readonly"), golden(role, "isro"), "{role}");
        assert_eq!(gtmk(TRACE_MASK_DEFAULT), golden(role, "gtmk"), "{role}");
    }
    assert_eq!(stmk(250), golden("standalone", "stmk"));
    assert_eq!(gtmk(250), golden("standalone", "gtmk_after_stmk"));
}

#[test]
fn a_server_without_quorum_says_so() {
    for word in Word::ALL {
        let path = format!(
            "{}/vectors/4lw/noquorum/{}.txt",
            env!("CARGO_MANIFEST_DIR"),
            word.name()
        );
        let Ok(text) = std::fs::read_to_string(path) else {
            assert_eq!(word, Word::Stmk, "only this one is not recorded");
            continue;
        };
        match word.without_service() {
            WithoutService::Say(said) => assert_eq!(said, text, "{}", word.name()),
            WithoutService::Answer => {
                assert!(
                    matches!(word, Word::Envi | Word::Gtmk | Word::Stmk),
                    "{}",
                    word.name()
                );
            }
        }
    }
}

#[test]
fn words_off_the_whitelist_are_refused() {
    let whitelist = Whitelist::parse("", false);
    for word in Word::ALL
        .into_iter()
        .filter(|word| !whitelist.allows(*word))
    {
        assert_eq!(word.refusal(), golden("default-whitelist", word.name()));
    }
}
