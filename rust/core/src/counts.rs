//! Numbers of events, which only grow: structs of them are added, and what came between two of them is their difference.

/// Declares a struct of counts, with `add` and `since` for all of its numbers.
macro_rules! counts {
    ($(#[$about:meta])* pub struct $name:ident { $($(#[$what:meta])* pub $field:ident: u64,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$what])* pub $field: u64,)*
        }

        impl $name {
            /// Adds another's, number by number.
            pub fn add(&mut self, other: &Self) {
                $(self.$field += other.$field;)*
            }

            /// What came since `before`, an earlier state of the same.
            #[must_use]
            pub fn since(&self, before: &Self) -> Self {
                Self { $($field: self.$field - before.$field,)* }
            }
        }
    };
}

pub(crate) use counts;

#[cfg(test)]
mod tests {
    counts! {
        /// Two numbers.
        pub struct Two {
            /// One.
            pub one: u64,
            /// Another.
            pub other: u64,
        }
    }

    #[test]
    fn what_was_added_is_what_came_since() {
        let (before, more) = (Two { one: 3, other: 5 }, Two { one: 10, other: 0 });
        let mut sum = before;
        sum.add(&more);
        assert_eq!(sum, Two { one: 13, other: 5 });
        assert_eq!(sum.since(&before), more);
    }
}
