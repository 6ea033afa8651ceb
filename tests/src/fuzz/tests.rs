use std::collections::HashSet;

use fw_common::Reason;

use super::*;

#[test]
fn seeds_of_every_target_hold() {
    for target in TARGETS {
        let seeds = seeds(target.name).expect("seeds");
        assert!(seeds.len() > 20, "{}: {} seeds", target.name, seeds.len());
        seeds.iter().for_each(|seed| (target.run)(seed));
    }
}

#[test]
fn what_is_cut_off_or_changed_holds() {
    // A little of what libFuzzer does, for those who do not have it.
    for target in TARGETS {
        for seed in seeds(target.name).expect("seeds").iter().step_by(16) {
            for at in (0..seed.len().min(300)).step_by(3) {
                (target.run)(&seed[..at]);
                let mut changed = seed.clone();
                changed[at] ^= 1 << (at % 8);
                (target.run)(&changed);
            }
        }
    }
}

#[test]
fn the_dictionary_knows_the_words_of_the_file() {
    let dictionary = dictionary();
    for word in ["security_groups", "from_port", "deny", "link_local", "pickup"] {
        assert!(dictionary.contains(&format!("\"\\\"{word}\\\"\"\n")), "{word} in {dictionary}");
    }
}

#[test]
fn seeds_of_histories_reach_all_that_tracking_does() {
    let seeds = seeds("history").expect("seeds");
    let seen: HashSet<Reason> =
        seeds.iter().flat_map(|seed| history::decisions(seed)).map(|decision| decision.reason).collect();
    for reason in [
        Reason::GroupRule,
        Reason::Established,
        Reason::Related,
        Reason::Adopted,
        Reason::ExemptService,
        Reason::MidStream,
        Reason::AllowanceExceeded,
        Reason::FragmentWithoutFirst,
        Reason::AclAllow,
        Reason::AclDeny,
        Reason::NoGroupRule,
    ] {
        assert!(seen.contains(&reason), "no seed reaches {reason:?}, only {seen:?}");
    }
}
