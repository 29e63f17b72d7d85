//! What the parts for HTTP and gRPC add to a call: classifiers, and bodies that are tracked to their end.

#[path = "stacks/bodies.rs"]
mod bodies;
#[path = "harness/cli.rs"]
mod cli;
#[path = "stacks/grpc.rs"]
mod grpc;
#[path = "stacks/http.rs"]
mod http;
#[path = "harness/rounds.rs"]
mod rounds;

fn main() {
    let options = cli::Options::from_args();
    http::run(&options);
    grpc::run(&options);
    bodies::run(&options);
}
