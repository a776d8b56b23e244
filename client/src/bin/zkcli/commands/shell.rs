use super::super::failure::Failure;
use super::super::shell::Shell;
use super::super::show::say;
use super::{find, usage_of, usages};

pub(super) async fn close(shell: &mut Shell, _: &[String]) -> Result<(), Failure> {
    shell.client()?;
    shell.close().await;
    Ok(())
}

pub(super) async fn connect(shell: &mut Shell, words: &[String]) -> Result<(), Failure> {
    shell.close().await;
    if let Some(server) = words.first() {
        shell.server.clone_from(server);
    }
    if shell.is_interactive {
        shell.start()
    } else {
        shell.open(false).await
    }
}

pub(super) async fn quit(_: &mut Shell, _: &[String]) -> Result<(), Failure> {
    Err(Failure::Quit)
}

pub(super) async fn help(_: &mut Shell, words: &[String]) -> Result<(), Failure> {
    let Some(name) = words.first() else {
        say(usages().trim_end());
        return Ok(());
    };
    if find(name).is_none() {
        return Err(Failure::NoCommand(name.clone()));
    }
    say(usage_of(name));
    Ok(())
}

pub(super) async fn version(_: &mut Shell, _: &[String]) -> Result<(), Failure> {
    say(concat!(
        "ZooKeeper CLI version: ",
        env!("CARGO_PKG_VERSION"),
        "-zkcli"
    ));
    Ok(())
}

pub(super) async fn history(shell: &mut Shell, _: &[String]) -> Result<(), Failure> {
    for (number, line) in shell.history() {
        say(&format!("{number} - {line}"));
    }
    Ok(())
}

pub(super) async fn redo(shell: &mut Shell, words: &[String]) -> Result<(), Failure> {
    let number = words
        .first()
        .ok_or_else(|| Failure::said(usage_of("redo")))?;
    let known = number.parse().ok().and_then(|number: usize| {
        let mut known = shell.history().iter();
        known.find(|(known, _)| *known == number)
    });
    let Some((_, line)) = known else {
        return Err(Failure::said("Command index out of range"));
    };
    let line = line.clone();
    if line.starts_with("redo") {
        return Err(Failure::said("No redoing redos"));
    }
    let words = super::super::words::split(&line);
    Box::pin(shell.execute(&words)).await
}
