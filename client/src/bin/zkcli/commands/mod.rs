//! The commands: a table of them, and one file for each family.

mod ensemble;
mod quota;
mod read;
mod shell;
mod watch;
mod write;

use std::fmt::Write as _;

use futures_util::future::BoxFuture;

use super::failure::Failure;
use super::shell::Shell;

/// What a command gives back.
pub(super) type Done<'a> = BoxFuture<'a, Result<(), Failure>>;

/// A command.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) name: &'static str,
    /// Its name, and what stands behind it.
    usage: &'static str,
    pub(crate) run: for<'a> fn(&'a mut Shell, &'a [String]) -> Done<'a>,
}

macro_rules! commands {
    ($( $name:literal $arguments:literal => $run:path ),* $(,)?) => {
        /// All commands, sorted by name as the reference sorts them.
        pub(crate) static COMMANDS: &[Command] = &[
            $( Command { name: $name, usage: concat!($name, " ", $arguments), run: |shell, words| Box::pin($run(shell, words)) }, )*
        ];
    };
}

commands! {
    "addWatch" "[-m mode] path # optional mode is one of [PERSISTENT, PERSISTENT_RECURSIVE] - default is PERSISTENT_RECURSIVE" => watch::add_watch,
    "addauth" "scheme auth" => write::add_auth,
    "close" "" => shell::close,
    "config" "[-c] [-w] [-s]" => ensemble::config,
    "connect" "host:port" => shell::connect,
    "create" "[-s] [-e] [-c] [-t ttl] path [data] [acl]" => write::create,
    "delete" "[-v version] path" => write::delete,
    "deleteall" "path [-b batch size]" => write::delete_all,
    "delquota" "[-n|-b|-N|-B] path" => quota::delete,
    "exit" "" => shell::quit,
    "get" "[-s] [-w] [-b] [-x] path" => read::get,
    "getAcl" "[-s] path" => read::get_acl,
    "getAllChildrenNumber" "path" => read::get_all_children_number,
    "getEphemerals" "path" => read::get_ephemerals,
    "help" "[command]" => shell::help,
    "history" "" => shell::history,
    "listquota" "path" => quota::list,
    "ls" "[-s] [-w] [-R] path" => read::ls,
    "printwatches" "on|off" => watch::print_watches,
    "quit" "" => shell::quit,
    "reconfig" "[-s] [-v version] [[-file path] | [-members serverID=host:port1:port2;port3[,...]*]] | [-add serverId=host:port1:port2;port3[,...]]* [-remove serverId[,...]*]" => ensemble::reconfig,
    "redo" "cmdno" => shell::redo,
    "removewatches" "path [-c|-d|-a] [-l]" => watch::remove_watches,
    "set" "path data [-s] [-v version] [-b]" => write::set,
    "setAcl" "[-s] [-v version] [-R] path acl" => write::set_acl,
    "setquota" "-n|-b|-N|-B val path" => quota::set,
    "stat" "[-w] path" => read::stat,
    "sync" "path" => read::sync,
    "version" "" => shell::version,
    "whoami" "" => read::who_am_i,
}

/// The command of this name.
pub(crate) fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}

/// How a command is used.
pub(super) fn usage_of(name: &str) -> &'static str {
    find(name).map_or("", |command| command.usage)
}

/// How the program and all commands are used.
pub(crate) fn usages() -> String {
    let mut text =
        "zkcli -server host:port -timeout ms -r -waitforconnection -client-configuration properties-file cmd args\n".to_owned();
    for command in COMMANDS {
        let _infallible = writeln!(text, "\t{}", command.usage);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_sorted_and_found() {
        assert!(COMMANDS.is_sorted_by_key(|command| command.name));
        assert!(find("getAcl").is_some() && find("rmr").is_none());
        assert_eq!(usage_of("sync"), "sync path");
    }
}
