use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use zk_client::{Ace, Acl, AclTextError, Auth, Client, CreateMode, Error, ErrorKind, Ttl, Version};

use super::super::failure::Failure;
use super::super::options::parse;
use super::super::shell::Shell;
use super::super::show::{self, complain, say};
use super::usage_of;

/// Znodes whose ACL is set at once.
const BATCH: usize = 100;
/// How long `sync` and `deleteall` leave a single request.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn create(shell: &mut Shell, words: &[String]) -> Result<(), Failure> {
    let options = parse(words, usage_of("create"), &["s", "e", "c"], &["t"])?;
    let (is_sequential, is_ephemeral) = (options.has("s"), options.has("e"));
    let is_container = options.has("c");
    let ttl: Option<i64> = options.number("t", "-t argument must be a long value")?;
    if is_container && (is_sequential || is_ephemeral) {
        return Err(Failure::said(
            "-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential.",
        ));
    }
    if ttl.is_some() && is_ephemeral {
        return Err(Failure::said("TTLs cannot be used with Ephemeral znodes"));
    }
    if ttl.is_some() && is_container {
        return Err(Failure::said("TTLs cannot be used with Container znodes"));
    }
    let ttl = ttl.map(|ms| {
        let ms = u64::try_from(ms).unwrap_or_default();
        Ttl::new(Duration::from_millis(ms)).map_err(|_| {
            let max = Ttl::MAX_MS;
            Failure::said(format!(
                "ttl must be positive and cannot be larger than: {max}"
            ))
        })
    });
    let mode = match (is_ephemeral, is_sequential, ttl.transpose()?) {
        _ if is_container => CreateMode::Container,
        (_, false, Some(ttl)) => CreateMode::PersistentWithTtl(ttl),
        (_, true, Some(ttl)) => CreateMode::PersistentSequentialWithTtl(ttl),
        (false, false, None) => CreateMode::Persistent,
        (false, true, None) => CreateMode::PersistentSequential,
        (true, false, None) => CreateMode::Ephemeral,
        (true, true, None) => CreateMode::EphemeralSequential,
    };
    let path = options.word(0)?;
    Failure::check_path(path, is_sequential)?;
    let data = options.get(1).unwrap_or_default().as_bytes().to_vec();
    let client = shell.client()?;
    let mut request = client.create(path, data).mode(mode);
    if let Some(text) = options.get(2) {
        request = request.acl(acl(text)?);
    }
    let created = request.await.map_err(Failure::about(path))?;
    complain(&format!("Created {}", created.path));
    Ok(())
}

pub(super) async fn set(shell: &mut Shell, words: &[String]) -> Result<(), Failure> {
    let options = parse(words, usage_of("set"), &["s", "b"], &["v"])?;
    let (Some(path), Some(data)) = (options.get(0), options.get(1)) else {
        let help = " -b         Supply data in base64 format\n -s         Print znode stats \
                    additionally\n -v <arg>   Set with an expected version\n";
        return Err(Failure::said(format!("{}\n{help}", usage_of("set"))));
    };
    Failure::check_path(path, false)?;
    let version = options.number("v", "-v argument must be an int value")?;
    let data = if options.has("b") {
        let decoded = STANDARD.decode(data);
        decoded.map_err(|err| Failure::said(format!("the data is no base64: {err}")))?
    } else {
        data.as_bytes().to_vec()
    };
    let client = shell.client()?;
    let stat = client
        .set(path, data)
        .version(version.unwrap_or(Version::ANY.get()))
        .await
        .map_err(Failure::about(path))?;
    if options.has("s") {
        say(&show::stat(&stat));
    }
    Ok(())
}

pub(super) async fn delete(shell: &mut Shell, words: &[String]) -> Result<(), Failure> {
    let options = parse(words, usage_of("delete"), &[], &["v"])?;
    let path = options.path(0)?;
    let version = match options.get(1) {
        None => options.number("v", "-v argument must be an int value")?,
        Some(version) => {
            complain(
                "'delete path [version]' has been deprecated. Please use 'delete [-v version] \
                 path' instead.",
            );
            let version = version.parse().ok();
            Some(version.ok_or_else(|| Failure::said("the version must be an int value"))?)
        }
    };
    let client = shell.client()?;
    let delete = client
        .delete(path)
        .version(version.unwrap_or(Version::ANY.get()));
    delete.await.map_err(Failure::about(path))
}

pub(super) async fn delete_all(shell: &mut Shell, words: &[String]) -> Result<(), Failure> {
    let options = parse(words, usage_of("deleteall"), &[], &["b"])?;
    let path = options.path(0)?;
    // The client has a size of its own for what is deleted at once.
    let _batch: Option<u32> = options.number("b", "-b argument must be an int value")?;
    let client = shell.client()?.with_timeout(PATIENCE);
    let missing = || Failure::said(format!("Node does not exist: {path}"));
    if path != "/" || client.chroot_path() != "/" {
        client
            .exists(path)
            .await
            .map_err(Failure::about(path))?
            .ok_or_else(missing)?;
        let deleted = client.delete_tree(path).await;
        return deleted.map(drop).map_err(Failure::about(path));
    }
    // The root stays, and what the servers keep below it.
    let names = client.children("/").await.map_err(Failure::about("/"))?;
    for name in names.unwrap_or_default() {
        if name != "zookeeper" {
            let path = format!("/{name}");
            let deleted = client.delete_tree(&path).await;
            deleted.map_err(Failure::about(&path))?;
        }
    }
    complain("Failed to delete some node(s) in the subtree!");
    Ok(())
}

pub(super) async fn set_acl(shell: &mut Shell, words: &[String]) -> Result<(), Failure> {
    let options = parse(words, usage_of("setAcl"), &["s", "R"], &["v"])?;
    let (path, text) = (options.path(0)?, options.word(1)?);
    let version: Option<i32> = options.number("v", "-v argument must be an int value")?;
    let acl = acl(text)?;
    let client = shell.client()?;
    if options.has("R") {
        let mut paths = vec![path.to_owned()];
        let mut tree = client.list_tree(path);
        while let Some(found) = tree.next().await {
            paths.push(found.map_err(Failure::about(path))?);
        }
        paths.dedup();
        for batch in paths.chunks(BATCH) {
            let set = batch.iter().map(|path| {
                let set = client.set_acl(path, acl.clone());
                async move { (path, set.version(version.unwrap_or(-1)).await) }
            });
            for (path, result) in join_all(set).await {
                match result {
                    // Somebody deleted it meanwhile.
                    Err(error) if error.kind() == ErrorKind::NoNode && paths.len() > 1 => {}
                    result => _ = result.map_err(Failure::about(path))?,
                }
            }
        }
        return Ok(());
    }
    let set = client.set_acl(path, acl).version(version.unwrap_or(-1));
    let stat = set.await.map_err(Failure::about(path))?;
    if options.has("s") {
        say(&show::stat(&stat));
    }
    Ok(())
}

pub(super) async fn add_auth(shell: &mut Shell, words: &[String]) -> Result<(), Failure> {
    let options = parse(words, usage_of("addauth"), &[], &[])?;
    let (scheme, auth) = (options.word(0)?, options.get(1).unwrap_or_default());
    let client = shell.client()?;
    let auth = Auth::new(scheme.to_owned(), auth.as_bytes().to_vec());
    let about = Failure::about(scheme);
    client.add_auth(auth).await.map_err(about)
}

/// `scheme:id:perms[,…]`: the id may hold colons.
fn acl(text: &str) -> Result<Acl, Failure> {
    let entry = |text: &str| {
        text.parse::<Ace>().map_err(|err| {
            if let AclTextError::UnknownPerm { letter, .. } = err {
                return Failure::said(format!("Unknown perm type: {letter}"));
            }
            let told = format!("{text} does not have the form scheme:id:perm");
            Failure::said(format!("{told}\nAcl is not valid : null"))
        })
    };
    let entries = text.split(',').map(entry);
    Ok(Acl::of(entries.collect::<Result<Vec<_>, _>>()?))
}

/// Creates a znode and its ancestors, or sets its data.
///
/// # Errors
/// What the servers say.
pub(super) async fn put(client: &Client, path: &str, data: String) -> Result<(), Error> {
    let parent = path.rsplit_once('/').map_or("/", |(parent, _)| parent);
    client.ensure_path(parent).await?;
    client.create(path, data).or_set().await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acls_are_read_with_colons_in_the_id() {
        let read = acl("world:anyone:cdrwa,digest:bob:abc=:r").unwrap();
        assert_eq!(
            show::acl(&read),
            "'world,'anyone\n: cdrwa\n'digest,'bob:abc=\n: r"
        );
        assert!(
            acl("bad")
                .unwrap_err()
                .to_string()
                .starts_with("bad does not have")
        );
        assert_eq!(
            acl("world:anyone:rz").unwrap_err().to_string(),
            "Unknown perm type: z"
        );
    }
}
