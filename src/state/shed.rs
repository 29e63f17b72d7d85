//! The load and the limits that led to the shedding of a call, and the operation of the call.

use std::fmt;

use super::Percent;

/// The load and the limits that led to the shedding of a call. [`Rejected::shed`](crate::Rejected::shed)
/// returns these numbers.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Shed {
    /// The last measured load of the system, where 1.0 is the capacity of the system.
    pub load: f64,
    /// The load above which shedding begins.
    pub above: f64,
    /// The load below which shedding ends.
    pub below: f64,
    /// The name of the operation, cut to 200 bytes.
    pub operation: Box<str>,
    /// The estimated load of the operation, in the unit that the application uses for its estimates.
    pub operation_load: u64,
    /// The limit for the estimated load, in the unit of `operation_load`. Operations above the limit are shed.
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
        // The name is escaped, because the name may be part of a request and this text goes into logs.
        let (operation, weighs, over) = (self.operation.escape_debug(), self.operation_load, self.operations_over);
        match over {
            // With a limit of 0 every operation with a load is shed, so the numbers would not help the
            // caller.
            0 => write!(f, "and operation `{operation}` is one of those that are shed first"),
            _ => write!(f, "and operation `{operation}` weighs {weighs}, the limit is {over}"),
        }
    }
}
