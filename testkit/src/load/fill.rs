//! Puts znodes into a server.

use std::net::SocketAddr;

use zk_proto::ErrorCode;

use super::error::LoadError;
use super::op::{DATA, KEY_COUNT, KEYS, NAMES, ROOT, WATCHED, create, path_of};
use super::session::Session;

/// Requests in flight while filling.
const WINDOW: usize = 1000;

/// Creates what loads read, set and create below, where it is not there yet.
///
/// # Errors
/// [`LoadError`].
pub fn prepare(server: SocketAddr) -> Result<(), LoadError> {
    let mut session = Session::open(server)?;
    let parents = [ROOT, KEYS, NAMES].map(String::from);
    let keys = (0..KEY_COUNT).map(|key| path_of(KEYS, key));
    let all = parents.into_iter().chain(keys).chain([WATCHED.into()]);
    create_all(&mut session, all)?;
    session.close()
}

/// Creates this many znodes of 100 bytes, a thousand below each of as many parents as it takes.
///
/// # Errors
/// [`LoadError`].
pub fn fill(server: SocketAddr, count: u64) -> Result<(), LoadError> {
    const CHILDREN: u64 = 1000;
    let mut session = Session::open(server)?;
    let parents = (0..count.div_ceil(CHILDREN)).map(|parent| path_of("/fill", parent));
    create_all(&mut session, std::iter::once("/fill".into()).chain(parents))?;
    let znodes = (0..count).map(|number| {
        let parent = path_of("/fill", number / CHILDREN);
        path_of(&parent, number % CHILDREN)
    });
    create_all(&mut session, znodes)?;
    session.close()
}

/// Creates znodes in this order; those that exist are left as they are.
fn create_all(session: &mut Session, paths: impl Iterator<Item = String>) -> Result<(), LoadError> {
    let exists = ErrorCode::NodeExists.code();
    let answer = |session: &mut Session, xid| match session.answer(xid)? {
        0 => Ok(()),
        code if code == exists => Ok(()),
        code => Err(LoadError::Refused { xid, code }),
    };
    let (mut sent, mut answered) = (0, 0);
    for path in paths {
        sent += 1;
        session.send(sent, &create(&path, DATA))?;
        if usize::try_from(sent - answered).is_ok_and(|in_flight| in_flight >= WINDOW) {
            answered += 1;
            answer(session, answered)?;
        }
    }
    while answered < sent {
        answered += 1;
        answer(session, answered)?;
    }
    Ok(())
}
