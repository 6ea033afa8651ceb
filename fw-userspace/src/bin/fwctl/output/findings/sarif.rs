//! Findings in SARIF 2.1.0, as code hosts show them beside the lines of a file.
//! <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>

use fw_userspace::document::{Finding, Severity};
use fw_userspace::lint::Code;
use serde_json::{Value, json};

/// The log of one run over some files.
pub(crate) fn log<'f>(files: impl Iterator<Item = (&'f str, &'f [Finding])>) -> Value {
    let results: Vec<Value> = files
        .flat_map(|(file, findings)| findings.iter().map(move |finding| result(file, finding)))
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "fwctl",
                "version": env!("CARGO_PKG_VERSION"),
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "rules": Code::ALL.iter().map(|code| rule(*code)).collect::<Vec<_>>(),
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn rule(code: Code) -> Value {
    json!({
        "id": code.name(),
        "shortDescription": { "text": code.says() },
        "help": { "text": code.remedy() },
        "defaultConfiguration": { "level": code.severity().as_str() },
    })
}

fn result(file: &str, finding: &Finding) -> Value {
    let Finding { severity, code, path, line, column, message, remedy } = finding;
    let path = if path.is_empty() { String::new() } else { format!("{path}: ") };
    // SARIF has the same three words.
    let level = Severity::as_str(*severity);
    json!({
        "ruleId": code.name(),
        "ruleIndex": Code::ALL.iter().position(|other| other == code),
        "level": level,
        "message": { "text": format!("{path}{message}; {remedy}") },
        "locations": [{ "physicalLocation": {
            "artifactLocation": { "uri": uri(file) },
            "region": { "startLine": line, "startColumn": column },
        } }],
    })
}

/// A path as a relative reference, <https://www.rfc-editor.org/rfc/rfc3986>, section 4.2.
fn uri(file: &str) -> String {
    let mut uri = String::new();
    for byte in file.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte))
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    if uri.starts_with('/') { format!("file://{uri}") } else { uri }
}

#[cfg(test)]
mod tests {
    use super::uri;

    #[test]
    fn paths_become_references() {
        assert_eq!(uri("rules/a b.json"), "rules/a%20b.json");
        assert_eq!(uri("/etc/fw:1.json"), "file:///etc/fw%3A1.json");
        assert_eq!(uri("<stdin>"), "%3Cstdin%3E");
    }
}
