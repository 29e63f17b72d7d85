//! The status codes of gRPC, and the default outcome of each code.

use http::{HeaderMap, StatusCode};

use crate::outcome::{Failure, FailureKind, Outcome};

/// A status code of gRPC, with its number on the wire.
///
/// The type belongs to this crate, so that the classifier needs no gRPC library. With the feature `tonic`,
/// `tonic::Code` converts into this type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the protocol has these; others are read as `Unknown`")]
pub enum GrpcCode {
    /// The call succeeded.
    Ok = 0,
    /// The call was cancelled, mostly by its caller.
    Cancelled = 1,
    /// An unknown error. A number without a variant of this enum is read as `Unknown`.
    Unknown = 2,
    /// The argument is invalid in any state of the service.
    InvalidArgument = 3,
    /// The deadline of the call passed.
    DeadlineExceeded = 4,
    /// The requested entity does not exist.
    NotFound = 5,
    /// The entity to create exists already.
    AlreadyExists = 6,
    /// The caller lacks the permission.
    PermissionDenied = 7,
    /// A resource is exhausted, such as a quota of the caller or the memory of the server.
    ResourceExhausted = 8,
    /// The state of the service does not allow the call.
    FailedPrecondition = 9,
    /// The call was aborted, mostly by a conflict with another call.
    Aborted = 10,
    /// The call asked for something past the valid range.
    OutOfRange = 11,
    /// The server does not implement the method.
    Unimplemented = 12,
    /// An internal error of the server.
    Internal = 13,
    /// The server is unavailable.
    Unavailable = 14,
    /// Data are lost or damaged.
    DataLoss = 15,
    /// The credentials of the caller are missing or invalid.
    Unauthenticated = 16,
}

impl GrpcCode {
    /// The number of codes.
    pub(super) const COUNT: usize = 17;

    /// Returns the index of the code in a table of [`COUNT`](Self::COUNT) elements.
    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// Returns the code in `grpc-status`, or `None` if the headers do not contain that header. A status is a decimal
    /// number without leading zeros. Any other value is read as `Unknown`.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let number = match headers.get("grpc-status")?.as_bytes() {
            [digit @ b'0'..=b'9'] => usize::from(digit - b'0'),
            [b'1', digit @ b'0'..=b'9'] => usize::from(10 + digit - b'0'),
            _ => return Some(Self::Unknown),
        };
        Some(ALL.get(number).copied().unwrap_or(Self::Unknown))
    }

    /// Translates the HTTP status of a response without `grpc-status` into a gRPC code.
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

    /// Returns the default outcome of the code.
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

/// All codes, ordered by number.
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
