use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::failure::Failure;
use super::super::options::parse;
use super::super::shell::{Kind, Shell};
use super::super::show::{self, complain, list, say};
use super::usage_of;
use zk_client::{Error, Stat};

/// For a read that found nothing.
fn missing(path: &str) -> Failure {
    Failure::said(format!("Node does not exist: {path}"))
}

pub(super) async fn ls(shell: &mut Shell, words: &[String]) -> Result<(), Failure> {
    if words.first().is_some_and(|word| word == "-?") {
        say("usage: ls [options] path\n -?   help\n -R   recurse\n -s   stat\n -w   watch");
        return Ok(());
    }
    let options = parse(words, usage_of("ls"), &["s", "w", "R"], &[])?;
    let path = options.path(0)?;
    let is_old = options.get(1).is_some();
    if is_old {
        complain("'ls path [watch]' has been deprecated. Please use 'ls [-w] path' instead.");
    }
    let client = shell.client()?;
    let failed = Failure::about(path);
    if options.has("R") {
        // All children of a znode come before theirs.
        say(path);
        let mut open = vec![path.to_owned()];
        while let Some(parent) = open.pop() {
            let Some(mut names) = client.children(&parent).await.map_err(&failed)? else {
                if parent == path {
                    return Err(missing(path));
                }
                continue;
            };
            names.sort_unstable();
            let base = if parent == "/" { "" } else { &parent };
            let below: Vec<_> = names.iter().map(|name| format!("{base}/{name}")).collect();
            for path in &below {
                say(path);
            }
            open.extend(below.into_iter().rev());
        }
        return Ok(());
    }
    let read = client.children(path).with_stat();
    let (mut names, stat) = if options.has("w") || is_old {
        let (names, stat, watch) = read.watch().await.map_err(failed)?;
        shell.hold(path, Kind::Children, watch);
        (names, stat)
    } else {
        read.await.map_err(failed)?.ok_or_else(|| missing(path))?
    };
    names.sort_unstable();
    say(&list(&names));
    say_stat(options.has("s"), &stat);
    Ok(())
}

fn say_stat(wanted: bool, stat: &Stat) {
    if wanted {
        say(&show::stat(stat));
    }
}

pub(super) async fn get(shell: &mut Shell, words: &[String]) -> Result<(), Failure> {
    let options = parse(words, usage_of("get"), &["s", "w", "b", "x"], &[])?;
    let Some(path) = options.get(0) else {
        let help = " -b   Output data in base64 format\n -s   Print znode stats additionally\n \
                    -w   Watch for changes on the znode\n -x   Output data in hexdump format\n";
        return Err(Failure::said(format!("{}\n{help}", usage_of("get"))));
    };
    Failure::check_path(path, false)?;
    let is_old = options.get(1).is_some();
    if is_old {
        complain(
            "'get path [watch]' has been deprecated. Please use 'get [-s] [-w] path' instead.",
        );
    }
    let client = shell.client()?;
    let node = if options.has("w") || is_old {
        let (node, watch) = client
            .get(path)
            .watch()
            .await
            .map_err(Failure::about(path))?;
        shell.hold(path, Kind::Data, watch);
        node
    } else {
        let found = client.get(path).await.map_err(Failure::about(path))?;
        found.ok_or_else(|| missing(path))?
    };
    say(&if options.has("b") {
        STANDARD.encode(&node.data)
    } else if options.has("x") {
        show::hex_table(&node.data)
    } else {
        String::from_utf8_lossy(&node.data).into_owned()
    });
    say_stat(options.has("s"), &node.stat);
    Ok(())
}

pub(super) async fn stat(shell: &mut Shell, words: &[String]) -> Result<(), Failure> {
    let options = parse(words, usage_of("stat"), &["w"], &[])?;
    let path = options.path(0)?;
    let client = shell.client()?;
    let is_old = options.get(1).is_some();
    if is_old {
        complain("'stat path [watch]' has been deprecated. Please use 'stat [-w] path' instead.");
    }
    let found = if options.has("w") || is_old {
        let (found, watch) = client
            .exists(path)
            .watch()
            .await
            .map_err(Failure::about(path))?;
        shell.hold(path, Kind::Data, watch);
        found
    } else {
        client.exists(path).await.map_err(Failure::about(path))?
    };
    say(&show::stat(&found.ok_or_else(|| missing(path))?));
    Ok(())
}

pub(super) async fn get_acl(shell: &mut Shell, words: &[String]) -> Result<(), Failure> {
    let options = parse(words, usage_of("getAcl"), &["s"], &[])?;
    let path = options.path(0)?;
    let found = shell.client()?.get_acl(path).await;
    let (acl, stat) = found
        .map_err(Failure::about(path))?
        .ok_or_else(|| missing(path))?;
    say(&show::acl(&acl));
    say_stat(options.has("s"), &stat);
    Ok(())
}

pub(super) async fn get_all_children_number(
    shell: &mut Shell,
    words: &[String],
) -> Result<(), Failure> {
    let options = parse(words, usage_of("getAllChildrenNumber"), &[], &[])?;
    let path = options.path(0)?;
    let count = shell.client()?.count_descendants(path).await;
    say(&count.map_err(Failure::about(path))?.to_string());
    Ok(())
}

pub(super) async fn get_ephemerals(shell: &mut Shell, words: &[String]) -> Result<(), Failure> {
    let options = parse(words, usage_of("getEphemerals"), &[], &[])?;
    let prefix = options.get(0).unwrap_or("/");
    Failure::check_path(prefix, false)?;
    let found = shell.client()?.ephemerals(prefix).await;
    let mut paths = found.map_err(Failure::about(prefix))?;
    paths.sort_unstable();
    say(&list(&paths));
    Ok(())
}

pub(super) async fn sync(shell: &mut Shell, words: &[String]) -> Result<(), Failure> {
    let options = parse(words, usage_of("sync"), &[], &[])?;
    let path = options.path(0)?;
    let synced = shell.client()?.sync(path).await;
    synced.map_err(|error: Error| Failure::said(format!("Sync has failed. {error}")))?;
    say("Sync is OK");
    Ok(())
}

pub(super) async fn who_am_i(shell: &mut Shell, words: &[String]) -> Result<(), Failure> {
    parse(words, usage_of("whoami"), &[], &[])?;
    let found = shell.client()?.who_am_i().await;
    say("Auth scheme: User");
    for identity in found.map_err(Failure::about("null"))? {
        let text = |part: &Option<_>| {
            part.as_ref()
                .map_or_else(|| "null".to_owned(), ToString::to_string)
        };
        say(&format!(
            "{}: {}",
            text(&identity.auth_scheme),
            text(&identity.user)
        ));
    }
    Ok(())
}
