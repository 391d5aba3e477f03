//! Why something about Kafka failed, in words for `triggers.error`. Nothing secret is in them.

use std::path::PathBuf;
use std::time::Duration;

use kafka_protocol::error::ResponseError;

/// What failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum KafkaError {
    /// No broker of the list.
    #[error("no bootstrap server can be used: {0}")]
    Bootstrap(String),
    /// The connection could not be made, or broke.
    #[error("broker {server}: {source}")]
    Connection {
        /// Which broker.
        server: String,
        /// What happened.
        source: std::io::Error,
    },
    /// It does not answer.
    #[error("broker {server} did not answer within {limit:?}")]
    Silent {
        /// Which broker.
        server: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// It does not want this login.
    #[error("broker {server} refused the login: {words}")]
    Login {
        /// Which broker.
        server: String,
        /// The broker's words.
        words: String,
    },
    /// It answers what does not make sense.
    #[error("broker {server} answered what cannot be understood: {words}")]
    Answer {
        /// Which broker.
        server: String,
        /// What is wrong with it.
        words: String,
    },
    /// It refuses a request.
    #[error("{what}: {}", words(*code))]
    Refused {
        /// Which request, about what.
        what: String,
        /// Kafka's number of the error.
        code: i16,
    },
    /// A file or variable that the trigger names cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
}

/// Why what a trigger names as a credential is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialError {
    /// The dispatcher has no folder for them.
    #[error("the dispatcher was started without --kafka-credentials, so the file {0} is not read")]
    NoFolder(String),
    /// The file is not there, or not a file.
    #[error("the credentials file {name} cannot be read: {source}")]
    Read {
        /// As the trigger names it.
        name: String,
        /// What happened.
        source: std::io::Error,
    },
    /// It is somewhere else.
    #[error("the credentials file {name} is not below {}", folder.display())]
    Outside {
        /// As the trigger names it.
        name: String,
        /// Where it should be.
        folder: PathBuf,
    },
    /// It is kept for other servers.
    #[error(
        "the credentials in the folder of {name} are for the servers in its file bootstrap-servers, not for {server}"
    )]
    OtherServers {
        /// As the trigger names it.
        name: String,
        /// Where it would have been sent.
        server: String,
    },
    /// They are of a ScaledJob that nobody serves.
    #[error("no ScaledJob is served that {0} is of, or it logs in by something else")]
    NotServed(String),
    /// Those of a ScaledJob cannot be read.
    #[error("the credentials of the ScaledJob cannot be read: {0}")]
    Granted(String),
    /// There is no such variable.
    #[error("the dispatcher has no environment variable {0}")]
    NoVariable(String),
    /// Its content is not what it should be.
    #[error("the credentials file {name} cannot be used: {words}")]
    Content {
        /// As the trigger names it.
        name: String,
        /// What is wrong with it.
        words: String,
    },
    /// PostgreSQL checks options, so this is one that this version does not know.
    #[error("the options cannot be used: {0}")]
    Options(#[from] serde_json::Error),
}

/// Kafka's name for an error, and what it means where that is not plain.
pub(super) fn words(code: i16) -> String {
    match ResponseError::try_from_code(code) {
        Some(ResponseError::TopicAuthorizationFailed) => {
            "access to the topic is denied (DESCRIBE is needed)".to_owned()
        }
        Some(ResponseError::GroupAuthorizationFailed) => {
            "access to the group is denied (DESCRIBE is needed)".to_owned()
        }
        Some(ResponseError::UnknownTopicOrPartition) => "it does not exist".to_owned(),
        Some(ResponseError::LeaderNotAvailable) => "it has no leader".to_owned(),
        Some(error) => format!("{error:?}"),
        None => "no error".to_owned(),
    }
}
