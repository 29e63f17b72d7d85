//! The name of a gRPC service behind a circuit, which stays that of the inner service so that tonic routes to it.

use ::tonic::server::NamedService;

use super::CircuitBreaker;

/// The name of the inner service. `Server::add_service(layer.layer(service))` routes as without the layer.
impl<S: NamedService, C, R, K> NamedService for CircuitBreaker<S, C, R, K> {
    const NAME: &'static str = S::NAME;
}
