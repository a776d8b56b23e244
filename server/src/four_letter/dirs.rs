//! `dirs`: bytes on disk.

/// Sizes of snapshots and log, each of the whole `version-2`.
pub fn dirs(data_dir_bytes: u64, log_dir_bytes: u64) -> String {
    format!("datadir_size: {data_dir_bytes}\nlogdir_size: {log_dir_bytes}\n")
}
