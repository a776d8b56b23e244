//! What servers in containers are told: a `zoo.cfg` for a binary of ours, variables for a published
//! image.

use super::super::properties::Properties;
use super::error::ContainerError;

/// Where servers listen in their containers.
pub(super) const CLIENT_PORT: u16 = 2181;
const QUORUM_PORT: u16 = 2888;
const ELECTION_PORT: u16 = 3888;

/// Where a server of ours has its data.
pub(super) const DATA_DIR: &str = "/data";

/// Keys of `zoo.cfg` that the official image has variables for. It reads all others, and these as
/// well, from `ZOO_CFG_EXTRA`; but the value of a variable that is not set is in the file, too.
const VARIABLES: [(&str, &str); 7] = [
    ("tickTime", "ZOO_TICK_TIME"),
    ("initLimit", "ZOO_INIT_LIMIT"),
    ("syncLimit", "ZOO_SYNC_LIMIT"),
    ("maxClientCnxns", "ZOO_MAX_CLIENT_CNXNS"),
    ("standaloneEnabled", "ZOO_STANDALONE_ENABLED"),
    ("admin.enableServer", "ZOO_ADMINSERVER_ENABLED"),
    ("4lw.commands.whitelist", "ZOO_4LW_COMMANDS_WHITELIST"),
];

/// The whole ensemble, as each of its servers must know it.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Host names by which the servers find each other.
    pub(super) hosts: Vec<String>,
    /// How many of them vote; the others observe.
    pub(super) voters: usize,
    /// Keys of `zoo.cfg` that win over ours.
    pub(super) settings: Vec<(String, String)>,
}

impl Plan {
    /// The `zoo.cfg` of a server.
    pub(super) fn zoo_cfg(&self) -> String {
        let mut cfg = Properties::default();
        cfg.set("dataDir", DATA_DIR);
        cfg.set_all(&self.common());
        if self.is_alone() {
            cfg.set("clientPort", CLIENT_PORT);
        }
        for (key, line) in self.members() {
            cfg.set(key, line);
        }
        cfg.set_all(&self.wanted());
        cfg.to_string()
    }

    /// The variables of a server in a container of a published image.
    ///
    /// # Source
    /// `docker-entrypoint.sh` of Docker's official `zookeeper` images, 3.5 to 3.9.
    pub(super) fn variables(&self, index: usize) -> Result<Vec<(String, String)>, ContainerError> {
        let mut variables = vec![("ZOO_MY_ID".to_owned(), (index + 1).to_string())];
        if !self.is_alone() {
            let members = self.members();
            let members = members.map(|(key, line)| format!("{key}={line}"));
            let members = members.collect::<Vec<_>>().join(" ");
            variables.push(("ZOO_SERVERS".to_owned(), members));
        }
        let mut all = self.common();
        all.set_all(&self.wanted());
        let mut extra = Vec::new();
        for (key, value) in all.entries() {
            match VARIABLES.iter().find(|(own, _)| own == key) {
                Some((_, variable)) => variables.push(((*variable).to_owned(), value.clone())),
                None if value.contains(char::is_whitespace) => {
                    return Err(ContainerError::Setting { key: key.clone() });
                }
                None => extra.push(format!("{key}={value}")),
            }
        }
        variables.push(("ZOO_CFG_EXTRA".to_owned(), extra.join(" ")));
        // A name that is not there yet, or again, is asked for anew each time.
        let flags = "-Dsun.net.inetaddr.ttl=0 -Dsun.net.inetaddr.negative.ttl=0";
        variables.push(("JVMFLAGS".to_owned(), flags.to_owned()));
        Ok(variables)
    }

    /// What all servers are told, beside who they are: as servers that are processes.
    fn common(&self) -> Properties {
        let mut cfg = Properties::default();
        cfg.set("tickTime", 200);
        cfg.set("initLimit", 150);
        cfg.set("syncLimit", 20);
        cfg.set("maxClientCnxns", 0);
        cfg.set("fastleader.maxNotificationInterval", 1000);
        cfg.set("admin.enableServer", false);
        cfg.set("4lw.commands.whitelist", "*");
        cfg.set("extendedTypesEnabled", true);
        if !self.is_alone() {
            cfg.set("standaloneEnabled", self.voters > 1);
            // A server that is cut off has no address by the name that the others know it by.
            cfg.set("quorumListenOnAllIPs", true);
        }
        cfg
    }

    fn wanted(&self) -> Properties {
        let mut cfg = Properties::default();
        for (key, value) in &self.settings {
            cfg.set(key, value);
        }
        cfg
    }

    fn is_alone(&self) -> bool {
        self.hosts.len() == 1
    }

    /// The `server.` lines; none for a server that stands alone.
    fn members(&self) -> impl Iterator<Item = (String, String)> {
        let hosts = if self.is_alone() {
            &[]
        } else {
            self.hosts.as_slice()
        };
        hosts.iter().enumerate().map(|(index, host)| {
            let role = if index < self.voters {
                "participant"
            } else {
                "observer"
            };
            let line = format!("{host}:{QUORUM_PORT}:{ELECTION_PORT}:{role};{CLIENT_PORT}");
            (format!("server.{}", index + 1), line)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(hosts: &[&str], voters: usize, settings: &[(&str, &str)]) -> Plan {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Plan {
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            voters,
            settings: settings.iter().map(owned).collect(),
        }
    }

    fn value<'a>(variables: &'a [(String, String)], name: &str) -> Option<&'a str> {
        let found = variables.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    #[test]
    fn members_of_a_published_image_are_told_by_variables() {
        let settings = [("tickTime", "500"), ("snapCount", "1000")];
        let plan = plan(&["a", "b", "c"], 2, &settings);
        let told = plan.variables(2).expect("it can be told");
        assert_eq!(value(&told, "ZOO_MY_ID"), Some("3"));
        assert_eq!(
            value(&told, "ZOO_SERVERS"),
            Some(
                "server.1=a:2888:3888:participant;2181 server.2=b:2888:3888:participant;2181 \
                 server.3=c:2888:3888:observer;2181"
            )
        );
        assert_eq!(value(&told, "ZOO_TICK_TIME"), Some("500"));
        assert_eq!(value(&told, "ZOO_SYNC_LIMIT"), Some("20"));
        assert_eq!(value(&told, "ZOO_STANDALONE_ENABLED"), Some("true"));
        assert_eq!(value(&told, "ZOO_ADMINSERVER_ENABLED"), Some("false"));
        assert_eq!(value(&told, "ZOO_4LW_COMMANDS_WHITELIST"), Some("*"));
        assert_eq!(
            value(&told, "ZOO_CFG_EXTRA"),
            Some(
                "fastleader.maxNotificationInterval=1000 extendedTypesEnabled=true \
                 quorumListenOnAllIPs=true snapCount=1000"
            )
        );
    }

    #[test]
    fn one_published_server_stands_alone() {
        let told = plan(&["a"], 1, &[]).variables(0).expect("it can be told");
        assert_eq!(value(&told, "ZOO_MY_ID"), Some("1"));
        assert_eq!(value(&told, "ZOO_SERVERS"), None);
        assert_eq!(value(&told, "ZOO_STANDALONE_ENABLED"), None);
    }

    #[test]
    fn a_setting_that_would_be_taken_for_two_is_refused() {
        let own = plan(&["a"], 1, &[("ssl.ciphersuites", "a, b")]);
        let error = own.variables(0).expect_err("it cannot be told");
        assert!(matches!(error, ContainerError::Setting { key } if key == "ssl.ciphersuites"));
        let listed = plan(&["a"], 1, &[("4lw.commands.whitelist", "srvr, conf")]);
        let told = listed.variables(0).expect("it has a variable of its own");
        let words = value(&told, "ZOO_4LW_COMMANDS_WHITELIST");
        assert_eq!(words, Some("srvr, conf"));
    }

    #[test]
    fn a_server_of_ours_reads_a_file() {
        let plan = plan(&["a", "b"], 2, &[("syncLimit", "7")]);
        let lines: Vec<_> = plan.zoo_cfg().lines().map(str::to_owned).collect();
        for line in [
            "dataDir=/data",
            "tickTime=200",
            "syncLimit=7",
            "server.1=a:2888:3888:participant;2181",
            "server.2=b:2888:3888:participant;2181",
            "quorumListenOnAllIPs=true",
        ] {
            assert!(lines.iter().any(|own| own == line), "{line} in {lines:?}");
        }
        assert!(!lines.iter().any(|own| own.starts_with("clientPort")));
    }
}
