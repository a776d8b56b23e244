//! Exclusive locks.

mod formats;
mod losing;
mod waiting;

use zk_client::ErrorKind;
use zk_recipes::AcquireError;

fn kind(error: &AcquireError) -> ErrorKind {
    error.client_error().expect("it is the client's").kind()
}
