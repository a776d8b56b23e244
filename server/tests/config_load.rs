//! Configurations as operators lay them out on disk.

use std::fs;
use std::num::NonZeroU32;
use std::path::Path;

use zk_proto::ServerId;
use zk_server::config::{Config, Ensemble, Resolved, Role, Strictness, Topology, dynamic_version};

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file; `$HOME` in its text is the directory.
    fn write(&self, name: &str, text: &str) -> &Self {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("below the directory")).expect("create");
        let home = self.path().display().to_string();
        fs::write(path, text.replace("$HOME", &home)).expect("write");
        self
    }

    fn load(&self) -> Result<Resolved, String> {
        self.load_with(&[])
    }

    fn load_with(&self, environment: &[(&str, &str)]) -> Result<Resolved, String> {
        let environment: Vec<(String, String)> = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let path = self.path().join("zoo.cfg");
        Config::load(&path, &environment, Strictness::Normal).map_err(|error| {
            error
                .to_string()
                .replace(&self.path().display().to_string(), "$HOME")
        })
    }
}

fn ensemble(resolved: &Resolved) -> &Ensemble {
    match &resolved.config.topology {
        Topology::Ensemble(ensemble) => ensemble,
        Topology::Standalone => panic!("standalone"),
    }
}

#[test]
fn inline_comments_of_tutorials_do_not_stop_the_server() {
    let home = Home::new();
    home.write(
        "zoo.cfg",
        "tickTime=2000\ninitLimit=10\nsyncLimit=5\n\
         dataDir=$HOME/zkdata\t\t#修改默认的tmp目录\n\
         dataLogDir=$HOME/zklogs\t#用于存放日志\n\
         clientPort=12181\nadmin.serverPort=18081 # 18082 on the next\n\
         server.2=127.0.0.1:12887:13887\t#新增以下内容\n\
         server.3=127.0.0.1:12888 :13888\n\
         server.4=127.0.0.1:12889:13889:observer\nserver.5=127.0.0.1:12890:13890\n",
    )
    .write("zkdata/myid", "4\n");
    let resolved = home.load().expect("starts");
    let config = &resolved.config;
    assert_eq!(config.data_dir, home.path().join("zkdata"));
    assert_eq!(config.data_log_dir, home.path().join("zklogs"));
    assert_eq!(config.admin.port, 18081);
    let ensemble = ensemble(&resolved);
    assert_eq!(
        (ensemble.my_id, ensemble.role),
        (ServerId::new(4), Role::Observer)
    );
    assert_eq!(ensemble.init_limit, NonZeroU32::new(10).expect("ten"));
    assert_eq!(ensemble.connect_limit, ensemble.init_limit);
    assert_eq!(ensemble.members.len(), 4);
    let cut = resolved
        .notices
        .iter()
        .filter(|notice| notice.text.contains("after '#'"))
        .count();
    assert_eq!(cut, 4);
}

#[test]
fn my_id_must_be_in_the_list() {
    let home = Home::new();
    home.write(
        "zoo.cfg",
        "initLimit=10\nsyncLimit=5\ndataDir=$HOME/zkdata\nclientPort=2181\n\
         server.2=127.0.0.1:12887:13887\nserver.3=127.0.0.1:12888:13888\n\
         server.4=127.0.0.1:12889:13889\n",
    );
    assert_eq!(
        home.load().expect_err("no myid"),
        "myid file is missing: no file myid in dataDir $HOME/zkdata"
    );
    home.write("zkdata/myid", "1\n");
    assert_eq!(
        home.load().expect_err("another list"),
        "myid 1 ($HOME/zkdata/myid) is not in the server list {2,3,4}"
    );
    home.write("zkdata/myid", "three");
    assert_eq!(
        home.load().expect_err("no number"),
        "myid file $HOME/zkdata/myid: \"three\" is not a number"
    );
}

#[test]
fn a_dynamic_file_carries_members_and_version() {
    let home = Home::new();
    home.write(
        "zoo.cfg",
        "initLimit=10\nsyncLimit=5\ndataDir=$HOME\nreconfigEnabled=true\n\
         dynamicConfigFile=$HOME/zoo.cfg.dynamic.10000002e\n",
    )
    .write(
        "zoo.cfg.dynamic.10000002e",
        "server.1=h1:2888:3888:participant;0.0.0.0:2181\n\
         server.2=h2:2888:3888:participant;0.0.0.0:2182\n\
         server.3=h3:2888:3888:participant;10.0.0.3:2183",
    )
    .write("myid", "3");
    let resolved = home.load().expect("starts");
    let ensemble = ensemble(&resolved);
    assert_eq!(ensemble.version, 0x1_0000_002e);
    let port = resolved
        .config
        .client_port
        .as_ref()
        .expect("from the member line");
    assert_eq!((port.host.as_deref(), port.port), (Some("10.0.0.3"), 2183));
    assert_eq!(ensemble.members.lines().len(), 3);
}

#[test]
fn versions_of_dynamic_files_are_hexadecimal_suffixes() {
    assert_eq!(dynamic_version("zoo.cfg.dynamic.10000002e"), 0x1_0000_002e);
    assert_eq!(dynamic_version("zoo.cfg.dynamic"), 0);
    assert_eq!(dynamic_version("zoo.cfg.dynamic.next"), 0);
    assert_eq!(dynamic_version("dyn"), 0);
}

#[test]
fn the_file_wins_over_flags_and_both_over_defaults() {
    let home = Home::new();
    home.write("zoo.cfg", "dataDir=$HOME\nclientPort=2181\nsnapCount=7\n");
    let resolved = home
        .load_with(&[
            (
                "JVMFLAGS",
                "-Dzookeeper.snapCount=5 -Dzookeeper.commitLogCount=600",
            ),
            ("SERVER_JVMFLAGS", "-Dzookeeper.commitLogCount=700"),
        ])
        .expect("starts");
    assert_eq!(resolved.config.storage.snap_count, 7);
    assert_eq!(resolved.config.storage.commit_log_count, 700);
    assert!(resolved.config.storage.digest_enabled);
    let effective = |key| {
        resolved
            .effective
            .iter()
            .find(|setting| setting.key == key)
            .expect(key)
    };
    assert_eq!(
        effective("commitLogCount").origin.to_string(),
        "environment SERVER_JVMFLAGS"
    );
    assert_eq!(effective("tickTime").origin.to_string(), "default");
}

#[test]
fn unknown_and_ignored_keys_are_told_apart() {
    let home = Home::new();
    home.write(
        "zoo.cfg",
        "dataDir=$HOME\nclientPort=2181\nServer.1=h:1:2\nfooBar=1\nnio.numWorkerThreads=4\n\
         connectionMaxTokens=9\nautopurge.purgeInterval=1h\n",
    );
    let resolved = home.load().expect("starts");
    assert_eq!(resolved.config.topology, Topology::Standalone);
    assert_eq!(
        resolved.config.throttle.connection_tokens,
        NonZeroU32::new(9)
    );
    let texts: Vec<&str> = resolved
        .notices
        .iter()
        .map(|notice| &*notice.text)
        .collect();
    assert_eq!(
        texts,
        [
            "Server.1: unknown key, did you mean server.*?",
            "fooBar: unknown key",
            "nio.numWorkerThreads=4: ignored, tunes threads of the JVM server; this one sizes itself",
            "connectionMaxTokens: a label of the documentation, the key is connection_throttle_tokens",
        ]
    );
}

#[test]
fn strict_config_takes_values_as_written() {
    let home = Home::new();
    home.write(
        "zoo.cfg",
        "strictConfig=true\ndataDir=$HOME\nclientPort=2181 # x\n",
    );
    let error = home.load().expect_err("strict");
    assert!(
        error.starts_with("$HOME/zoo.cfg:3: clientPort=2181 # x: expected"),
        "{error}"
    );
}

#[test]
fn a_missing_file_is_named() {
    let error = Home::new().load().expect_err("nothing there");
    assert_eq!(error, "cannot read $HOME/zoo.cfg");
}
