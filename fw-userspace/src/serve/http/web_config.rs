//! TLS and users of the listener: the file that exporters of Prometheus take with `--web.config.file`
//! (<https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md>). Of its keys those that are
//! [`known`](KNOWN) here; others are refused by name, for somebody relies on them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};
use tokio_rustls::TlsAcceptor;

use super::auth::Users;
use super::notes::Notes;
use super::tls::{ClientAuth, Tls};
use crate::error::{Error, Result};
use crate::nearest::nearest;
use crate::serve::stamp::Stamp;

/// Its sections and their keys; users have the names that they have.
const KNOWN: [(&str, &[&str]); 2] = [
    ("tls_server_config", &["cert_file", "key_file", "client_ca_file", "client_auth_type", "min_version"]),
    ("basic_auth_users", &[]),
];
/// What exporters know besides.
const OF_OTHERS: [&str; 9] = [
    "http_server_config",
    "rate_limit",
    "cert",
    "key",
    "client_ca",
    "client_allowed_sans",
    "max_version",
    "cipher_suites",
    "curve_preferences",
];

/// The file, read again when it or a file that it names has changed.
pub struct WebConfig {
    path: PathBuf,
    state: Mutex<State>,
}

struct State {
    stamps: Vec<Stamp>,
    files: Vec<PathBuf>,
    active: Arc<Active>,
}

/// What holds now.
pub(super) struct Active {
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) users: Users,
}

impl WebConfig {
    /// Reads and checks the file and all that it names.
    pub fn read(path: &Path) -> Result<Self> {
        let (files, active) = read(path)?;
        let state = State { stamps: stamps(&files), files, active: Arc::new(active) };
        Ok(Self { path: path.to_owned(), state: Mutex::new(state) })
    }

    /// What holds now. What is wrong since it was changed is said, and what held before still does.
    pub(super) fn current(&self, notes: &Notes) -> Arc<Active> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamps(&state.files);
        if now != state.stamps {
            match read(&self.path) {
                Ok((files, active)) => {
                    *state = State { stamps: stamps(&files), files, active: Arc::new(active) };
                }
                Err(error) => {
                    state.stamps = now;
                    notes.trouble(
                        "web_config",
                        &format!("the changed web configuration is not used: {error}"),
                    );
                }
            }
        }
        Arc::clone(&state.active)
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    files.iter().map(|file| Stamp::of(file)).collect()
}

fn read(path: &Path) -> Result<(Vec<PathBuf>, Active)> {
    let about = format!("\"{}\"", path.display());
    let text = fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    let (mut files, active) =
        parsed(&text, path.parent().unwrap_or(Path::new(""))).map_err(|error| error.about(&about))?;
    files.push(path.to_owned());
    Ok((files, active))
}

pub(super) fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::input(format!("cannot read \"{}\": {error}", path.display()))
}

/// What a file says, and the files that it names: relative to its own directory.
fn parsed(text: &str, directory: &Path) -> Result<(Vec<PathBuf>, Active)> {
    let value: Value = serde_saphyr::from_str(text).map_err(|error| {
        let said = error.to_string();
        Error::input(format!("not YAML: {}", said.lines().next().unwrap_or_default()))
    })?;
    let top = match value {
        // An empty file.
        Value::Null => Map::new(),
        Value::Object(top) => top,
        _ => {
            return Err(Error::input("must be a mapping with \"tls_server_config\" or \"basic_auth_users\""));
        }
    };
    let sections: Vec<&str> = KNOWN.iter().map(|(name, _)| *name).collect();
    refuse_unknown("", &top, &sections)?;
    let (mut files, mut tls) = (Vec::new(), None);
    if let Some(section) = section(&top, "tls_server_config")? {
        refuse_unknown("tls_server_config.", section, KNOWN[0].1)?;
        let config = tls_of(section, directory)?;
        files.extend(config.files().cloned());
        tls = Some(config.acceptor()?);
    }
    let users = match section(&top, "basic_auth_users")? {
        Some(section) => {
            let users = section
                .iter()
                .map(|(user, hash)| Ok((user.clone(), text_of("basic_auth_users", user, hash)?)));
            Users::new(users.collect::<Result<_>>()?)?
        }
        None => Users::Everybody,
    };
    Ok((files, Active { tls, users }))
}

fn tls_of(section: &Map<String, Value>, directory: &Path) -> Result<Tls> {
    let text = |key: &str| {
        let value = section.get(key).filter(|value| !value.is_null());
        value.map(|value| text_of("tls_server_config", key, value)).transpose()
    };
    let file = |key: &str| Ok(text(key)?.map(|file| directory.join(file)));
    let needed = |key: &str| {
        file(key)?.ok_or_else(|| {
            Error::input(format!("\"tls_server_config\" needs \"{key}\", the path of a PEM file"))
        })
    };
    let client_ca = file("client_ca_file")?;
    let client_auth = match (text("client_auth_type")?.as_deref(), client_ca) {
        (None | Some("NoClientCert"), None) => ClientAuth::None,
        (Some("RequireAndVerifyClientCert"), Some(ca)) => ClientAuth::Required(ca),
        (Some("VerifyClientCertIfGiven"), Some(ca)) => ClientAuth::IfGiven(ca),
        (None | Some("NoClientCert"), Some(_)) => {
            return Err(Error::input(
                "\"tls_server_config.client_ca_file\" is given, and \"client_auth_type\" does not use it; set it to \
                 \"RequireAndVerifyClientCert\" or \"VerifyClientCertIfGiven\"",
            ));
        }
        (Some(kind @ ("RequireAndVerifyClientCert" | "VerifyClientCertIfGiven")), None) => {
            return Err(Error::input(format!(
                "\"tls_server_config.client_auth_type\" {kind:?} needs \"client_ca_file\", the path of a PEM file"
            )));
        }
        (Some(other), _) => {
            return Err(Error::input(format!(
                "\"tls_server_config.client_auth_type\" is {other:?}; must be \"NoClientCert\", \
                 \"RequireAndVerifyClientCert\" or \"VerifyClientCertIfGiven\""
            )));
        }
    };
    let only_1_3 = match text("min_version")?.as_deref() {
        None | Some("TLS12") => false,
        Some("TLS13") => true,
        Some(other) => {
            return Err(Error::input(format!(
                "\"tls_server_config.min_version\" is {other:?}; must be \"TLS12\" or \"TLS13\""
            )));
        }
    };
    Ok(Tls { cert: needed("cert_file")?, key: needed("key_file")?, client_auth, only_1_3 })
}

fn section<'a>(top: &'a Map<String, Value>, name: &str) -> Result<Option<&'a Map<String, Value>>> {
    match top.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(section)) => Ok(Some(section)),
        Some(_) => Err(Error::input(format!("\"{name}\" must be a mapping"))),
    }
}

fn text_of(section: &str, key: &str, value: &Value) -> Result<String> {
    match value {
        Value::String(text) if !text.is_empty() => Ok(text.clone()),
        _ => Err(Error::input(format!("\"{section}.{key}\" must be a text that is not empty"))),
    }
}

fn refuse_unknown(section: &str, keys: &Map<String, Value>, known: &[&str]) -> Result<()> {
    let Some(key) = keys.keys().find(|key| !known.contains(&key.as_str())) else { return Ok(()) };
    let listed: Vec<String> = known.iter().map(|known| format!("\"{known}\"")).collect();
    let help = if OF_OTHERS.contains(&key.as_str()) {
        format!("other exporters know it, fwctl does not; remove it (known are {})", listed.join(", "))
    } else if let Some(nearest) = nearest(key, known.iter().copied()) {
        format!("did you mean \"{nearest}\"?")
    } else {
        format!("must be {}", listed.join(", "))
    };
    Err(Error::input(format!("\"{section}{key}\" is no key of a web configuration; {help}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        match parsed(text, Path::new("/nowhere")) {
            Ok(_) => "fine".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_what_helps() {
        let hash = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";
        assert_eq!(said(""), "fine");
        assert_eq!(said("# nothing\n"), "fine");
        assert_eq!(said("basic_auth_users:\n"), "fine");
        assert_eq!(said(&format!("basic_auth_users:\n  alice: {hash}\n")), "fine");
        for (text, part) in [
            ("a: [", "not YAML"),
            ("- a", "must be a mapping"),
            ("tls_server_confg: {}", "did you mean \"tls_server_config\"?"),
            ("http_server_config: {http2: false}", "other exporters know it, fwctl does not"),
            ("tls_server_config: {cert_fil: a}", "\"tls_server_config.cert_fil\""),
            ("tls_server_config: {cipher_suites: []}", "other exporters know it"),
            ("tls_server_config: {cert_file: a}", "needs \"key_file\""),
            ("tls_server_config: {cert_file: 5, key_file: a}", "must be a text"),
            ("tls_server_config: {cert_file: a, key_file: a}", "cannot read \"/nowhere/a\""),
            ("tls_server_config: {cert_file: a, key_file: a, min_version: TLS11}", "\"TLS12\" or \"TLS13\""),
            ("tls_server_config: {cert_file: a, key_file: a, client_ca_file: a}", "does not use it"),
            (
                "tls_server_config: {cert_file: a, key_file: a, client_auth_type: RequireAndVerifyClientCert}",
                "needs \"client_ca_file\"",
            ),
            (
                "tls_server_config: {cert_file: a, key_file: a, client_auth_type: RequestClientCert}",
                "must be \"NoClientCert\"",
            ),
            ("basic_auth_users: [a]", "must be a mapping"),
            ("basic_auth_users: {alice: secret}", "\"alice\": not a bcrypt hash"),
            ("basic_auth_users: {a: x}\nbasic_auth_users: {b: y}", "not YAML"),
        ] {
            let said = said(text);
            assert!(said.contains(part), "{text:?}: {said}");
        }
    }
}
