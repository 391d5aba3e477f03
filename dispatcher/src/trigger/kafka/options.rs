//! The options of a trigger, as `pgbatch.check_kafka_options()` let them in.

use serde::Deserialize;

/// `options` of `watch_kafka()`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Options {
    pub(super) offset_reset: OffsetReset,
    pub(super) doorbell: bool,
    pub(super) poll_ms: u64,
    pub(super) refresh_ms: u64,
    pub(super) tls: Option<TlsOption>,
    pub(super) sasl: Option<SaslOption>,
    /// PostgreSQL obeys it, where the cursors are.
    pub(super) on_lost: Option<String>,
    pub(super) linger_ms: u64,
    pub(super) activation_lag_threshold: i64,
    pub(super) allow_idle_consumers: bool,
    pub(super) scale_to_zero_on_invalid_offset: bool,
    pub(super) exclude_persistent_lag: bool,
    pub(super) limit_to_partitions_with_lag: bool,
    pub(super) ensure_even_distribution_of_partitions: bool,
    pub(super) partition_limitation: Option<String>,
    pub(super) strategy: pgbatch_core::scaling::Strategy,
    /// None: the trigger is a demand of its own.
    pub(super) combine: Option<pgbatch_core::scaling::Combine>,
    pub(super) keda_parity: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            offset_reset: OffsetReset::Latest,
            doorbell: true,
            poll_ms: 5000,
            refresh_ms: 60_000,
            tls: None,
            sasl: None,
            on_lost: None,
            linger_ms: 0,
            activation_lag_threshold: 0,
            allow_idle_consumers: false,
            scale_to_zero_on_invalid_offset: false,
            exclude_persistent_lag: false,
            limit_to_partitions_with_lag: false,
            ensure_even_distribution_of_partitions: false,
            partition_limitation: None,
            strategy: pgbatch_core::scaling::Strategy::Default,
            combine: None,
            keda_parity: false,
        }
    }
}

/// Where to begin without an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum OffsetReset {
    /// At the end: what is there does not count.
    Latest,
    /// At the beginning.
    Earliest,
}

/// `options.tls`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(untagged)]
pub(super) enum TlsOption {
    /// Whether, with the system's certificates.
    Is(bool),
    /// With these files.
    With(TlsFiles),
}

/// Files below the credentials folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsFiles {
    pub(super) ca_file: Option<String>,
    pub(super) cert_file: Option<String>,
    pub(super) key_file: Option<String>,
    pub(super) key_password_file: Option<String>,
    pub(super) key_password_env: Option<String>,
}

/// `options.sasl`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SaslOption {
    pub(super) mechanism: Mechanism,
    pub(super) username: Option<String>,
    pub(super) username_file: Option<String>,
    pub(super) username_env: Option<String>,
    pub(super) password_file: Option<String>,
    pub(super) password_env: Option<String>,
    pub(super) token_file: Option<String>,
}

/// How to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) enum Mechanism {
    /// The password as it is.
    #[serde(rename = "PLAIN")]
    Plain,
    /// A proof of it.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// A proof of it.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
    /// A token.
    #[serde(rename = "OAUTHBEARER")]
    OauthBearer,
}

impl Mechanism {
    /// Its name in the protocol.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::OauthBearer => "OAUTHBEARER",
        }
    }
}
