//! The name of a gRPC service behind a circuit. The name is that of the inner service, so that tonic routes calls in
//! the same way as without the layer.

use ::tonic::server::NamedService;

use super::CircuitBreaker;

/// Passes on the name of the inner service, so that `Server::add_service(layer.layer(service))` routes calls in the
/// same way as without the layer.
impl<S: NamedService, C, R, K> NamedService for CircuitBreaker<S, C, R, K> {
    const NAME: &'static str = S::NAME;
}
