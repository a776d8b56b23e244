//! Which text is good enough as a path: requests differ in what they look at.

use bytestring::ByteString;
use zk_proto::{ErrorCode, ZPath};

use crate::tree::{CONFIG_PATH, QUOTA_ROOT};

/// # Errors
/// [`ErrorCode::MarshallingError`] for null.
pub(super) fn present(path: Option<&ByteString>) -> Result<&ByteString, ErrorCode> {
    path.ok_or(ErrorCode::MarshallingError)
}

/// The path of the parent, of text that need not be a path. Empty for the root.
///
/// # Errors
/// [`ErrorCode::BadArguments`] if there is no slash, or a NUL.
pub(super) fn parent_of(path: &str) -> Result<&str, ErrorCode> {
    match path.rsplit_once('/') {
        Some((parent, _)) if !path.contains('\0') => Ok(parent),
        _ => Err(ErrorCode::BadArguments),
    }
}

/// The path of the parent of what is to be deleted.
///
/// # Errors
/// As [`parent_of`], and for znodes that every tree has.
///
/// # Source
/// Apache `ZooKeeper` 3.9, `PrepRequestProcessor#getParentPathAndValidate`.
pub(super) fn parent_of_removable(path: &str) -> Result<&str, ErrorCode> {
    if matches!(path, "/" | "/zookeeper" | QUOTA_ROOT | CONFIG_PATH) {
        return Err(ErrorCode::BadArguments);
    }
    parent_of(path)
}

/// The path of a request that looks at the text first of all.
///
/// # Errors
/// [`ErrorCode::BadArguments`] for null too.
///
/// # Source
/// Apache `ZooKeeper` 3.8 and 3.9, `PrepRequestProcessor#validatePath`.
pub(super) fn legal(path: Option<&ByteString>) -> Result<&ByteString, ErrorCode> {
    let path = path.ok_or(ErrorCode::BadArguments)?;
    check(path)?;
    Ok(path)
}

/// # Errors
/// [`ErrorCode::BadArguments`] for text that is no path.
pub(super) fn check(path: &str) -> Result<(), ErrorCode> {
    match ZPath::new(path) {
        Ok(_) => Ok(()),
        Err(_) => Err(ErrorCode::BadArguments),
    }
}
