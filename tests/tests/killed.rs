//! Commands that are killed (SIGKILL): no live connection is lost, every hook keeps its program, the table of connections
//! stays sound, and the next load ends what was begun. Needs root.

use std::ops::Deref;
use std::process::Command;
use std::time::{Duration, Instant};

use fw_tests::filtered::{Filtered, web_rules};
use fw_tests::fwctl::{Fwctl, RULES};
use fw_tests::random::Random;
use fw_tests::traffic::LiveTcp;
use fw_tests::{kill, soundness};

/// Of four commands each.
const ROUNDS: u32 = 6;
const SIZES: [u32; 2] = [4096, 20_000];

struct Loaded(Filtered);

impl Deref for Loaded {
    type Target = Filtered;

    fn deref(&self) -> &Filtered {
        &self.0
    }
}

impl Loaded {
    fn new() -> Self {
        Self(Filtered::new(&web_rules(SIZES[0])))
    }

    fn load_command(&self, conntrack_max: u32) -> Command {
        let rules = web_rules(conntrack_max).to_string();
        self.fwctl().command_with(["load", RULES], rules.as_bytes()).unwrap()
    }

    fn check(&self, live: &mut [LiveTcp], when: &str) {
        all_go_on(live, when);
        if let Err(error) = soundness::check(&self.table()) {
            panic!("{when}: {error}");
        }
    }

    /// A status that is well, or says what is wrong and what to do.
    fn status_says(&self, when: &str) -> bool {
        let output = self.fwctl().run(["status"]).unwrap();
        let is_well = output.code() == 0;
        assert!(is_well || output.stderr.contains("`fwctl load FILE`"), "{when}: {}", output.said());
        is_well
    }
}

fn all_go_on(live: &mut [LiveTcp], when: &str) {
    for (number, live) in live.iter_mut().enumerate() {
        assert!(live.exchange_from_server() && live.exchange(), "{when}: connection {number} is lost");
    }
}

/// At changes that a load with another table makes, from before its first hook is turned until all is in its place: each
/// of those to the file system, and every third call of bpf(2).
#[test]
fn a_load_that_is_killed_while_it_replaces_tables_is_ended_by_the_next() {
    let loaded = Loaded::new();
    let mut live = vec![loaded.open(80).unwrap()];
    let calls = kill::before_change(&mut loaded.load_command(SIZES[1]), usize::MAX).unwrap();
    loaded.check(&mut live, "not killed");
    // The directory that says so, and at the end those that go.
    let turning =
        calls.iter().rposition(|call| kill::is_mkdir(*call)).expect("a directory says that hooks turn");
    let over = calls.iter().rposition(|call| kill::is_removal(*call)).expect("what is over is removed");
    let is_chosen = |at: &usize| at.is_multiple_of(3) || calls.get(*at) != Some(&libc::SYS_bpf);
    let [mut unfinished, mut opened, mut killed] = [0, 0, 0];
    let mut max = SIZES.iter().copied().cycle();
    for at in (turning - 2..over + 2).filter(is_chosen) {
        let when = format!("killed before change {at} of {}", calls.len());
        let next = max.next().unwrap();
        kill::before_change(&mut loaded.load_command(next), at).unwrap();
        killed += 1;
        all_go_on(&mut live, &when);
        unfinished += u32::from(!loaded.status_says(&when));
        // Where one of two hooks is turned, its answer is no answer to the other: then there is none to be lost.
        if let Ok(new) = loaded.open(80) {
            opened += 1;
            live.push(new);
        }
        let report = loaded.fwctl().load(&web_rules(next)).unwrap();
        assert!(loaded.status_says(&when), "{when}: {report}");
        loaded.check(&mut live, &when);
        live.truncate(4);
    }
    println!("killed {killed} times, {unfinished} unfinished, {opened} new connections");
    assert!(unfinished > 10 && opened > killed / 2, "{unfinished} were unfinished, {opened} opened");
}

#[test]
fn commands_that_are_killed_at_any_time_leave_the_table_sound() {
    let loaded = Loaded::new();
    let mut live = vec![loaded.open(80).unwrap(), loaded.open(80).unwrap()];
    loaded.fwctl().load(&web_rules(SIZES[1])).unwrap();
    loaded.fill(5000);
    let mut random = Random(1);
    let flush = || loaded.fwctl().command(["conntrack", "flush", "--address", "11.0.0.0/8"]);
    let list = || loaded.fwctl().command(["conntrack", "list", "--json"]);
    let mut sizes = SIZES.iter().copied().cycle();
    for round in 0..ROUNDS {
        let resize = sizes.next().unwrap();
        let commands: [(&str, &dyn Fn() -> Command); 4] = [
            ("list", &list),
            ("flush", &flush),
            ("load", &|| loaded.load_command(SIZES[1])),
            ("load with another table", &|| loaded.load_command(resize)),
        ];
        for (name, command) in commands {
            let start = Instant::now();
            Fwctl::finish(command()).unwrap();
            let whole = start.elapsed();
            loaded.fill(200);
            let killed = whole.mul_f64(random.below(1000) as f64 / 1000.0);
            kill::after(command(), killed.max(Duration::from_micros(100))).unwrap();
            let when = format!("round {round}: {name} killed after {killed:?} of {whole:?}");
            loaded.status_says(&when);
            loaded.fwctl().load(&web_rules(SIZES[1])).unwrap();
            loaded.check(&mut live, &when);
        }
    }
}
