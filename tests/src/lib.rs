//! The test rig: frames, hosts in network namespaces, real traffic, and the cases that say what AWS does.
//!
//! [`packet`] writes frames, [`case`] reads `tests/cases/*.toml`, [`run`] runs them, [`differential`] makes up more,
//! [`kernel`] feeds the bytecode, [`age`] moves its time, [`netns`] builds hosts and wires, [`traffic`] probes them
//! with real sockets, [`fwctl`] runs the command in them, [`tun`] brings in what no wire would and [`skb`] tells what
//! came of it; [`nft`] is nftables, to compare with; [`bulk`] writes very large rules files; [`fuzz`] holds the
//! targets of cargo-fuzz; [`structure`] counts what a packet costs the programs; [`workload`] is what is measured,
//! [`instruments`] are what measures it, [`affinity`] keeps threads on CPUs, [`reload`] changes the rules under load;
//! [`served`] runs `fwctl serve`, [`prometheus`] a real Prometheus beside it, [`samples`] reads a scrape without one,
//! [`containers`] runs instances. What needs a namespace needs root; nothing here touches a device, an address or a
//! sysctl outside the namespaces it made.

pub mod affinity;
pub mod age;
pub mod bpf;
pub mod bulk;
pub mod case;
pub mod containers;
pub mod differential;
pub mod filtered;
pub mod fuzz;
pub mod fwctl;
pub mod instruments;
pub mod kernel;
pub mod kill;
pub mod netns;
pub mod nft;
pub mod packet;
pub mod programs;
pub mod prometheus;
pub mod pty;
pub mod random;
pub mod reload;
pub mod run;
pub mod samples;
pub mod served;
pub mod server;
pub mod skb;
pub mod soundness;
pub mod structure;
pub mod traffic;
pub mod tun;
pub mod workload;
