use zk_client::{Acl, CreateMode, Error, ErrorKind, Session};

use super::retry::settled;

/// What becomes of the directory of a recipe when it is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Parents {
    /// It and its ancestors are created as containers, which the server deletes some time after their
    /// last child was; persistent on servers before 3.5.3, which have none.
    #[default]
    Container,
    /// They are created as persistent znodes.
    Persistent,
    /// It must exist: [`ErrorKind::NoNode`] otherwise.
    MustExist,
}

/// Makes a directory and what is missing above it, from the deepest ancestor that exists downwards, so
/// that no permission is needed near the root. What exists stays as it is.
pub(crate) async fn make_parents(
    session: &Session,
    path: &str,
    parents: Parents,
    acl: Option<&Acl>,
) -> Result<(), Error> {
    let mut mode = match parents {
        Parents::Container => CreateMode::Container,
        Parents::Persistent | Parents::MustExist => CreateMode::Persistent,
    };
    // The chroot may be missing too.
    let root = session.root();
    let mut missing = vec![join(session.chroot_path(), path)];
    while let Some(target) = missing.last() {
        let attempt = settled(|| async {
            let create = root.create(target, "").mode(mode);
            match acl {
                Some(acl) => create.acl(acl.clone()).if_absent().await,
                None => create.if_absent().await,
            }
        });
        match attempt.await {
            Ok(_) => {
                missing.pop();
            }
            Err(error) if error.kind() == ErrorKind::NoNode => match parent(target) {
                "/" => return Err(error),
                parent => {
                    let parent = parent.to_owned();
                    missing.push(parent);
                }
            },
            Err(error)
                if error.kind() == ErrorKind::Unimplemented && mode == CreateMode::Container =>
            {
                mode = CreateMode::Persistent;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The path of a znode's parent.
pub(crate) fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((parent, _)) => parent,
    }
}

/// The last component of a path.
pub(crate) fn name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// The path of a child.
pub(crate) fn join(parent: &str, name: &str) -> String {
    let name = name.strip_prefix('/').unwrap_or(name);
    match (parent, name) {
        ("/", name) => format!("/{name}"),
        (parent, "") => parent.to_owned(),
        (parent, name) => format!("{parent}/{name}"),
    }
}

/// Who this process is, as far as it can tell: `host:pid`.
pub(crate) fn default_identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let host = if host.is_empty() { "unknown" } else { host };
    format!("{host}:{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart_and_put_together() {
        assert_eq!(
            (parent("/a/b"), parent("/a"), parent("/")),
            ("/a", "/", "/")
        );
        assert_eq!((name("/a/b"), name("/a")), ("b", "a"));
        assert_eq!(join("/", "a"), "/a");
        assert_eq!(join("/a", "b"), "/a/b");
        assert_eq!(join("/app", "/locks/a"), "/app/locks/a");
        assert_eq!(join("/app", "/"), "/app");
        assert_eq!(join("/", "/"), "/");
    }
}
