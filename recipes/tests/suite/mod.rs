//! What must hold of the recipes, whatever the servers.

mod leader;
mod lock;
mod read_write;
mod semaphore;
