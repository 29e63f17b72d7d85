//! What a call was shed for.

use std::fmt;

use super::Percent;

/// Why load shedding refused a call, with the numbers: [`Rejected::shed`](crate::Rejected::shed).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Shed {
    /// The load of the system as it was last seen; 1.0 is all that it can do.
    pub load: f64,
    /// The load above which shedding begins.
    pub above: f64,
    /// The load below which it ends.
    pub below: f64,
    /// The name of the operation, at most 200 bytes of it.
    pub operation: Box<str>,
    /// What the operation was estimated at, in the unit of whoever estimates.
    pub operation_load: u64,
    /// What an operation may be estimated at and go through all the same.
    pub operations_over: u64,
}

impl fmt::Display for Shed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (load, above, below) = (Percent(self.load), Percent(self.above), Percent(self.below));
        write!(f, "the system's load is {load}, ")?;
        if self.load > self.above {
            write!(f, "the limit is {above}, ")?;
        } else {
            write!(f, "it was above {above} and is not below {below} yet, ")?;
        }
        // Escaped: the name may be part of a request, and this goes into logs.
        let (operation, weighs, over) = (self.operation.escape_debug(), self.operation_load, self.operations_over);
        write!(f, "and operation `{operation}` weighs {weighs}, the limit is {over}")
    }
}
