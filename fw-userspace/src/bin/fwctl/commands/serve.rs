//! `fwctl serve`: until it is ended.

use std::path::Path;

use fw_userspace::error::Result;
use fw_userspace::serve::{self, Options, http::WebConfig};

use super::{Outcome, flow_log};
use crate::args::Serve;
use crate::output::serve::Log;

pub(super) fn run(args: &Serve, bpffs: &Path) -> Result<Outcome> {
    let web = args.web_config.as_deref().map(WebConfig::read).transpose()?;
    let flow_log = args.flow_log.as_deref();
    let flow_log = flow_log.map(|path| flow_log::options(&args.records, path)).transpose()?;
    let options = Options {
        bpffs: bpffs.to_owned(),
        rules: args.rules.clone(),
        max_memory: args.memory.max,
        last_good: args.last_good.clone(),
        flow_log,
        events: args.events.clone(),
        listen: args.listen.clone(),
        web,
        rule_metrics: args.rule_metrics,
    };
    let log = Log::open();
    serve::run(options, Box::new(move |note| log.say(&note)))?;
    Ok(Outcome::Done)
}
