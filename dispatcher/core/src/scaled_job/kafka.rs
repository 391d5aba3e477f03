//! A trigger of type `kafka` or `apache-kafka`: `watch_kafka()` with a consumer group.

use serde_json::{Map, Value, json};

use super::authentication::Found;
use super::object::Object;
use super::replicas::word;
use super::statement::kafka_records;
use super::trigger::Reader;
use super::{Kafka, Note, Problem};

/// KEDA's `lagThreshold` where none is given.
const LAG_THRESHOLD: i64 = 10;

/// Booleans of KEDA, and what they are called here.
const FLAGS: [(&str, &str); 5] = [
    ("allowIdleConsumers", "allow_idle_consumers"),
    ("scaleToZeroOnInvalidOffset", "scale_to_zero_on_invalid_offset"),
    ("excludePersistentLag", "exclude_persistent_lag"),
    ("limitToPartitionsWithLag", "limit_to_partitions_with_lag"),
    ("ensureEvenDistributionOfPartitions", "ensure_even_distribution_of_partitions"),
];

/// Where a trigger logs in by something that is not served; none = it is left out.
pub(super) fn read(
    mut reader: Reader<'_, '_>,
    path: &str,
    notes: &mut Vec<Note>,
) -> Result<Option<Kafka>, Problem> {
    let bootstrap_servers = required(&mut reader, "bootstrapServers", "bootstrapServersFromEnv")?;
    let consumer_group = required(&mut reader, "consumerGroup", "consumerGroupFromEnv")?;
    let topic = either(&mut reader, "topic", "topicFromEnv")?;
    if topic.as_ref().is_some_and(|topic| topic.contains(',')) {
        let note = Note::todo(path, "a trigger watches one topic, or all of a group: it is left out");
        notes.push(note.hint("Make a trigger for each topic, with pgbatch.watch_kafka()."));
        return Ok(None);
    }
    let lag_threshold = whole(&mut reader.metadata, "lagThreshold", 1)?.unwrap_or(LAG_THRESHOLD);
    let mut options = Map::new();
    if let Some(lag) = whole(&mut reader.metadata, "activationLagThreshold", 0)? {
        options.insert("activation_lag_threshold".to_owned(), lag.into());
    }
    if let Some(policy) = word(&mut reader.metadata, "offsetResetPolicy", &["latest", "earliest"])? {
        options.insert("offset_reset".to_owned(), policy.into());
    }
    for (key, option) in FLAGS {
        if let Some(flag) = reader.metadata.flag(key)? {
            options.insert(option.to_owned(), flag.into());
        }
    }
    let list_path = reader.metadata.at("partitionLimitation");
    match reader.metadata.text("partitionLimitation")? {
        Some(_) if topic.is_none() => {
            notes.push(Note::ignored(list_path, "it is of one topic, and none is given"))
        }
        Some(list) => drop(options.insert("partition_limitation".to_owned(), list.into())),
        None => {}
    }
    let strategy = reader.replicas.scaling.strategy.as_str();
    if matches!(strategy, "accurate" | "eager") {
        options.insert("strategy".to_owned(), strategy.into());
    }
    if !log_in(&mut reader, path, &mut options, notes)? {
        return Ok(None);
    }
    reader.metadata.ignore("version", "the versions of the protocol are agreed on with the broker");
    reader.metadata.ignore("fullMetadata", "only the topics that are watched are asked for");
    notes.push(
        Note::changed(path, "lag is the last stable offset less what is committed, and never below 0")
            .hint("With options.keda_parity it is counted as KEDA does, flaws included."),
    );
    let kafka = Kafka { bootstrap_servers, topic, consumer_group, lag_threshold, options: options.into() };
    if kafka.topic.is_some() {
        let message = "without a consumer group each Job gets records of its own, an exact range of offsets, and a retry the same";
        let note = Note::new(super::NoteKind::Suggestion, path, message)
            .hint("If the image can read from an offset to another.");
        notes.push(note.statement(kafka_records(reader.name, &reader.job.name, &kafka)));
    }
    reader.metadata.end(notes);
    Ok(Some(kafka))
}

/// `tls` and `sasl`. No secret is read: files of the dispatcher's are named, as if each TriggerAuthentication were a folder.
/// Returns whether the trigger can log in at all.
fn log_in(
    reader: &mut Reader<'_, '_>,
    path: &str,
    options: &mut Map<String, Value>,
    notes: &mut Vec<Note>,
) -> Result<bool, Problem> {
    let folder = reader.authentication.clone().filter(|name| is_folder(name));
    let folder = folder.unwrap_or_else(|| reader.name.to_owned());
    read_tls(reader, &folder, options, notes)?;
    // As with KEDA, what the trigger itself says wins.
    let said = reader.metadata.text("sasl")?.or_else(|| reader.found.and_then(|found| found.sasl.clone()));
    let mechanism = match said.as_deref() {
        None | Some("none") => None,
        Some("plaintext") => Some("PLAIN"),
        Some("scram_sha256") => Some("SCRAM-SHA-256"),
        Some("scram_sha512") => Some("SCRAM-SHA-512"),
        Some("oauthbearer") => Some("OAUTHBEARER"),
        Some(other) => {
            let message = format!("sasl {other} is not served: the trigger is left out");
            let hint = "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER are.";
            notes.push(Note::todo(path, message).hint(hint));
            return Ok(false);
        }
    };
    for key in ["saslTokenProvider", "scopes", "oauthTokenEndpointUri", "oauthExtensions"] {
        let why = "whoever issues tokens puts them into the token file; it is read again for every login";
        reader.metadata.ignore(key, why);
    }
    let needed: &[&str] = match mechanism {
        None => &[],
        Some("OAUTHBEARER") => &["token"],
        Some(_) => &["username", "password"],
    };
    let is_found = is_found(reader, needed, notes)?;
    let file = |name: &str| match reader.found {
        Some(found) if is_found => found.file(name),
        _ => format!("{folder}/{name}"),
    };
    if let Some(mechanism) = mechanism {
        let mut sasl = json!({"mechanism": mechanism});
        for name in needed {
            sasl[format!("{name}_file")] = file(name).into();
        }
        options.insert("sasl".to_owned(), sasl);
    }
    if !is_found {
        tell_where_secrets_go(
            reader,
            Some(needed.join(" and ")).filter(|all| !all.is_empty()),
            &folder,
            notes,
        );
    }
    Ok(true)
}

/// Whether the parameters that the login needs were found. A token is none of KEDA's, so it is looked for beside them.
fn is_found(reader: &Reader<'_, '_>, needed: &[&str], notes: &mut Vec<Note>) -> Result<bool, Problem> {
    let Some(found) = reader.found else { return Ok(false) };
    let reference = reference_of(reader);
    match needed.iter().find(|name| !found.has(name)) {
        None => {}
        Some(&"token") => return Ok(false),
        Some(missing) => {
            let hint = "The login needs it: see secretTargetRef of the TriggerAuthentication.";
            return Err(Problem::new(reference, format!("it has no parameter {missing:?}"), hint));
        }
    }
    let unused = found.unused();
    if !unused.is_empty() {
        let message = format!("no use is made here of its parameters {}", unused.join(", "));
        notes.push(Note::ignored(reference, message));
    }
    Ok(true)
}

fn reference_of(reader: &Reader<'_, '_>) -> String {
    reader.metadata.path().replace(".metadata", ".authenticationRef")
}

fn read_tls(
    reader: &mut Reader<'_, '_>,
    folder: &str,
    options: &mut Map<String, Value>,
    notes: &mut Vec<Note>,
) -> Result<(), Problem> {
    let said = word(&mut reader.metadata, "tls", &["enable", "disable"])?;
    let said = said.or_else(|| reader.found.and_then(|found| found.tls.clone()));
    if said.as_deref() == Some("enable") {
        let files = reader.found.map_or_else(Map::new, tls_files);
        options.insert("tls".to_owned(), if files.is_empty() { true.into() } else { files.into() });
    }
    let metadata = &mut reader.metadata;
    let message = "the broker's certificate is always verified";
    if metadata.flag("unsafeSsl")? == Some(true) {
        let hint = format!("Give its CA: options.tls {{\"ca_file\": \"{folder}/ca\"}}.");
        notes.push(Note::todo(metadata.at("unsafeSsl"), message).hint(hint));
    } else {
        metadata.ignore("unsafeSsl", message);
    }
    Ok(())
}

/// `options.tls`. A certificate without its key is none; `watch_kafka()` says so.
fn tls_files(found: &Found) -> Map<String, Value> {
    let names =
        [("ca", "ca_file"), ("cert", "cert_file"), ("key", "key_file"), ("keyPassword", "key_password_file")];
    let there = names.iter().filter(|(name, _)| found.has(name));
    there.map(|(name, option)| ((*option).to_owned(), found.file(name).into())).collect()
}

/// Which files the trigger needs, where that can be seen; and else which it may need.
fn tell_where_secrets_go(
    reader: &Reader<'_, '_>,
    files: Option<String>,
    folder: &str,
    notes: &mut Vec<Note>,
) {
    let reference = reference_of(reader);
    if let Some(files) = files {
        let hint = format!(
            "Mount its Secret as the folder {folder} below the dispatcher's --kafka-credentials, with the files {files}."
        );
        let path = if reader.authentication.is_some() { reference } else { reader.metadata.at("sasl") };
        let note = Note::todo(path, "no Secret is read: the dispatcher logs in by files of its own");
        notes.push(note.hint(hint));
    } else if reader.authentication.is_some() {
        let hint = format!(
            "Where it holds sasl or tls, make the trigger again with options such as {{\"sasl\": {{\"mechanism\": \
             \"SCRAM-SHA-512\", \"username_file\": \"{folder}/username\", \"password_file\": \"{folder}/password\"}}, \
             \"tls\": {{\"ca_file\": \"{folder}/ca\"}}}}, and mount its Secret as that folder below --kafka-credentials."
        );
        let message = "no TriggerAuthentication is read, so the trigger knows nothing that is in it";
        notes.push(Note::todo(reference, message).hint(hint));
    }
}

/// What `watch_kafka()` lets in as a folder.
fn is_folder(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.len() <= 200 && name.chars().all(is_plain)
}

fn required(reader: &mut Reader<'_, '_>, key: &'static str, from: &'static str) -> Result<String, Problem> {
    let path = reader.metadata.at(key);
    either(reader, key, from)?.ok_or_else(|| {
        Problem::new(path, "missing", "A trigger of type kafka needs bootstrapServers and consumerGroup.")
    })
}

/// A value, or that of the variable that another field names. As with KEDA, the value wins.
fn either(
    reader: &mut Reader<'_, '_>,
    key: &'static str,
    from: &'static str,
) -> Result<Option<String>, Problem> {
    let value = reader.metadata.text(key)?;
    if value.is_some() {
        reader.metadata.ignore(from, "the value itself is given");
        return Ok(value);
    }
    let path = reader.metadata.at(from);
    reader.metadata.text(from)?.map(|variable| reader.job.variable(&variable, &path)).transpose()
}

fn whole(metadata: &mut Object<'_>, key: &'static str, least: i64) -> Result<Option<i64>, Problem> {
    let path = metadata.at(key);
    let Some(text) = metadata.text(key)? else { return Ok(None) };
    match text.parse::<i64>().ok().filter(|number| *number >= least) {
        Some(number) => Ok(Some(number)),
        None => Err(Problem::new(
            path,
            format!("{text:?} is no whole number from {least} on"),
            "KEDA would refuse it, too.",
        )),
    }
}
