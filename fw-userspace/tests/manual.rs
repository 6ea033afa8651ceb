//! What is made of the commands' definitions: help, manual pages, completions; and that the Debian package's files fit.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fw_common::Reason;
use fw_userspace::document;

#[test]
fn every_command_and_topic_has_a_manual_page() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("man");
    let _ = fs::remove_dir_all(&dir);
    fwctl(&["man", "--dir", &dir.display().to_string()]);
    let page = |section: u8, name: &str| {
        let path = dir.join(format!("man{section}/{name}.{section}"));
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let main = page(1, "fwctl");
    assert_eq!(fwctl(&["man"]), main);
    let commands = commands(&[]);
    assert!(commands.len() > 12, "{commands:?}");
    for command in &commands {
        let escaped = command.replace('-', "\\-");
        assert!(main.contains(&format!("fwctl\\-{escaped}(1)")), "the main page does not name {command}");
        let text = page(1, &format!("fwctl-{command}"));
        assert!(text.contains("EXAMPLE") && text.contains("SEE ALSO"), "{command}: {text}");
    }
    for verb in self::commands(&["conntrack"]) {
        page(1, &format!("fwctl-conntrack-{verb}"));
    }
    for (section, topic) in [(5, "rules"), (7, "reasons"), (7, "boot")] {
        assert!(page(section, &format!("fwctl-{topic}")).contains(".SH DESCRIPTION"));
        assert!(main.contains(&format!("fwctl\\-{topic}")), "the main page does not name {topic}");
        assert!(!commands.contains(topic), "a command and a topic are both called {topic}");
    }
}

#[test]
fn help_prints_commands_and_topics() {
    assert_eq!(fwctl(&["help"]), fwctl(&["--help"]));
    for words in [&["load"][..], &["conntrack"], &["conntrack", "list"]] {
        assert_eq!(fwctl(&[&["help"], words].concat()), fwctl(&[words, &["--help"]].concat()));
    }
    let topics = fwctl(&["help", "topics"]);
    let reasons = fwctl(&["help", "reasons"]);
    for reason in Reason::ALL {
        assert!(
            reasons.contains(&format!("  {} ({})\n", reason.name(), reason.layer().name())),
            "{reason:?}"
        );
    }
    let rules = fwctl(&["help", "rules"]);
    let schema = document::schema().to_value();
    for definition in schema["$defs"].as_object().unwrap().values() {
        for key in definition["properties"].as_object().unwrap().keys() {
            assert!(rules.contains(&format!("\n  {key}: ")), "{key} is not in: {rules}");
        }
    }
    assert!(rules.contains("  rule_number: 1 to 32766, required\n"), "{rules}");
    assert!(fwctl(&["help", "boot"]).contains("fwctl=off"));
    for topic in ["rules", "reasons", "boot"] {
        assert!(topics.contains(&format!("\n  {topic} ")), "{topics}");
    }

    for (words, says) in
        [(&["help", "laod"][..], "did you mean \"load\""), (&["help", "load", "x"], "no commands of its own")]
    {
        let output = Command::new(FWCTL).args(words).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains(says), "{said}");
    }
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = fwctl(&["completions", shell]);
        for command in commands(&[]) {
            assert!(text.contains(&command), "{shell} does not know {command}");
        }
    }
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("fwctl.bash");
    fs::write(&file, fwctl(&["completions", "bash"])).unwrap();
    let complete = format!(
        "source {} && COMP_WORDS=(fwctl conntrack fl) COMP_CWORD=2 && _fwctl fwctl fl conntrack && echo \"${{COMPREPLY[*]}}\"",
        file.display()
    );
    let output = Command::new("bash").args(["-c", &complete]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "flush", "{output:?}");
}

#[test]
fn units_and_scripts_of_the_package_fit_what_it_installs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let unit = fs::read_to_string(folder.join("debian/fwctl.service")).unwrap();
    let rule = fs::read_to_string(folder.join("debian/90-fwctl.rules")).unwrap();

    let mut programs = BTreeSet::new();
    for line in unit.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '['])) {
        let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{line}"));
        if key.starts_with("Exec") {
            programs.extend(value.split(' ').next());
        }
    }
    programs.extend(rule.split("RUN+=\"").skip(1).filter_map(|run| run.split(' ').next()));
    assert_eq!(programs.iter().copied().collect::<Vec<_>>(), ["/usr/lib/fwctl/service", "/usr/sbin/fwctl"]);
    for program in programs {
        let (place, name) = program.rsplit_once('/').unwrap();
        let asset = format!("/{name}\", \"{}/\", \"755\"", place.trim_start_matches('/'));
        assert!(manifest.contains(&asset), "the package does not install {program}");
    }
    for script in ["service", "postinst", "prerm", "postrm"] {
        let status = Command::new("sh").arg("-n").arg(folder.join("debian").join(script)).status().unwrap();
        assert!(status.success(), "{script}");
    }
}

/// What `--help` lists.
fn commands(of: &[&str]) -> BTreeSet<String> {
    let help = fwctl(&[of, &["--help"]].concat());
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let nested = !of.is_empty();
    let name = |line: &str| {
        line.strip_prefix("  ").filter(|line| !line.starts_with(' '))?.split(' ').next().map(str::to_owned)
    };
    // The one that clap gives to a command with commands.
    list.lines().filter_map(name).filter(|name| !(nested && name == "help")).collect()
}

fn fwctl(args: &[&str]) -> String {
    let output = Command::new(FWCTL).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

const FWCTL: &str = env!("CARGO_BIN_EXE_fwctl");
