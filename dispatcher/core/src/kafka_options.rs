//! The options of a trigger of `watch_kafka()`, as `pgbatch.check_kafka_options()` let them in.

use serde::Deserialize;

use crate::kafka_lag::OffsetReset;
use crate::scaling::{Combine, Strategy};

/// `options` of `watch_kafka()`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Where to begin without an offset.
    pub offset_reset: OffsetReset,
    /// Whether a fetch that waits at the end of the log tells of new records.
    pub doorbell: bool,
    /// How often it is looked where nothing rings, and while there is lag, in milliseconds.
    pub poll_ms: u64,
    /// How often new partitions are asked for, in milliseconds.
    pub refresh_ms: u64,
    /// None: without TLS.
    pub tls: Option<TlsOption>,
    /// None: without a login.
    pub sasl: Option<SaslOption>,
    /// PostgreSQL obeys it, where the cursors are.
    pub on_lost: Option<String>,
    /// How long records that are no whole item wait for more, in milliseconds.
    pub linger_ms: u64,
    /// KEDA's `activationLagThreshold`; for this and those that follow see [`crate::kafka_lag::LagPolicy`].
    pub activation_lag_threshold: i64,
    /// KEDA's `allowIdleConsumers`.
    pub allow_idle_consumers: bool,
    /// KEDA's `scaleToZeroOnInvalidOffset`.
    pub scale_to_zero_on_invalid_offset: bool,
    /// KEDA's `excludePersistentLag`.
    pub exclude_persistent_lag: bool,
    /// KEDA's `limitToPartitionsWithLag`.
    pub limit_to_partitions_with_lag: bool,
    /// KEDA's `ensureEvenDistributionOfPartitions`.
    pub ensure_even_distribution_of_partitions: bool,
    /// KEDA's `partitionLimitation`: see [`crate::kafka_lag::is_listed`].
    pub partition_limitation: Option<String>,
    /// What is subtracted from the demand.
    pub strategy: Strategy,
    /// None: the trigger is a demand of its own.
    pub combine: Option<Combine>,
    /// KEDA's own numbers, flaws included.
    pub keda_parity: bool,
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
            strategy: Strategy::Default,
            combine: None,
            keda_parity: false,
        }
    }
}

/// `options.tls`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(untagged)]
pub enum TlsOption {
    /// Whether, with the system's certificates.
    Is(bool),
    /// With these files.
    With(TlsFiles),
}

/// Files below the credentials folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// Whom to trust instead of the system's authorities.
    pub ca_file: Option<String>,
    /// The certificate of the client.
    pub cert_file: Option<String>,
    /// Its key.
    pub key_file: Option<String>,
    /// The password of the key.
    pub key_password_file: Option<String>,
    /// The variable with it.
    pub key_password_env: Option<String>,
}

/// `options.sasl`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaslOption {
    /// How.
    pub mechanism: Mechanism,
    /// The name, where it is no secret.
    pub username: Option<String>,
    /// The file with it.
    pub username_file: Option<String>,
    /// The variable with it.
    pub username_env: Option<String>,
    /// The file with the password.
    pub password_file: Option<String>,
    /// The variable with it.
    pub password_env: Option<String>,
    /// The file with the token, for OAUTHBEARER.
    pub token_file: Option<String>,
}

/// How to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Mechanism {
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
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::OauthBearer => "OAUTHBEARER",
        }
    }
}
