//! The concurrent execution of several futures inside the task of one operation. No future gets a task of its own.
//! Therefore the time limit of the operation covers all of the futures, and a dropped operation drops all of the
//! futures.

use std::future::poll_fn;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::Poll;

/// Runs the futures, and passes each output to `each` with the index of its future. If `each` returns `Break`, drops
/// the other futures and returns the value of the `Break`. Otherwise returns `None` after the last output.
///
/// # Cancel safety
///
/// If the future is dropped, all of the futures are dropped.
pub(super) async fn together<F: Future, R>(
    futures: impl IntoIterator<Item = F>,
    mut each: impl FnMut(usize, F::Output) -> ControlFlow<R>,
) -> Option<R> {
    let mut running: Vec<(usize, Pin<Box<F>>)> =
        futures.into_iter().enumerate().map(|(at, future)| (at, Box::pin(future))).collect();
    poll_fn(move |context| {
        let mut next = 0;
        while let Some((at, future)) = running.get_mut(next) {
            let Poll::Ready(output) = future.as_mut().poll(context) else {
                next += 1;
                continue;
            };
            let at = *at;
            drop(running.swap_remove(next));
            if let ControlFlow::Break(end) = each(at, output) {
                return Poll::Ready(Some(end));
            }
        }
        if running.is_empty() { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}
