//! Configuration: from the files and variables operators write to one typed value.

mod error;
mod zoo_cfg;

pub use error::{ConfigError, Problem};
pub use zoo_cfg::{Level, Notice, Origin, Properties, Setting, Strictness};
