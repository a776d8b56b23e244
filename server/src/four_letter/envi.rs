//! `envi`: the machine and process, under the names a JVM gives them.

use std::fmt::Write as _;

use super::render::render;

/// What `envi` shows; what is absent shows as `<NA>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvironmentView {
    /// Version of the server.
    pub version: String,
    /// Name of the machine.
    pub host_name: String,
    /// Version of Java.
    pub java_version: Option<String>,
    /// Its vendor.
    pub java_vendor: Option<String>,
    /// Its directory.
    pub java_home: Option<String>,
    /// Its class path.
    pub java_class_path: Option<String>,
    /// Its library path.
    pub java_library_path: Option<String>,
    /// Directory of temporary files.
    pub tmp_dir: String,
    /// Name of its compiler.
    pub java_compiler: Option<String>,
    /// Operating system.
    pub os_name: String,
    /// Processor architecture.
    pub os_arch: String,
    /// Version of the kernel.
    pub os_version: String,
    /// User of the process.
    pub user_name: String,
    /// Home directory of that user.
    pub user_home: String,
    /// Working directory.
    pub user_dir: String,
    /// Free memory, in MB.
    pub memory_free_mb: u64,
    /// Memory the process may use, in MB.
    pub memory_max_mb: u64,
    /// Memory the process holds, in MB.
    pub memory_total_mb: u64,
}

/// The answer.
pub fn envi(view: &EnvironmentView) -> String {
    let megabytes = |count: u64| format!("{count}MB");
    let java = |value: &Option<String>| value.clone().unwrap_or_else(|| "<NA>".to_owned());
    let lines = [
        ("zookeeper.version", view.version.clone()),
        ("host.name", view.host_name.clone()),
        ("java.version", java(&view.java_version)),
        ("java.vendor", java(&view.java_vendor)),
        ("java.home", java(&view.java_home)),
        ("java.class.path", java(&view.java_class_path)),
        ("java.library.path", java(&view.java_library_path)),
        ("java.io.tmpdir", view.tmp_dir.clone()),
        ("java.compiler", java(&view.java_compiler)),
        ("os.name", view.os_name.clone()),
        ("os.arch", view.os_arch.clone()),
        ("os.version", view.os_version.clone()),
        ("user.name", view.user_name.clone()),
        ("user.home", view.user_home.clone()),
        ("user.dir", view.user_dir.clone()),
        ("os.memory.free", megabytes(view.memory_free_mb)),
        ("os.memory.max", megabytes(view.memory_max_mb)),
        ("os.memory.total", megabytes(view.memory_total_mb)),
    ];
    render(|out| {
        writeln!(out, "Environment:")?;
        for (key, value) in lines {
            writeln!(out, "{key}={value}")?;
        }
        Ok(())
    })
}
