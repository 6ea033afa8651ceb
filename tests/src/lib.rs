//! The test rig: frames, hosts in network namespaces, real traffic, and the cases that say what AWS does.
//!
//! [`packet`] writes frames, [`case`] reads `tests/cases/*.toml`, [`netns`] builds hosts and wires,
//! [`traffic`] probes them with real sockets, [`fwctl`] runs the command in them, [`tun`] brings in what no wire would
//! and [`skb`] tells what came of it. What needs a namespace needs
//! root; nothing here touches a device, an address or a sysctl outside the namespaces it made.

pub mod case;
pub mod fwctl;
pub mod kernel;
pub mod netns;
pub mod packet;
pub mod skb;
pub mod traffic;
pub mod tun;
