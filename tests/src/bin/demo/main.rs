//! The VPC tutorial with real packets: two peered VPCs, what a security group does, what a network ACL does,
//! and the differences between them. `cargo xtask demo` runs it; it needs root and leaves nothing behind.

mod differences;
mod live;
mod probes;
mod rules;
mod story;
mod tutorial;
mod world;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use story::Story;
use world::World;

const WHAT: &str = "\
Two VPCs, Seoul 10.0.0.0/16 and London 20.0.0.0/16, joined by a peering connection with routes both ways.
Instances are network namespaces; each filters its own eth0 by its security groups. The router between them
filters its leg into Seoul's subnet by the subnet's network ACL. Every host runs its own fwctl.

  seoul-1 10.0.1.10 --+
  seoul-2 10.0.1.20 --+-- subnet 10.0.1.0/24 -- router -- subnet 20.0.1.0/24 -- london-1 20.0.1.10, 20.0.1.11
  seoul-3 10.0.1.30 --+   (network ACL)                                         (seoul-3 comes later)";

fn main() -> ExitCode {
    let start = Instant::now();
    match play() {
        Ok(story) => {
            println!("\n{}", story.table());
            let (wrong, all) = (story.wrong(), story.len());
            let seconds = start.elapsed().as_secs();
            if wrong == 0 {
                println!("All {all} as expected, {seconds} s. Nothing is left behind.");
                ExitCode::SUCCESS
            } else {
                println!("{wrong} of {all} not as expected, {seconds} s. Nothing is left behind.");
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("error: the demo cannot go on: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// All steps; the namespaces go when it returns.
fn play() -> Result<Story> {
    println!("{WHAT}");
    let world = World::new()?;
    let mut story = Story::default();
    tutorial::play(&world, &mut story)?;
    differences::play(&world, &mut story)?;
    live::play(&world, &mut story)?;
    Ok(story)
}
