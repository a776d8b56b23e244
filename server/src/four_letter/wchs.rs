//! `wchs`: watches in two lines.

/// The answer; data watches only, as the reference counts them.
pub fn wchs(connections: usize, paths: usize, watches: usize) -> String {
    format!("{connections} connections watching {paths} paths\nTotal watches:{watches}\n")
}
