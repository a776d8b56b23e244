use zk_client::members;

use super::super::failure::Failure;
use super::super::options::parse;
use super::super::properties::Properties;
use super::super::shell::{Kind, Shell};
use super::super::show::{self, say};
use super::usage_of;

const CONFIG: &str = "/zookeeper/config";

pub(super) async fn config(shell: &mut Shell, words: &[String]) -> Result<(), Failure> {
    let options = parse(words, usage_of("config"), &["c", "w", "s"], &[])?;
    let client = shell.client()?;
    let node = if options.has("w") {
        let (node, watch) = client
            .get_config()
            .watch()
            .await
            .map_err(Failure::about(CONFIG))?;
        shell.hold(CONFIG, Kind::Data, watch);
        node
    } else {
        client.get_config().await.map_err(Failure::about(CONFIG))?
    };
    let text = String::from_utf8_lossy(&node.data);
    if options.has("c") {
        say(&clients(&text));
    } else {
        say(&text);
    }
    if options.has("s") {
        say(&show::stat(&node.stat));
    }
    Ok(())
}

/// The version, and where clients reach the members; nothing from a server that stands alone.
fn clients(config: &str) -> String {
    let Some((_, version)) = config.rsplit_once("version=") else {
        return String::new();
    };
    let members = members(config.as_bytes());
    let addresses = members.iter().filter_map(|member| {
        let (host, port) = member.client.as_ref()?;
        Some(format!("{host}:{port}"))
    });
    format!("{version} {}", addresses.collect::<Vec<_>>().join(","))
}

pub(super) async fn reconfig(shell: &mut Shell, words: &[String]) -> Result<(), Failure> {
    let values = ["v", "file", "members", "add", "remove"];
    let options = parse(words, usage_of("reconfig"), &["s"], &values)?;
    let version = options.value("v").map(|text| i64::from_str_radix(text, 16));
    let version = version
        .transpose()
        .map_err(|_| Failure::said("-v must be followed by a long (configuration version)"))?;
    let join = |name| {
        let values: Vec<_> = options.values(name).collect();
        (!values.is_empty()).then(|| values.join(","))
    };
    let (joining, leaving) = (join("add"), join("remove"));
    let members = match (options.value("file"), join("members")) {
        (Some(_), Some(_)) => {
            return Err(Failure::said("Can't use -file and -members together"));
        }
        (Some(file), None) => {
            let text = std::fs::read_to_string(file)
                .map_err(|err| Failure::said(format!("cannot read {file}: {err}")))?;
            Some(members_of(&text)?)
        }
        (None, members) => members,
    };
    if members.is_none() && joining.is_none() && leaving.is_none() {
        return Err(options.usage());
    }
    if members.is_some() && (joining.is_some() || leaving.is_some()) {
        return Err(Failure::said(
            "Can't use -file or -members together with -add or -remove (mixing incremental and \
             non-incremental modes is not allowed)",
        ));
    }
    let client = shell.client()?;
    let mut request = client.reconfig();
    for (text, add) in [(joining, 0), (leaving, 1), (members, 2)] {
        let Some(text) = text else { continue };
        request = match add {
            0 => request.joining(&text),
            1 => request.leaving(&text),
            _ => request.members(&text),
        };
    }
    if let Some(version) = version {
        request = request.version(version);
    }
    let node = request.await.map_err(Failure::about(CONFIG))?;
    say("Committed new configuration:");
    say(&String::from_utf8_lossy(&node.data));
    if options.has("s") {
        say(&show::stat(&node.stat));
    }
    Ok(())
}

/// The members that a file tells, their groups and weights, as a request has them.
///
/// # Source
/// Apache `ZooKeeper` 3.9, `ReconfigCommand#parse`, `QuorumPeerConfig#parseDynamicConfig`.
///
/// # Errors
/// The first key that is no part of it.
fn members_of(text: &str) -> Result<String, Failure> {
    let file = Properties::parse(text);
    let mut lines = Vec::new();
    for (key, value) in file.pairs() {
        if ["server.", "group.", "weight."]
            .iter()
            .any(|start| key.starts_with(start))
        {
            lines.push(format!("{key}={value}"));
        } else if key != "version" {
            return Err(Failure::said(format!("Unrecognised parameter: {key}")));
        }
    }
    Ok(lines.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_tells_members_with_their_groups_and_weights() {
        let text = "# members\nserver.1 = h1:1:2\\\n  ;2181\nserver.2=h2\\:1\\:2:observer;h2:2182\n\
                    group.1=1\ngroup.2:2\nweight.1 3\nversion=100000002\n";
        assert_eq!(
            members_of(text).unwrap(),
            "group.1=1,group.2=2,server.1=h1:1:2;2181,server.2=h2:1:2:observer;h2:2182,weight.1=3"
        );
        let Err(failure) = members_of("sever.1=h1:1:2") else {
            panic!("a key that is none");
        };
        assert_eq!(failure.to_string(), "Unrecognised parameter: sever.1");
    }

    #[test]
    fn clients_are_told_version_and_addresses() {
        let config = "server.1=h:1:2:participant;0.0.0.0:22301\n\
                      server.2=h:3:4:participant;0.0.0.0:22302\nversion=10000002e";
        assert_eq!(clients(config), "10000002e 0.0.0.0:22301,0.0.0.0:22302");
        assert_eq!(clients(""), "");
    }
}
