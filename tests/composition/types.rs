//! `Send`, `Sync`, `Unpin` and `Clone` of every public type, pinned at compile time: losing one breaks users, and gaining one
//! is a promise.
//!
//! Long, as it is a table: a line or more for each public type.
//!
//! The file is longer than others, because a table of all public types is easier to check than parts of it.

mod spawned;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fs;
use std::future::{Pending, Ready};
use std::io;
use std::marker::{PhantomData, PhantomPinned};
use std::path::Path;
use std::rc::Rc;

#[cfg(feature = "tonic")]
use tower_circuit_breaker::call::CodeInside;
#[cfg(feature = "http")]
use tower_circuit_breaker::call::StatusInside;
use tower_circuit_breaker::call::{Call, Elapsed, Itself, Observed, ResultInside};
use tower_circuit_breaker::circuit::{NextCall, ProbeStatus, Totals};
#[cfg(feature = "reqwest")]
use tower_circuit_breaker::classify::ReqwestClassifier;
#[cfg(feature = "http")]
use tower_circuit_breaker::classify::{AtEndOfBody, AtHeaders, BoxedBodyError, HttpClassifier, PlainBodyError};
use tower_circuit_breaker::classify::{
    DefaultClassifier, ErrorClassifier, FnClassifier, ResponseClassifier, StdErrorClassifier, WithCriticality,
};
use tower_circuit_breaker::clock::{MockClock, MonotonicClock, Tick, TokioClock};
use tower_circuit_breaker::config::Recovery;
use tower_circuit_breaker::event::{Ended, Event, ObserverFn};
use tower_circuit_breaker::fallback::{Deferred, FallbackFuture, FallbackLayer, Unanswered, WithFallback};
use tower_circuit_breaker::health::{HealthLimit, HealthProbe, HealthRun};
use tower_circuit_breaker::keyed::OneCircuit;
#[cfg(feature = "keyed")]
use tower_circuit_breaker::keyed::{Keyed, KeyedBuilder, KeyedStatus};
use tower_circuit_breaker::operation::{Disable, Done, Kept, News, Order, Refused, Subscription, What};
use tower_circuit_breaker::outcome::InvalidWeight;
#[cfg(feature = "reqwest")]
use tower_circuit_breaker::rejection::ReqwestRejection;
use tower_circuit_breaker::rejection::{BoxedErrors, ErrorsAs, Fallback, Respond, TypedErrors};
#[cfg(feature = "http")]
use tower_circuit_breaker::rejection::{HeadersOnly, HttpRejection};
use tower_circuit_breaker::state::{
    Act, EarlierReason, FleetBrief, FleetProbe, Generation, HealthResult, HealthStatus, InvalidBy, Shed, Snapshot,
    Suppressed,
};
#[cfg(feature = "metrics")]
use tower_circuit_breaker::telemetry::metrics::MetricsObserver;
#[cfg(feature = "tracing")]
use tower_circuit_breaker::telemetry::tracing::TracingObserver;
use tower_circuit_breaker::testing::{Recorded, Recorder};
use tower_circuit_breaker::window::Tally;
use tower_circuit_breaker::{
    BoxError, By, Circuit, CircuitBreaker, CircuitBreakerLayer, Config, ConfigBuilder, ConfigError, Criticality, Error,
    Failure, FailureKind, Group, Mode, OpenDuration, Outcome, Permit, Reason, Registry, RegistryError, RejectReason,
    Rejected, ResponseFuture, Standing, State, Status, To, Transition, Weight, WhenOpen, Window, WithinError,
};

/// A type about which something is asked.
struct Of<T: ?Sized>(PhantomData<T>);

/// Whether the type has the trait, as a constant: an inherent constant hides the trait's, where its bound holds.
macro_rules! question {
    ($($answer:ident: $trait:ident, or $otherwise:ident;)*) => {$(
        trait $otherwise {
            const $answer: bool = false;
        }

        impl<T: ?Sized> $otherwise for Of<T> {}

        impl<T: ?Sized + $trait> Of<T> {
            const $answer: bool = true;
        }
    )*};
}

question! {
    SEND: Send, or NotSend;
    SYNC: Sync, or NotSync;
    UNPIN: Unpin, or NotUnpin;
    CLONE: Clone, or NotClone;
}

macro_rules! is {
    ($type:ty, Send) => {
        Of::<$type>::SEND
    };
    ($type:ty, Sync) => {
        Of::<$type>::SYNC
    };
    ($type:ty, Unpin) => {
        Of::<$type>::UNPIN
    };
    ($type:ty, Clone) => {
        Of::<$type>::CLONE
    };
}

/// Each line: a type, what it is, what it is not.
macro_rules! table {
    ($($type:ty: $($is:ident)* $(! $is_not:ident)*;)*) => {
        $($(const _: () = assert!(is!($type, $is), concat!(stringify!($type), " is no longer ", stringify!($is)));)*)*
        $($(const _: () = assert!(!is!($type, $is_not), concat!(stringify!($type), " is now ", stringify!($is_not)));)*)*
    };
}

table! {
    Act: Send Sync Unpin Clone;
    BoxError: Send Sync Unpin !Clone;
    BoxedErrors: Send Sync Unpin Clone;
    By: Send Sync Unpin Clone;
    Circuit: Send Sync Unpin Clone;
    Config: Send Sync Unpin Clone;
    ConfigBuilder: Send Sync Unpin Clone;
    ConfigError: Send Sync Unpin Clone;
    DefaultClassifier: Send Sync Unpin Clone;
    StdErrorClassifier: Send Sync Unpin Clone;
    Disable: Send Sync Unpin Clone;
    Done: Send Sync Unpin Clone;
    Elapsed: Send Sync Unpin Clone;
    Ended: Send Sync Unpin Clone;
    Event<'static>: Send Sync Unpin !Clone;
    Failure: Send Sync Unpin Clone;
    FailureKind: Send Sync Unpin Clone;
    FleetBrief: Send Sync Unpin Clone;
    FleetProbe: Send Sync Unpin Clone;
    Generation: Send Sync Unpin Clone;
    InvalidBy: Send Sync Unpin Clone;
    InvalidWeight: Send Sync Unpin Clone;
    Kept: Send Sync Unpin Clone;
    MockClock: Send Sync Unpin Clone;
    Mode: Send Sync Unpin Clone;
    MonotonicClock: Send Sync Unpin Clone;
    News: Send Sync Unpin Clone;
    OpenDuration: Send Sync Unpin Clone;
    Order: Send Sync Unpin Clone;
    Outcome: Send Sync Unpin Clone;
    Permit: Send Sync Unpin !Clone;
    NextCall: Send Sync Unpin Clone;
    Criticality: Send Sync Unpin Clone;
    ProbeStatus: Send Sync Unpin Clone;
    Reason: Send Sync Unpin Clone;
    Recovery: Send Sync Unpin Clone;
    Registry: Send Sync Unpin Clone;
    RegistryError: Send Sync Unpin Clone;
    Refused: Send Sync Unpin Clone;
    RejectReason: Send Sync Unpin Clone;
    Rejected: Send Sync Unpin Clone;
    Itself: Send Sync Unpin !Clone;
    Observed: Send Sync Unpin Clone;
    ResultInside: Send Sync Unpin !Clone;
    OneCircuit: Send Sync Unpin Clone;
    Shed: Send Sync Unpin Clone;
    Snapshot: Send Sync Unpin Clone;
    Standing: Send Sync Unpin Clone;
    State: Send Sync Unpin Clone;
    Status: Send Sync Unpin Clone;
    Subscription: Send Sync Unpin !Clone;
    HealthLimit: Send Sync Unpin Clone;
    HealthProbe: Send Sync Unpin Clone;
    HealthResult: Send Sync Unpin Clone;
    HealthRun: Send Unpin !Clone !Sync;
    HealthStatus: Send Sync Unpin Clone;
    Suppressed: Send Sync Unpin Clone;
    Group: Send Sync Unpin Clone;
    Tally: Send Sync Unpin Clone;
    Tick: Send Sync Unpin Clone;
    To: Send Sync Unpin Clone;
    TokioClock: Send Sync Unpin Clone;
    Totals: Send Sync Unpin Clone;
    EarlierReason: Send Sync Unpin Clone;
    Transition: Send Sync Unpin Clone;
    TypedErrors: Send Sync Unpin Clone;
    Weight: Send Sync Unpin Clone;
    What: Send Sync Unpin Clone;
    WhenOpen: Send Sync Unpin Clone;
    Window: Send Sync Unpin Clone;

    // An error is what its error is.
    Error<io::Error>: Send Sync Unpin !Clone;
    Error<()>: Send Sync Unpin Clone;
    WithinError<io::Error>: Send Sync Unpin !Clone;
    WithinError<OnItsThread>: Unpin !Send !Sync;
    Deferred<BoxedErrors>: Send Sync Unpin Clone;
    Fallback<(), BoxedErrors>: Send Sync Unpin Clone;
    Fallback<OnItsThread, BoxedErrors>: Unpin !Send !Sync;
    FallbackLayer<(), ()>: Send Sync Unpin Clone;
    FallbackLayer<(), NotCloned>: Send Sync Unpin !Clone;
    WithFallback<(), ()>: Send Sync Unpin Clone;
    WithFallback<(), OnItsThread>: Unpin !Send !Sync;
    FallbackFuture<(), Ready<()>, Ready<()>>: Send Sync Unpin !Clone;
    FallbackFuture<(), Ready<()>, OnItsThread>: Unpin !Send !Sync;
    FallbackFuture<(), PhantomPinned, ()>: Send Sync !Unpin;
    Unanswered<(), io::Error>: Send Sync Unpin !Clone;
    ObserverFn<()>: Send Sync Unpin Clone;
    ObserverFn<NotCloned>: Send Sync Unpin !Clone;
    Recorded: Send Sync Unpin Clone;
    Recorder: Send Sync Unpin Clone;
    ErrorsAs<io::Error>: Send Sync Unpin Clone;
    ErrorsAs<OnItsThread>: Send Sync Unpin Clone;
    Error<Cell<()>>: Send Unpin !Sync;
    Error<OnItsThread>: Unpin !Send !Sync;

    // Classifiers and answers are what their closure is, whatever the types are that it looks at.
    FnClassifier<fn()>: Send Sync Unpin Clone;
    FnClassifier<OnItsThread>: Unpin Clone !Send !Sync;
    FnClassifier<NotCloned>: Send Sync Unpin !Clone;
    WithCriticality<DefaultClassifier, fn()>: Send Sync Unpin Clone;
    WithCriticality<DefaultClassifier, OnItsThread>: Unpin Clone !Send !Sync;
    WithCriticality<DefaultClassifier, NotCloned>: Send Sync Unpin !Clone;
    ErrorClassifier<fn()>: Send Sync Unpin Clone;
    ErrorClassifier<OnItsThread>: Unpin Clone !Send !Sync;
    ResponseClassifier<fn()>: Send Sync Unpin Clone;
    ResponseClassifier<OnItsThread>: Unpin Clone !Send !Sync;
    Respond<fn()>: Send Sync Unpin Clone;
    Respond<OnItsThread>: Unpin Clone !Send !Sync;
    Respond<NotCloned>: Send Sync Unpin !Clone;

    // Layer and service are what their parts are.
    CircuitBreakerLayer: Send Sync Unpin Clone;
    CircuitBreakerLayer<OnItsThread>: Unpin Clone !Send !Sync;
    CircuitBreakerLayer<DefaultClassifier, OnItsThread>: Unpin Clone !Send !Sync;
    CircuitBreakerLayer<NotCloned>: Send Sync Unpin !Clone;
    CircuitBreaker<()>: Send Sync Unpin Clone;
    CircuitBreaker<Cell<()>>: Send Unpin Clone !Sync;
    CircuitBreaker<OnItsThread>: Unpin Clone !Send !Sync;
    CircuitBreaker<(), OnItsThread>: Unpin Clone !Send !Sync;
    CircuitBreaker<(), DefaultClassifier, OnItsThread>: Unpin Clone !Send !Sync;
    CircuitBreaker<NotCloned>: Send Sync Unpin !Clone;
    CircuitBreaker<PhantomPinned>: Send Sync Clone !Unpin;

    // A future is what the inner future is, and sent only with what it may carry: the answer to a rejection. Of the request
    // it keeps nothing.
    Guarded<Ready<()>>: Send Sync Unpin !Clone;
    Guarded<Pending<OnItsThread>>: Send Sync Unpin;
    Guarded<OnItsThread>: Unpin !Send !Sync;
    Guarded<PhantomPinned>: Send Sync !Unpin;
    Guarded<(), BoxedErrors, OnItsThread>: Send Sync Unpin;
    Guarded<(), BoxedErrors, (), OnItsThread>: Unpin !Send !Sync;
    Guarded<(), TypedErrors, (), (), OnItsThread>: Unpin !Send !Sync;
    Call<Ready<()>>: Send Sync Unpin !Clone;
    Call<OnItsThread>: Unpin !Send !Sync;
    Call<PhantomPinned>: Send Sync !Unpin;
}

#[cfg(feature = "reqwest")]
table! {
    ReqwestClassifier: Send Sync Unpin Clone;
    ReqwestRejection: Send Sync Unpin Clone;
}

/// What comes with HTTP.
#[cfg(feature = "http")]
mod http_types {
    use axum::body::{Body, Bytes};
    use http_body_util::{Empty, Full};
    use tower_circuit_breaker::body::{TrackedBodies, TrackedBodiesLayer, TrackedBody, TrackedFuture};

    use super::*;

    /// The body of a response, tracked.
    type Tracked<B> = TrackedBody<B, DefaultClassifier, (), Infallible>;

    /// The future of a call with that body.
    type Coming<F, B = Empty<Bytes>> = TrackedFuture<F, DefaultClassifier, BoxedErrors, (), B, Infallible>;

    table! {
    TrackedBodiesLayer: Send Sync Unpin Clone;
    TrackedBodiesLayer<OnItsThread>: Unpin Clone !Send !Sync;
    TrackedBodiesLayer<NotCloned>: Send Sync Unpin !Clone;
    TrackedBodies<()>: Send Sync Unpin Clone;
    TrackedBodies<OnItsThread>: Unpin Clone !Send !Sync;
    TrackedBodies<NotCloned>: Send Sync Unpin !Clone;
    TrackedBodies<PhantomPinned>: Send Sync Clone !Unpin;

    // A body is what the inner body is; of the request it keeps nothing.
    TrackedBody<Full<Bytes>, DefaultClassifier, OnItsThread, OnItsThread>: Send Sync Unpin !Clone;
    Tracked<Body>: Send Unpin !Sync;
    TrackedFuture<Ready<()>, DefaultClassifier, BoxedErrors, (), Empty<Bytes>, Infallible>: Send Sync Unpin !Clone;
    Coming<OnItsThread>: Unpin !Send !Sync;
    Coming<PhantomPinned>: Send Sync !Unpin;
    // It may carry the answer to a rejection.
    Coming<(), Body>: Send Unpin !Sync;
    }
}

#[cfg(feature = "http")]
table! {
    AtEndOfBody<OnItsThread>: Send Sync Unpin;
    AtHeaders: Send Sync Unpin Clone;
    BoxedBodyError: Send Sync Unpin Clone;
    HeadersOnly: Send Sync Unpin Clone;
    HttpClassifier: Send Sync Unpin Clone;
    HttpClassifier<AtEndOfBody<PlainBodyError>>: Send Sync Unpin Clone;
    HttpRejection: Send Sync Unpin Clone;
    PlainBodyError: Send Sync Unpin Clone;
}

#[cfg(feature = "admin")]
mod page {
    use tower_circuit_breaker::admin::{AdminRouter, Denied, InvalidSite, InvalidToken, User};

    use super::*;

    table! {
    AdminRouter: Send Sync Unpin !Clone;
    Denied: Send Sync Unpin Clone;
    InvalidSite: Send Sync Unpin Clone;
    InvalidToken: Send Sync Unpin Clone;
    User: Send Sync Unpin Clone;
    }
}

#[cfg(feature = "metrics")]
table! {
    MetricsObserver: Send Sync Unpin !Clone;
}

#[cfg(feature = "http")]
table! {
    StatusInside: Send Sync Unpin !Clone;
}

#[cfg(feature = "tonic")]
table! {
    CodeInside: Send Sync Unpin !Clone;
}

#[cfg(feature = "http")]
mod grpc {
    use tower_circuit_breaker::classify::{GrpcCall, GrpcClassifier, GrpcCode};
    use tower_circuit_breaker::rejection::GrpcRejection;

    use super::*;

    table! {
    GrpcCall: Send Sync Unpin Clone;
    GrpcClassifier: Send Sync Unpin Clone;
    GrpcCode: Send Sync Unpin Clone;
    GrpcRejection: Send Sync Unpin Clone;
    }
}

#[cfg(feature = "keyed")]
table! {
    Keyed<fn()>: Send Sync Unpin Clone;
    Keyed<NotCloned>: Send Sync Unpin Clone;
    Keyed<OnItsThread>: Unpin Clone !Send !Sync;
    KeyedBuilder: Send Sync Unpin !Clone;
    KeyedStatus: Send Sync Unpin Clone;
}

#[cfg(feature = "tracing")]
table! {
    TracingObserver: Send Sync Unpin !Clone;
}

#[cfg(feature = "load-shed")]
mod shedding {
    use tower_circuit_breaker::shed::{
        CpuProbe, LoadShedding, LoadSheddingBuilder, LoadSheddingLayer, NoEstimate, SheddingFuture,
    };

    use super::*;

    type Future<F, R = BoxedErrors, Res = ()> = SheddingFuture<F, R, OnItsThread, Res, Infallible>;

    table! {
    CpuProbe: Send Sync Unpin !Clone;
    LoadShedding<()>: Send Sync Unpin Clone;
    LoadShedding<OnItsThread>: Unpin Clone !Send !Sync;
    LoadShedding<(), OnItsThread>: Unpin Clone !Send !Sync;
    LoadShedding<(), NoEstimate, OnItsThread>: Unpin Clone !Send !Sync;
    LoadSheddingBuilder: Send Sync Unpin !Clone;
    LoadSheddingLayer: Send Sync Unpin Clone;
    LoadSheddingLayer<OnItsThread>: Unpin Clone !Send !Sync;
    LoadSheddingLayer<NotCloned>: Send Sync Unpin !Clone;
    NoEstimate: Send Sync Unpin Clone;
    SheddingFuture<(), BoxedErrors, (), (), Infallible>: Send Sync Unpin;
    Future<Ready<()>>: Send Sync Unpin !Clone;
    Future<OnItsThread>: Unpin !Send !Sync;
    Future<PhantomPinned>: Send Sync !Unpin;
    Future<(), BoxedErrors, OnItsThread>: Unpin !Send !Sync;
    }
}

/// What comes with the feature `retry`.
#[cfg(feature = "retry")]
mod retries {
    use tower_circuit_breaker::retry::{
        Attempts, Cloned, InErrors, InResponses, RetryFuture, RetryPolicy, RetryPolicyBuilder,
    };

    use super::*;

    table! {
    Attempts: Send Sync Unpin Clone;
    Attempts<OnItsThread>: Unpin Clone !Send !Sync;
    Cloned: Send Sync Unpin Clone;
    InErrors: Send Sync Unpin Clone;
    InResponses: Send Sync Unpin Clone;
    RetryFuture<Ready<()>>: Send Sync !Unpin !Clone;
    RetryFuture<OnItsThread>: !Send !Sync;
    RetryPolicy: Send Sync Unpin Clone;
    RetryPolicy<NotCloned>: Send Sync Unpin !Clone;
    RetryPolicy<(), OnItsThread>: Unpin Clone !Send !Sync;
    RetryPolicyBuilder: Send Sync Unpin Clone;
    }
}

/// The future of a call through the breaker.
type Guarded<F, R = BoxedErrors, Req = (), Res = (), Err = Infallible> =
    ResponseFuture<F, DefaultClassifier, R, Req, Res, Err>;

/// Neither `Send` nor `Sync`.
type OnItsThread = Rc<()>;

/// Not `Clone`.
struct NotCloned;

/// What comes with persistence.
#[cfg(feature = "full")]
mod stores {
    use tower_circuit_breaker::coordinator::{
        NoRuntime, Recovered, RegistryBuilder, RestoreReport, Restored, Sharing, ShutdownReport, StoreStatus,
    };
    use tower_circuit_breaker::operation::{
        Change, Changes, FleetInstance, FleetLease, FleetStatus, FleetVote, Membership, Operator, Reach, Shown,
    };
    use tower_circuit_breaker::record::{
        CircuitRecord, Command, CorruptRecord, Effect, Fleet, FleetChange, FleetCommand, InstanceEntry, Lease, Member,
        Opening, Operated, OperatorCommand, Timestamp, TransitionCommand, Vote,
    };
    use tower_circuit_breaker::settings::{Persistence, Settings, SettingsError, StoreKind, StoreUrl};
    use tower_circuit_breaker::store::conformance::{Case, Suite};
    use tower_circuit_breaker::store::schema::SchemaMode;
    use tower_circuit_breaker::store::{
        AnyStore, AuditFilter, AuditRow, Etag, Fault, Faults, FaultyStore, FileStore, Hint, Loaded, MemoryStore,
        Operation, PostgresStore, RedisStore, SqliteStore, StoreError, StoreErrorKind, TieredStore, Versioned, Watch,
        WatchEvent, WatchSender, Write, Written,
    };

    use super::*;

    table! {
    AnyStore: Send Sync Unpin Clone;
    AuditFilter: Send Sync Unpin Clone;
    AuditRow: Send Sync Unpin Clone;
    Case: Send Sync Unpin Clone;
    Change: Send Sync Unpin Clone;
    Changes: Send Sync Unpin !Clone;
    CircuitRecord: Send Sync Unpin Clone;
    Command: Send Sync Unpin Clone;
    CorruptRecord: Send Sync Unpin Clone;
    Etag: Send Sync Unpin Clone;
    Fault: Send Sync Unpin Clone;
    Faults: Send Sync Unpin Clone;
    FaultyStore<MemoryStore>: Send Sync Unpin Clone;
    FileStore: Send Sync Unpin Clone;
    Fleet: Send Sync Unpin Clone;
    FleetChange: Send Sync Unpin Clone;
    FleetCommand: Send Sync Unpin Clone;
    FleetInstance: Send Sync Unpin Clone;
    FleetLease: Send Sync Unpin Clone;
    FleetStatus: Send Sync Unpin Clone;
    FleetVote: Send Sync Unpin Clone;
    Hint: Send Sync Unpin Clone;
    InstanceEntry: Send Sync Unpin Clone;
    Lease: Send Sync Unpin Clone;
    Loaded: Send Sync Unpin Clone;
    Member: Send Sync Unpin Clone;
    Membership: Send Sync Unpin Clone;
    MemoryStore: Send Sync Unpin Clone;
    NoRuntime: Send Sync Unpin Clone;
    Opening: Send Sync Unpin Clone;
    Operated: Send Sync Unpin Clone;
    Operation: Send Sync Unpin Clone;
    Operator: Send Sync Unpin Clone;
    OperatorCommand: Send Sync Unpin Clone;
    Persistence: Send Sync Unpin Clone;
    PostgresStore: Send Sync Unpin Clone;
    Reach: Send Sync Unpin Clone;
    Recovered: Send Sync Unpin Clone;
    RedisStore: Send Sync Unpin Clone;
    RegistryBuilder: Send Sync Unpin !Clone;
    RestoreReport: Send Sync Unpin Clone;
    Restored: Send Sync Unpin Clone;
    SchemaMode: Send Sync Unpin Clone;
    Settings: Send Sync Unpin Clone;
    SettingsError: Send Sync Unpin Clone;
    Sharing: Send Sync Unpin Clone;
    ShutdownReport: Send Sync Unpin Clone;
    Shown: Send Sync Unpin Clone;
    SqliteStore: Send Sync Unpin Clone;
    StoreError: Send Sync Unpin !Clone;
    StoreErrorKind: Send Sync Unpin Clone;
    StoreKind: Send Sync Unpin Clone;
    StoreStatus: Send Sync Unpin Clone;
    StoreUrl: Send Sync Unpin Clone;
    Timestamp: Send Sync Unpin Clone;
    TieredStore<MemoryStore, MemoryStore>: Send Sync Unpin Clone;
    TransitionCommand: Send Sync Unpin Clone;
    Effect: Send Sync Unpin Clone;
    Versioned: Send Sync Unpin Clone;
    Vote: Send Sync Unpin Clone;
    Watch: Send Sync Unpin !Clone;
    WatchEvent: Send Sync Unpin Clone;
    WatchSender: Send Sync Unpin Clone;
    Write: Send Sync Unpin Clone;
    Written: Send Sync Unpin Clone;
    Suite<'static>: Send Sync Unpin !Clone;
    }
}

/// This file imports from the root the types that programs pass, match on or keep, and that an item of the root has.
#[test]
fn types_that_programs_get_from_the_root_are_at_the_root() {
    let _: fn(&'static str) -> Result<Config, ConfigError> = Config::new;
    let _: fn(&'static str) -> ConfigBuilder = Config::builder;
    let _: fn(&Rejected) -> RejectReason = Rejected::reason;
    let _: fn(&Rejected) -> Option<Transition> = Rejected::why;
    let _: fn(&Transition) -> &Reason = |edge| &edge.reason;
    let _: fn(&Circuit) -> Standing = Circuit::standing;
    let _: fn(&Circuit, &By, To) -> Transition = Circuit::reset;
    let _: fn(&Failure) -> (Weight, FailureKind) = |failure| (failure.weight(), failure.kind());
}

/// A library names these types as the defaults of its own parameters, and creates them in its `new`.
#[test]
fn each_default_of_a_type_parameter_has_a_constant_constructor() {
    const DEFAULTS: (DefaultClassifier, BoxedErrors, TypedErrors) =
        (DefaultClassifier::new(), BoxedErrors::new(), TypedErrors::new());
    let (classifier, boxed, typed) = DEFAULTS;
    let circuit = Circuit::new(Config::new("payments").unwrap());
    let layer = || CircuitBreakerLayer::new(&circuit).classifier(classifier);
    let _boxed: CircuitBreakerLayer = layer().rejection(boxed);
    let _typed: CircuitBreakerLayer<DefaultClassifier, TypedErrors> = layer().rejection(typed);
}

#[test]
fn every_public_type_is_in_the_table() {
    let table = include_str!("types.rs");
    let mut missing = BTreeSet::new();
    for source in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        for line in source.lines() {
            let item = ["pub struct ", "pub enum "].iter().find_map(|item| line.trim_start().strip_prefix(item));
            let Some(name) = item.and_then(|item| item.split(|c: char| !c.is_alphanumeric()).next()) else { continue };
            let listed =
                |line: &str| line.trim_start().strip_prefix(name).is_some_and(|rest| rest.starts_with([':', '<']));
            if !table.lines().any(listed) && name != "ResponseFuture" {
                missing.insert(name.to_owned());
            }
        }
    }
    assert!(missing.is_empty(), "add to the table in {}: {missing:?}", file!());
}

fn sources(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(fs::read_to_string(&path).unwrap());
        }
    }
    found
}
