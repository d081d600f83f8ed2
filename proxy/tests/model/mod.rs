//! What the tests of every model ask of the checker: with all rules nothing wrong can be reached, and without any one of
//! them something can.

#![expect(clippy::print_stdout, reason = "the way to a fault is what one wants to read when a rule changes")]

use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, Model};

/// Every property holds, in a world of more states than `trifling`.
pub(crate) fn holds<M>(model: M, trifling: usize)
where
    M: Model<State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static> + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let checker = model.checker().threads(2).spawn_bfs().join();
    println!("{} states", checker.unique_state_count());
    assert!(checker.unique_state_count() > trifling, "the world is too small to mean anything");
    checker.assert_properties();
}

/// A property is broken; prints by what.
pub(crate) fn breaks<M>(model: M, property: &'static str)
where
    M: Model<State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static> + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let checker = model.checker().threads(2).spawn_bfs().join();
    let path = checker.discovery(property);
    let path = path.unwrap_or_else(|| {
        panic!("{property}: no counterexample in {} states", checker.unique_state_count())
    });
    println!("{property}, broken by:\n{:?}", path.into_actions());
}
