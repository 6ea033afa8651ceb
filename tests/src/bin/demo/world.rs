//! The network: instances, the switch of Seoul's subnet, and the router that is the peering connection.

use std::cell::Cell;
use std::net::Ipv4Addr;

use anyhow::Result;
use fw_tests::fwctl::{Counters, Fwctl};
use fw_tests::netns::{BpffsDir, Namespace, join};
use fw_tests::traffic::Echo;

/// The service that every instance offers.
pub(crate) const HTTP: u16 = 80;
/// Where administrators come in.
pub(crate) const SSH: u16 = 22;
/// London's second address.
pub(crate) const LONDON_OTHER: Ipv4Addr = Ipv4Addr::new(20, 0, 1, 11);

/// A host with its own rules: an instance or the router.
pub(crate) struct Host {
    pub(crate) name: &'static str,
    pub(crate) address: Ipv4Addr,
    pub(crate) namespace: Namespace,
    bpffs: BpffsDir,
    /// Whether rules were loaded.
    pub(crate) filters: Cell<bool>,
    _services: Vec<Echo>,
}

impl Host {
    fn new(name: &'static str, address: Ipv4Addr) -> Result<Self> {
        let (namespace, bpffs) = (Namespace::new(name)?, BpffsDir::new()?);
        Ok(Self { name, address, namespace, bpffs, filters: Cell::new(false), _services: Vec::new() })
    }

    /// Gives an instance its address, its way to the other VPC, and its services.
    fn furnish(&mut self, router: Ipv4Addr, other_vpc: &str) -> Result<()> {
        self.namespace.address("eth0", &format!("{}/24", self.address))?;
        self.namespace.route(other_vpc, &router.to_string())?;
        for port in [HTTP, SSH] {
            self._services.push(Echo::tcp(&self.namespace, (self.address, port))?);
        }
        Ok(())
    }

    pub(crate) fn fwctl(&self) -> Result<Fwctl<'_>> {
        Fwctl::new(&self.namespace, &self.bpffs)
    }

    /// Its counters, if it filters.
    pub(crate) fn counters(&self) -> Result<Option<Counters>> {
        if self.filters.get() { self.fwctl()?.stats().map(Some) } else { Ok(None) }
    }
}

/// Everything that the tutorial needs.
pub(crate) struct World {
    pub(crate) seoul_1: Host,
    pub(crate) seoul_2: Host,
    pub(crate) london: Host,
    pub(crate) router: Host,
    switch: Namespace,
}

impl World {
    pub(crate) fn new() -> Result<Self> {
        let router = Host::new("router", Ipv4Addr::new(10, 0, 1, 1))?;
        let switch = Namespace::new("switch")?;
        switch.ip("link add br0 type bridge")?;
        switch.ip("link set br0 up")?;
        join(&router.namespace, "seoul0", &switch, "router")?;
        switch.ip("link set router master br0")?;
        router.namespace.address("seoul0", "10.0.1.1/24")?;

        let mut london = Host::new("london-1", Ipv4Addr::new(20, 0, 1, 10))?;
        join(&router.namespace, "london0", &london.namespace, "eth0")?;
        router.namespace.address("london0", "20.0.1.1/24")?;
        london.furnish(Ipv4Addr::new(20, 0, 1, 1), "10.0.0.0/16")?;
        london.namespace.address("eth0", &format!("{LONDON_OTHER}/24"))?;
        router.namespace.forward()?;

        let seoul_1 = instance(&switch, "seoul-1", 10)?;
        let seoul_2 = instance(&switch, "seoul-2", 20)?;
        Ok(Self { seoul_1, seoul_2, london, router, switch })
    }

    /// Starts one more instance in Seoul's subnet. It loads no rules, and nobody's rules name it.
    pub(crate) fn new_instance(&self) -> Result<Host> {
        instance(&self.switch, "seoul-3", 30)
    }
}

/// An instance plugged into the switch of Seoul's subnet.
fn instance(switch: &Namespace, name: &'static str, number: u8) -> Result<Host> {
    let mut host = Host::new(name, Ipv4Addr::new(10, 0, 1, number))?;
    join(&host.namespace, "eth0", switch, name)?;
    switch.ip(&format!("link set {name} master br0"))?;
    host.furnish(Ipv4Addr::new(10, 0, 1, 1), "20.0.0.0/16")?;
    Ok(host)
}
