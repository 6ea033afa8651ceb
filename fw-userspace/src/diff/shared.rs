//! What interfaces that are judged alike have in common, each once: sets of remote addresses are large, interfaces many.

use std::rc::Rc;
use std::sync::Arc;

use fw_common::address::Family;
use ipnet::IpNet;
use rustc_hash::{FxHashMap, FxHashSet};

use super::ends::{self, Interval, Intervals};
use super::regions::Service;

/// A change of the verdict, whatever the address of the interface's end.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    /// It passes now; else it did before.
    pub(super) opens: bool,
    pub(super) service: Service,
    pub(super) remote: Rc<[Interval]>,
}

/// All that was met: what is equal is the same allocation.
#[derive(Default)]
pub(super) struct Shared {
    shapes: FxHashSet<Rc<Shape>>,
    remotes: FxHashSet<Rc<[Interval]>>,
    /// By place in memory: what is in `remotes` stays where it is.
    cidrs: FxHashMap<(*const Interval, bool), Arc<[IpNet]>>,
    #[cfg(test)]
    pub(super) walked: usize,
}

impl Shared {
    pub(super) fn shape(&mut self, opens: bool, service: Service, remote: &Intervals) -> Rc<Shape> {
        let remote = match self.remotes.get(remote.as_slice()) {
            Some(known) => Rc::clone(known),
            None => {
                let new: Rc<[Interval]> = remote.as_slice().into();
                self.remotes.insert(Rc::clone(&new));
                new
            }
        };
        let shape = Shape { opens, service, remote };
        match self.shapes.get(&shape) {
            Some(known) => Rc::clone(known),
            None => {
                let new = Rc::new(shape);
                self.shapes.insert(Rc::clone(&new));
                new
            }
        }
    }

    /// The remote addresses of a shape that [`Self::shape`] has made.
    pub(super) fn cidrs(&mut self, shape: &Shape, family: Family) -> Arc<[IpNet]> {
        let key = (shape.remote.as_ptr(), family == Family::V4);
        if let Some(known) = self.cidrs.get(&key) {
            return Arc::clone(known);
        }
        self.walk(shape.remote.len());
        let new: Arc<[IpNet]> = ends::cidrs(&shape.remote, family).into();
        self.cidrs.insert(key, Arc::clone(&new));
        new
    }

    /// Counts, for tests, what was gone through one by one.
    pub(super) fn walk(&mut self, _steps: usize) {
        #[cfg(test)]
        {
            self.walked += _steps;
        }
    }
}
