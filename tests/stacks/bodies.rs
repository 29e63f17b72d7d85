//! Bodies that are tracked to their end: when the verdict falls, who gives it, and that it falls once.

mod drops;
mod ends;
mod eras;
mod fallbacks;
mod parts;
mod property;
mod types;
mod wire;
