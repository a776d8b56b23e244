//! Every operation on a real server: what it does, and each error that it can end in.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

#[path = "../common/mod.rs"]
mod common;

mod create;
mod write;

mod acl;
mod limits;

mod read;
mod transaction;

mod observe;
mod tree;
mod update;

mod admin;
mod chroot;

use zk_client::Auth;

fn sorted(names: Option<Vec<String>>) -> Vec<String> {
    let mut names = names.expect("the znode exists");
    names.sort_unstable();
    names
}

fn bob() -> Auth {
    Auth::digest("bob", "secret")
}
