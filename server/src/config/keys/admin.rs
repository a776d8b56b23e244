//! Keys about what operators look at: admin HTTP, metrics, audit, log.

use std::time::Duration;

use super::Kind::{Choice, Flag, Text};
use super::Twin::{None, Prefixed};
use super::{int, port};

settings! {
    /// The HTTP administration interface.
    pub AdminSettings {
        /// Turns it on.
        enabled: bool = "admin.enableServer", Prefixed, Flag(true);
        /// Address it binds to; loopback unless set, where the reference binds all.
        address: String = "admin.serverAddress", Prefixed, Text("127.0.0.1");
        /// Port it binds to.
        port: u16 = "admin.serverPort", Prefixed, port(8080);
        /// Path of the commands.
        command_url: String = "admin.commandURL", Prefixed, Text("/commands");
        /// Ms after which an idle connection is closed.
        idle_timeout: Duration = "admin.idleTimeout", Prefixed, int(30_000, 1);
        /// Lets operators who may do everything ask for snapshots.
        snapshot_enabled: bool = "admin.snapshot.enabled", Prefixed, Flag(true);
        /// Ms between two snapshots that are asked for.
        rate_limiter_interval: Duration = "admin.rateLimiterIntervalInMS", Prefixed, int(300_000, 0);
    }
}

/// Class names of the metrics providers operators write.
const PROVIDERS: &[&str] = &[
    "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider",
    "org.apache.zookeeper.metrics.impl.NullMetricsProvider",
    "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider",
];

settings! {
    /// The metrics exporter.
    pub MetricsSettings {
        /// Class name of the provider; the Prometheus one turns the exporter on.
        provider: String = "metricsProvider.className", None, Choice {
            default: "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider",
            of: PROVIDERS,
        };
        /// Address the exporter binds to.
        http_host: String = "metricsProvider.httpHost", None, Text("0.0.0.0");
        /// Its plain port; `None` when only TLS is wanted.
        http_port: Option<u16> = "metricsProvider.httpPort", None, port(-1);
        /// Adds process metrics.
        export_process_info: bool = "metricsProvider.exportJvmInfo", None, Flag(true);
        /// Adds the memory metrics of a JVM under their names, for dashboards that divide them.
        jvm_compat: bool = "metricsProvider.jvmCompat", None, Flag(true);
        /// Adds twins of counters whose names end in `_total`.
        open_metrics: bool = "metricsProvider.openMetrics", None, Flag(false);
    }
}

settings! {
    /// Logs and audit.
    pub ServiceSettings {
        /// Form of log lines.
        log_format: String = "log.format", Prefixed, Choice { default: "text", of: &["text", "json"] };
        /// Least important level logged.
        log_level: String = "log.level", Prefixed,
            Choice { default: "info", of: &["error", "warn", "info", "debug", "trace"] };
        /// Logs who changed what, whatever the level, as `zk_server::audit`.
        audit_enabled: bool = "audit.enable", Prefixed, Flag(false);
    }
}

impl MetricsSettings {
    /// Plain port of the exporter when it has no TLS port either.
    pub const HTTP_PORT: u16 = 7000;

    /// Whether metrics are exported over HTTP.
    pub fn is_prometheus(&self) -> bool {
        self.provider.ends_with("PrometheusMetricsProvider")
    }
}
