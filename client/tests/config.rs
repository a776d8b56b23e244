//! Configurations in documents.

use std::time::Duration;

use serde_json::{Value, json};
use zk_client::{Ace, Acl, Config, Id, OnExpire, Perms};

fn read(document: &Value) -> Result<Config, String> {
    serde_json::from_value(document.clone()).map_err(|err| err.to_string())
}

#[test]
fn every_field_is_read_and_written() {
    let document = json!({
        "connect": "tls://zk1:2281,zk2:2181/app",
        "session_timeout": "4s",
        "connect_timeout": "1m 30s",
        "op_timeout": "forever",
        "close_timeout": "250ms",
        "on_expire": "stop",
        "allow_read_only": true,
        "in_flight_max": 7,
        "in_flight_bytes_max": 1_000,
        "frame_max": 2_000,
        "reply_max": 3_000,
        "default_acl": ["auth::cdrwa", "x509:CN=a,O=b:r"],
        "detach_on_drop": true,
        "seed": 5,
    });
    let config = read(&document).expect("it is a configuration");
    let mut wanted = Config::new("tls://zk1:2281,zk2/app".parse().expect("it is legal"));
    wanted.session_timeout = Duration::from_secs(4);
    wanted.connect_timeout = Duration::from_secs(90);
    wanted.op_timeout = Duration::MAX;
    wanted.close_timeout = Duration::from_millis(250);
    wanted.on_expire = OnExpire::Stop;
    wanted.allow_read_only = true;
    wanted.in_flight_max = 7;
    wanted.in_flight_bytes_max = 1_000;
    wanted.frame_max = 2_000;
    wanted.reply_max = 3_000;
    wanted.default_acl = Acl::of([
        Ace::new(Perms::ALL, Id::AUTH),
        Ace::new(Perms::READ, Id::new("x509", "CN=a,O=b")),
    ]);
    wanted.detach_on_drop = true;
    wanted.seed = Some(5);
    assert_eq!(config, wanted);
    // And nothing else is: no place for a secret.
    let written = serde_json::to_value(&config).expect("it can be written");
    assert_eq!(written, document);
}

#[test]
fn what_is_not_there_has_its_default() {
    let config = read(&json!({ "connect": "localhost" })).expect("it is a configuration");
    assert_eq!(config, Config::default());
    let written = serde_json::to_value(&config).expect("it can be written");
    assert_eq!(read(&written), Ok(config));
}

#[test]
fn field_that_is_not_known_or_has_no_value_of_its_kind_is_named() {
    for (field, value, told) in [
        (
            "sesion_timeout",
            json!("4s"),
            "unknown field `sesion_timeout`",
        ),
        ("password", json!("secret"), "unknown field `password`"),
        (
            "session_timeout",
            json!("10 parsecs"),
            "`session_timeout`: \"10 parsecs\" is no time",
        ),
        ("op_timeout", json!(""), "`op_timeout`: \"\" is no time"),
        ("close_timeout", json!("-1s"), "`close_timeout`"),
        ("connect", json!("zk:0"), "`connect`: server \"zk:0\""),
        (
            "connect",
            json!("zk/a//b"),
            "`connect`: chroot of the connect string is not a path: ",
        ),
        (
            "default_acl",
            json!(["world:anyone"]),
            "`default_acl`: ACL entry \"world:anyone\"",
        ),
        ("default_acl", json!(["world:anyone:x"]), "permission 'x'"),
        ("on_expire", json!("explode"), "unknown variant `explode`"),
        ("seed", json!(-1), "-1"),
    ] {
        let mut document = json!({ "connect": "zk" });
        document[field] = value;
        let error = read(&document).expect_err(field);
        assert!(error.contains(told), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
    let error = read(&json!({ "session_timeout": "4s" })).expect_err("no servers");
    assert!(error.contains("missing field `connect`"), "{error}");
}

#[test]
fn list_that_cannot_be_written_is_refused() {
    let mut config = Config::default();
    config.default_acl = Acl::of([Ace::new(Perms::from_bits(1 << 9), Id::ANYONE)]);
    let error = serde_json::to_value(&config).expect_err("there is no letter for it");
    assert!(error.to_string().contains("default_acl"), "{error}");
}
