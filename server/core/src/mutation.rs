//! Planted bugs: each is one that some server had, behind a switch of the build. The simulator's
//! campaign puts them in one by one and counts the runs until a law objects.
//!
//! Without the feature `mutants` there are none, and `mutated!` is `false`. With it they are all off
//! until the thread that runs the core turns one on.

/// Whether this bug is switched on.
#[cfg(feature = "mutants")]
macro_rules! mutated {
    ($bug:ident) => {
        $crate::mutation::is_on($crate::mutation::Mutation::$bug)
    };
}

/// Whether this bug is switched on: never.
#[cfg(not(feature = "mutants"))]
macro_rules! mutated {
    ($bug:ident) => {
        false
    };
}

pub(crate) use mutated;

#[cfg(feature = "mutants")]
pub use on::{Mutation, is_on, with};

#[cfg(feature = "mutants")]
mod on {
    use std::cell::Cell;

    /// Declares the bugs.
    macro_rules! mutations {
        ($($(#[$doc:meta])* $name:ident,)*) => {
            /// A bug, named after what it does.
            #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub enum Mutation {
                $($(#[$doc])* $name,)*
            }

            impl Mutation {
                /// All of them.
                pub const ALL: &[Self] = &[$(Self::$name,)*];
            }
        };
    }

    mutations! {
        /// Session ids go on where the highest known one ended.
        SessionIdsComeBack,
    }

    thread_local! {
        static ON: Cell<Option<Mutation>> = const { Cell::new(None) };
    }

    /// Whether it is switched on for this thread.
    pub fn is_on(bug: Mutation) -> bool {
        ON.get() == Some(bug)
    }

    /// Runs something with a bug switched on.
    pub fn with<T>(bug: Option<Mutation>, run: impl FnOnce() -> T) -> T {
        ON.set(bug);
        let result = run();
        ON.set(None);
        result
    }
}
