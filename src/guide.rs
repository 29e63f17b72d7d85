//! The guide with the pages of `docs/`: stacks, stores, fleets, recovery, health probes, operation, the runbook and
//! troubleshooting.
//!
//! Begin with [`stacks`]. [`words`] explains the words that the other pages use.

// Each page is a file of `docs/`, so that the page reads the same in the repository. Links between pages are reference
// links. Each file defines the targets of its links for the repository. The doc comments in front of each
// `include_str!` define other targets for rustdoc. Rustdoc uses the first definition of a reference.

pub mod stacks {
    //! The breaker in axum, tonic, reqwest, hyper and plain tower.
    //!
    //! [settings]: super::operation#settings
    //! [criticality]: super::recovery#criticality
    //! [group]: super::recovery#groups
    //! [expiry]: super::stores#expiry
    //! [troubleshooting]: super::troubleshooting#it-does-not-compile
    //! [security]: https://docs.rs/crate/tower-circuit-breaker/latest/source/SECURITY.md
    #![doc = include_str!("../docs/stacks.md")]
}

pub mod stores {
    //! Stores, which keep the state of circuits across restarts and share the state between instances.
    //!
    //! [one of your own]: https://docs.rs/crate/tower-circuit-breaker/latest/source/examples/custom_store.rs
    //! [operation]: super::operation#the-fleet
    //! [fleets]: super::fleet
    //! [group]: super::recovery#groups
    #![doc = include_str!("../docs/stores.md")]
}

pub mod fleet {
    //! Several instances that behave as one breaker: votes, leases, and an example with eight instances during one
    //! night.
    //!
    //! [picture]: https://docs.rs/crate/tower-circuit-breaker/latest/source/docs/fleet.svg
    //! [health]: super::health_probes#in-a-fleet
    //! [members]: super::stores#the-members-of-a-fleet
    //! [ramp]: super::recovery#the-ramp
    //! [group]: super::recovery#groups
    #![doc = include_str!("../docs/fleet.md")]
}

pub mod recovery {
    //! The return of traffic after an outage, and partial failures: ramp, throttle, criticality and groups.
    //!
    //! [outage]: https://docs.rs/crate/tower-circuit-breaker/latest/source/docs/outage.svg
    //! [surge]: https://docs.rs/crate/tower-circuit-breaker/latest/source/docs/surge.svg
    //! [health probes]: super::health_probes
    //! [keys]: super::stacks#a-circuit-per-key
    //! [load shedding]: super::operation#load-shedding
    //! [retries]: super::stacks#retries
    #![doc = include_str!("../docs/recovery.md")]
}

pub mod health_probes {
    //! Health probes, which check the service while its circuit is not closed. A successful check ends the open state
    //! early, and no call of a user is needed to detect the recovery.
    //!
    //! [Recovery]: super::recovery#the-prices-measured
    #![doc = include_str!("../docs/health-probes.md")]
}

pub mod operation {
    //! The orders that operators give, the audit, settings, load shedding, alerts and a dashboard.
    //!
    //! [keys]: https://docs.rs/crate/tower-circuit-breaker/latest/source/examples/config_file.toml
    //! [picture]: https://docs.rs/crate/tower-circuit-breaker/latest/source/docs/admin.png
    //! [refused rows]: super::stores#the-audit
    //! [stores]: super::stores#when-another-instance-opens
    //! [health probes]: super::health_probes
    //! [recovery]: super::recovery#the-prices-measured
    //! [runbook]: super::runbook
    //! [words]: super::words
    #![doc = include_str!("../docs/operation.md")]
}

pub mod runbook {
    //! The runbook for the engineer on call.
    //!
    //! [rights]: super::stores#rights
    //! [files and folders]: super::stores#files-and-folders
    //! [troubleshooting]: super::troubleshooting
    #![doc = include_str!("../docs/runbook.md")]
}

pub mod troubleshooting {
    //! Common mistakes, each with its symptom, its cause and its correction.
    //!
    //! [without-tower]: super::stacks#without-tower
    //! [required]: super::health_probes#required-health-probes
    //! [field]: super::stacks#a-breaker-in-a-field
    //! [behind a proxy]: super::operation#behind-a-proxy
    #![doc = include_str!("../docs/troubleshooting.md")]
}

pub mod words {
    //! The meanings of the words in these pages, in the logs and in the API.
    #![doc = include_str!("../docs/words.md")]
}
