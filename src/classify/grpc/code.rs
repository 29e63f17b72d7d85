//! The codes of gRPC, and what each means by default.

use http::{HeaderMap, StatusCode};

use crate::outcome::{Failure, FailureKind, Outcome};

/// A status code of gRPC, with its number on the wire.
///
/// Its own type, so that it needs no gRPC library; with the feature `tonic`, `tonic::Code` converts into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the protocol has these; others are read as `Unknown`")]
pub enum GrpcCode {
    /// It went well.
    Ok = 0,
    /// The call was cancelled, mostly by its caller.
    Cancelled = 1,
    /// An error that nobody translated, and every code that is none.
    Unknown = 2,
    /// The caller sent nonsense.
    InvalidArgument = 3,
    /// It took too long.
    DeadlineExceeded = 4,
    /// There is no such thing.
    NotFound = 5,
    /// There is such a thing already.
    AlreadyExists = 6,
    /// The caller may not do that.
    PermissionDenied = 7,
    /// Something is used up: a quota of the caller's, or the server's memory.
    ResourceExhausted = 8,
    /// It is not the time for that.
    FailedPrecondition = 9,
    /// Two callers were in each other's way.
    Aborted = 10,
    /// The caller asked for more than there is.
    OutOfRange = 11,
    /// The server has no such method.
    Unimplemented = 12,
    /// The server is broken.
    Internal = 13,
    /// The server is not there.
    Unavailable = 14,
    /// Data are lost or damaged.
    DataLoss = 15,
    /// The caller did not say who it is.
    Unauthenticated = 16,
}

impl GrpcCode {
    /// How many there are.
    pub(super) const COUNT: usize = 17;

    /// Returns its place in a table of all.
    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// Reads `grpc-status`, if it is there: decimal, without leading zeros.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let number = match headers.get("grpc-status")?.as_bytes() {
            [digit @ b'0'..=b'9'] => usize::from(digit - b'0'),
            [b'1', digit @ b'0'..=b'9'] => usize::from(10 + digit - b'0'),
            _ => return Some(Self::Unknown),
        };
        Some(ALL.get(number).copied().unwrap_or(Self::Unknown))
    }

    /// Translates the HTTP status of an answer without `grpc-status`.
    pub(super) const fn of_http(status: StatusCode) -> Self {
        match status {
            StatusCode::BAD_REQUEST => Self::Internal,
            StatusCode::UNAUTHORIZED => Self::Unauthenticated,
            StatusCode::FORBIDDEN => Self::PermissionDenied,
            StatusCode::NOT_FOUND => Self::Unimplemented,
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// Returns what it means unless the classifier was told otherwise.
    pub(super) const fn outcome(self) -> Outcome {
        let kind = match self {
            Self::Ok
            | Self::InvalidArgument
            | Self::NotFound
            | Self::AlreadyExists
            | Self::PermissionDenied
            | Self::FailedPrecondition
            | Self::Aborted
            | Self::OutOfRange
            | Self::Unimplemented
            | Self::Unauthenticated => return Outcome::Success,
            Self::Cancelled => return Outcome::Ignored,
            Self::DeadlineExceeded => return Outcome::timeout(),
            Self::Unknown => "grpc_unknown",
            Self::ResourceExhausted => "grpc_resource_exhausted",
            Self::Internal => "grpc_internal",
            Self::Unavailable => "grpc_unavailable",
            Self::DataLoss => "grpc_data_loss",
        };
        Outcome::Failure(Failure::hard().with_kind(FailureKind::Named(kind)))
    }
}

#[cfg(feature = "tonic")]
impl From<::tonic::Code> for GrpcCode {
    fn from(code: ::tonic::Code) -> Self {
        usize::try_from(i32::from(code)).ok().and_then(|number| ALL.get(number).copied()).unwrap_or(Self::Unknown)
    }
}

/// By number.
const ALL: [GrpcCode; GrpcCode::COUNT] = [
    GrpcCode::Ok,
    GrpcCode::Cancelled,
    GrpcCode::Unknown,
    GrpcCode::InvalidArgument,
    GrpcCode::DeadlineExceeded,
    GrpcCode::NotFound,
    GrpcCode::AlreadyExists,
    GrpcCode::PermissionDenied,
    GrpcCode::ResourceExhausted,
    GrpcCode::FailedPrecondition,
    GrpcCode::Aborted,
    GrpcCode::OutOfRange,
    GrpcCode::Unimplemented,
    GrpcCode::Internal,
    GrpcCode::Unavailable,
    GrpcCode::DataLoss,
    GrpcCode::Unauthenticated,
];
