//! `fwctl help reasons`: the same table as `docs/reasons.md`.

use fw_common::{Reason, Verdict};

use super::Block;

pub(super) fn blocks() -> Vec<Block> {
    let mut blocks = vec![Block::Text(
        "Every packet is counted under one reason. fwctl stats and fwctl explain print these words, and nothing uses \
         others. The layer that decided stands beside each."
            .to_owned(),
    )];
    blocks.push(Block::Heading("Reasons of a pass".to_owned()));
    blocks.extend(of(Verdict::Pass));
    blocks.push(Block::Heading("Reasons of a drop".to_owned()));
    blocks.push(Block::Text(
        "On interfaces with \"enforce\": false these are counted as would_deny and the packet passes."
            .to_owned(),
    ));
    blocks.extend(of(Verdict::Drop));
    blocks
}

fn of(verdict: Verdict) -> impl Iterator<Item = Block> {
    Reason::ALL.iter().filter(move |reason| reason.verdict() == verdict).map(|reason| Block::Item {
        term: format!("{} ({})", reason.name(), reason.layer().name()),
        text: reason.says().to_owned(),
    })
}
