//! 145 configurations that were given to Apache `ZooKeeper` 3.9.3: what it did, and where we
//! differ on purpose.

use serde_json::Value;
use zk_server::config::{Config, Properties, Resolved, Sources, Strictness};

/// Refused by the reference, accepted by us.
const FORGIVEN: &[(&str, &str)] = &[
    ("clientPort comment", "text behind a blank and # is cut"),
    ("autopurge bad", "3.10 takes suffixes"),
    ("myid trailing space", "blanks around the id are cut"),
    ("myid BOM", "a byte order mark is cut"),
    ("server space", "blanks in addresses are cut"),
    ("server trailing space", "blanks in addresses are cut"),
    ("server inline comment", "text behind a blank and # is cut"),
    ("multi pipe enabled cfg", "the key works in the file too"),
    ("addr unresolvable", "names are resolved when binding"),
    ("metrics class missing", "the exporter is built in"),
];

/// Started by the reference, refused by us.
const REFUSED: &[(&str, &str)] = &[
    ("no clientPort standalone", "no client could connect"),
    ("dist initLimit neg", "out of range"),
    ("myid 256 in list", "session ids keep one byte"),
    ("myid huge", "session ids keep one byte"),
    ("server dup addr loopback", "two servers share a port"),
    ("server dup addr nonloop", "two servers share a port"),
    ("server dup addr 3", "two servers share a port"),
    ("snapCount junk", "not a number"),
    ("globalOutstandingLimit junk", "not a number"),
    ("preAllocSize junk", "not a number"),
    ("admin.rateLimiterIntervalInMS junk", "not a number"),
    ("maxBatchSize 0", "out of range"),
    ("snapshot.compression.method bad", "unknown method"),
    ("authProvider bad", "unknown class"),
    ("secure netty no keystore", "TLS needs a key"),
    (
        "db.autocreate=false standalone",
        "an empty server is not kept from voting",
    ),
];

/// Ended by the reference later than by its configuration, refused by ours at once.
const REFUSED_EARLY: &[(&str, &str)] = &[
    ("secure w/o netty", "TLS needs a key"),
    ("myid not in list", "checked before binding"),
    ("myid seed000 (1 vs 2,3,4)", "checked before binding"),
    (
        "secureClientPort equals clientPort",
        "the second bind would fail",
    ),
    ("group unknown server", "the group names a stranger"),
    ("admin.serverPort 99999", "out of range"),
    ("digestAlg bad", "unknown algorithm"),
];

fn run(case: &Value) -> Result<Resolved, String> {
    let text = case["zoo_cfg"].as_str().expect("a configuration");
    let setup = case["setup"].as_str().unwrap_or_default();
    let main = Properties::parse("zoo.cfg", text.as_bytes(), Strictness::Normal)
        .map_err(|error| error.to_string())?;
    let servers = "server.1=127.0.0.1:22341:22351\nserver.2=127.0.0.1:22342:22352\n\
                   server.3=127.0.0.1:22343:22353\n";
    let dynamic = match (
        main.dynamic_config_file(),
        case["case"].as_str().unwrap_or_default(),
    ) {
        (None, _) => None,
        (Some(_), "dynfile version") => Some(format!("{servers}version=1\n")),
        (Some(_), "dynfile unknown") => Some(format!("{servers}clientPort=3\n")),
        (Some(_), "dyn client mismatch") => Some(
            "server.1=127.0.0.1:22341:22351;22399\nserver.2=127.0.0.1:22342:22352;22398\n"
                .to_owned(),
        ),
        (Some(_), "dynfile missing") => return Err("dyn: no such file".to_owned()),
        (Some(_), _) => Some(servers.to_owned()),
    };
    let dynamic = dynamic
        .map(|text| Properties::parse("dyn", text.as_bytes(), Strictness::Normal).expect("legal"));
    let environment: Vec<(String, String)> = setup
        .starts_with("-D")
        .then(|| ("SERVER_JVMFLAGS".to_owned(), setup.to_owned()))
        .into_iter()
        .collect();
    Config::resolve(Sources {
        main: &main,
        dynamic: dynamic.as_ref().map(|file| (0, file)),
        environment: &environment,
        my_id: case["myid"]
            .as_str()
            .map(|text| ("/d/myid", text.as_bytes())),
        strictness: Strictness::Normal,
    })
    .map_err(|error| error.to_string())
}

#[test]
fn every_recorded_configuration_ends_as_recorded_or_as_listed() {
    let cases: Value =
        serde_json::from_str(include_str!("../vectors/config-errors.json")).expect("json");
    let mut wrong = Vec::new();
    let mut count = 0;
    for case in cases.as_array().expect("a list") {
        let name = case["case"].as_str().expect("a name");
        if case["zoo_cfg"].is_null() {
            continue;
        }
        count += 1;
        let listed = |list: &[(&str, &str)]| list.iter().any(|(listed, _)| *listed == name);
        let expect_error = match case["exit_code"].as_i64() {
            Some(2) => !listed(FORGIVEN),
            None => listed(REFUSED),
            Some(_) => listed(REFUSED_EARLY),
        };
        match run(case) {
            Ok(_) if expect_error => wrong.push(format!("{name}: accepted")),
            Err(error) if !expect_error => wrong.push(format!("{name}: refused: {error}")),
            Ok(_) | Err(_) => {}
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong of {count}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(count > 130, "only {count} cases");
}

#[test]
fn errors_name_file_line_key_and_value() {
    let main = Properties::parse(
        "conf/zoo.cfg",
        b"tickTime=x\ndataDir=/d\n\nclientPort=70000\nskipACL=maybe\noraclePath=/o\n\
          DigestAuthenticationProvider.superDigest=super:x\n",
        Strictness::Normal,
    )
    .expect("legal");
    let error = Config::resolve(Sources {
        main: &main,
        dynamic: None,
        environment: &[("JVMFLAGS".to_owned(), "-Dzookeeper.snapCount=a".to_owned())],
        my_id: None,
        strictness: Strictness::Normal,
    })
    .expect_err("four mistakes");
    assert_eq!(
        error.to_string(),
        "environment JVMFLAGS: snapCount=a: expected a whole number\n\
         conf/zoo.cfg:1: tickTime=x: expected a whole number from 1 to 2147483647\n\
         conf/zoo.cfg:4: clientPort=70000: out of range, expected a whole number from 0 to 65535\n\
         conf/zoo.cfg:5: skipACL=maybe: expected yes or no\n\
         conf/zoo.cfg:6: oraclePath=/o: a two-member oracle would decide quorums we do not implement"
    );
    assert_eq!(error.exit_code(), 2);
}
