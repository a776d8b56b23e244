//! Reading commands: from a terminal, with a line editor, or from standard input.

use std::io::{BufRead as _, Write as _};

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{Context, Editor, Helper};
use tokio::runtime::{Handle, Runtime};
use zk_client::Client;

use super::commands::COMMANDS;
use super::failure::Failure;
use super::shell::Shell;
use super::show::complain;

/// Where the lines of earlier days are, below the home directory.
const HISTORY: &str = ".zkcli_history";

/// Reads and does commands until there are no more. Returns what the last one ended with.
pub(crate) fn run(runtime: &Runtime, shell: &mut Shell, is_terminal: bool) -> u8 {
    shell.is_interactive = true;
    let started = {
        let _entered = runtime.enter();
        shell.start()
    };
    if let Err(failure) = started {
        complain(&failure.to_string());
        return 2;
    }
    if is_terminal {
        edit(runtime, shell)
    } else {
        read(runtime, shell)
    }
}

/// Does what a line says; `None` to leave.
fn execute(runtime: &Runtime, shell: &mut Shell, line: &str) -> Option<u8> {
    match runtime.block_on(shell.execute_line(line)) {
        Ok(()) => Some(0),
        Err(Failure::Quit) => None,
        Err(failure) => {
            complain(&failure.to_string());
            Some(failure.exit_code())
        }
    }
}

fn prompt(shell: &Shell) -> String {
    let (server, state, number) = (&shell.server, shell.state(), shell.number);
    format!("[zk: {server}({state}) {number}] ")
}

fn read(runtime: &Runtime, shell: &mut Shell) -> u8 {
    let mut code = 0;
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        if line.trim().is_empty() {
            continue;
        }
        // The first command waits for the connection by itself.
        let _closed = writeln!(std::io::stdout(), "{}{line}", prompt(shell));
        match execute(runtime, shell, &line) {
            Some(now) => code = now,
            None => break,
        }
    }
    code
}

fn edit(runtime: &Runtime, shell: &mut Shell) -> u8 {
    let mut editor = match Editor::<Words, DefaultHistory>::new() {
        Ok(editor) => editor,
        Err(err) => {
            complain(&format!("no line editing: {err}"));
            return read(runtime, shell);
        }
    };
    let history = history();
    if let Some(history) = &history {
        // There is none yet on the first day.
        let _none = editor.load_history(history);
    }
    let mut code = 0;
    loop {
        editor.set_helper(Some(Words {
            runtime: runtime.handle().clone(),
            client: shell.client().ok(),
        }));
        let line = match editor.readline(&prompt(shell)) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(_) => break,
        };
        if !line.trim().is_empty() {
            let _full = editor.add_history_entry(line.as_str());
        }
        match execute(runtime, shell, &line) {
            Some(now) => code = now,
            None => break,
        }
    }
    if let Some(history) = &history {
        // Not to be kept is no reason to fail.
        let _lost = editor.save_history(history);
    }
    code
}

/// The file of `ZKCLI_HISTORY`, or one at home; none if that is set and empty.
fn history() -> Option<std::path::PathBuf> {
    match std::env::var_os("ZKCLI_HISTORY") {
        Some(file) if file.is_empty() => None,
        Some(file) => Some(file.into()),
        None => Some(std::path::Path::new(&std::env::var_os("HOME")?).join(HISTORY)),
    }
}

/// Completes commands, and paths by what is there.
struct Words {
    runtime: Handle,
    client: Option<Client>,
}

impl Words {
    fn candidates(&self, line: &str) -> (usize, Vec<String>) {
        let start = line.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let word = line.get(start..).unwrap_or_default();
        if start == 0 {
            let names = COMMANDS.iter().map(|command| command.name.to_owned());
            return (0, names.filter(|name| name.starts_with(word)).collect());
        }
        let Some((parent, begun)) = word.rsplit_once('/') else {
            return (start, Vec::new());
        };
        let Some(client) = self
            .client
            .as_ref()
            .filter(|client| client.state().borrow().is_connected())
        else {
            return (start, Vec::new());
        };
        let path = if parent.is_empty() { "/" } else { parent };
        let found = self.runtime.block_on(async { client.children(path).await });
        let mut names = found.ok().flatten().unwrap_or_default();
        names.retain(|name| name.starts_with(begun));
        names.sort_unstable();
        let paths = names.into_iter().map(|name| format!("{parent}/{name}"));
        (start, paths.collect())
    }
}

impl Completer for Words {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.candidates(line.get(..at).unwrap_or_default()))
    }
}

impl Hinter for Words {
    type Hint = String;
}

impl Highlighter for Words {}

impl Validator for Words {}

impl Helper for Words {}
