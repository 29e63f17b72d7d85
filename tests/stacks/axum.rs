//! axum servers and clients: the layer at every place of a router, and real peers over loopback.

mod faults;
mod peers;
mod places;
mod uploads;
