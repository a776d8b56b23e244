use std::sync::atomic::Ordering;

use super::super::failure::Failure;
use super::super::options::parse;
use super::super::shell::{Kind, Shell};
use super::super::show::say;
use super::usage_of;

pub(super) async fn add_watch(shell: &mut Shell, words: &[String]) -> Result<(), Failure> {
    let options = parse(words, usage_of("addWatch"), &[], &["m"])?;
    let path = options.path(0)?;
    let client = shell.client()?;
    let (kind, watch) = match options.value("m").unwrap_or("PERSISTENT_RECURSIVE") {
        "PERSISTENT" => (Kind::Persistent, client.watch_node(path)),
        "PERSISTENT_RECURSIVE" => (Kind::Recursive, client.watch_tree(path)),
        _ => return Err(options.usage()),
    };
    let stream = watch.await.map_err(Failure::about(path))?;
    shell.follow(path, kind, stream);
    Ok(())
}

pub(super) async fn remove_watches(shell: &mut Shell, words: &[String]) -> Result<(), Failure> {
    let flags = ["c", "d", "a", "p", "r", "l"];
    let options = parse(words, usage_of("removewatches"), &flags, &[])?;
    let path = options.path(0)?;
    shell.client()?;
    let wanted = |kind| match kind {
        Kind::Data => options.has("d"),
        Kind::Children => options.has("c"),
        Kind::Persistent => options.has("p"),
        Kind::Recursive => options.has("r"),
    };
    let kinds = [
        Kind::Data,
        Kind::Children,
        Kind::Persistent,
        Kind::Recursive,
    ];
    let any = options.has("a") || !kinds.into_iter().any(wanted);
    if shell.forget(|watch| watch.path == path && (any || wanted(watch.kind))) {
        Ok(())
    } else {
        let text = format!("KeeperErrorCode = No such watcher for {path}");
        Err(Failure::said(text))
    }
}

pub(super) async fn print_watches(shell: &mut Shell, words: &[String]) -> Result<(), Failure> {
    let prints = &shell.prints_watches;
    match words.first().map(String::as_str) {
        None => {
            let is_on = prints.load(Ordering::Relaxed);
            say(&format!(
                "printwatches is {}",
                if is_on { "on" } else { "off" }
            ));
        }
        Some(word) => prints.store(word == "on", Ordering::Relaxed),
    }
    Ok(())
}
