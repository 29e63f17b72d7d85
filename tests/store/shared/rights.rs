//! The least rights that docs/stores.md names, with which everything works.
