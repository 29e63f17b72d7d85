//! The metric handles of one label, which are kept between calls. Each recorder has its own set of handles, and each
//! thread keeps a copy of the set that the thread used last. A refresh replaces the sets, so that series that the
//! exporter has dropped appear again.
//!
//! An exporter may drop an idle series. Later counts through an old handle of this series are lost, and the `metrics`
//! facade does not report this loss. Therefore a refresh registers all handles anew. A call must usually find the new
//! handles without a lock. Therefore each thread has a fixed number of places for copies, and each copy has a version.
//! The thread takes the lock only after a refresh, or if the place has the handles of another label.

use std::cell::RefCell;
use std::mem;
use std::ptr;
use std::sync::Arc;

use super::handles::Handles;
use super::rare::Rare;
use crate::sync::{Acquire, AtomicU64, Mutex, Relaxed, Release};

/// The handles of one label, with one set for each recorder.
#[derive(Debug)]
pub(super) struct Kept {
    /// The number that identifies this label in the threads' places for handles. No two labels have the same number.
    id: u64,
    /// The version of the sets, which grows when a set is added or replaced.
    version: AtomicU64,
    /// The sets of handles, one for each recorder, in the order of their first use. At most `RECORDERS`.
    sets: Mutex<Vec<Arc<Handles>>>,
    pub(super) rare: Rare,
}

impl Kept {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // Relaxed: a number, publishes nothing.
        Self {
            id: NEXT.fetch_add(1, Relaxed),
            version: AtomicU64::new(0),
            sets: Mutex::default(),
            rare: Rare::default(),
        }
    }

    /// Calls `act` with the handles of the label for the recorder of this thread. If the handles are missing, registers
    /// them with `register` and then calls `registered`.
    pub(super) fn with(
        &self,
        register: impl FnOnce(usize) -> Handles,
        registered: impl FnOnce(),
        act: impl FnOnce(&Handles),
    ) {
        let recorder = recorder();
        let mut act = Some(act);
        let at_hand = AT_HAND.try_with(|places| {
            // The borrow is shared, because `act` calls the recorder. If the recorder calls a circuit itself, that call
            // borrows the place again.
            let Ok(place) = self.place(places).try_borrow() else { return };
            // Acquire: pairs with the Release in `put`, so that a thread that sees a new version takes the new set.
            let version = self.version.load(Acquire);
            if let Some(at_hand) = place.as_ref().filter(|at_hand| at_hand.is(self.id, version, recorder))
                && let Some(act) = act.take()
            {
                act(&at_hand.handles);
            }
        });
        // An error means that the thread is ending and has dropped its places. The thread then uses the lock.
        at_hand.ok();
        if let Some(act) = act {
            act(&self.find(recorder, register, registered));
        }
    }

    /// Returns the set of the recorder, and registers a missing set first. Keeps a copy of the set in this thread.
    #[cold]
    fn find(
        &self,
        recorder: usize,
        register: impl FnOnce(usize) -> Handles,
        registered: impl FnOnce(),
    ) -> Arc<Handles> {
        let sets = self.sets.lock();
        let known = sets.iter().find(|set| set.recorder == recorder).cloned();
        // Relaxed: the version changes only under the lock, which this thread holds.
        let version = self.version.load(Relaxed);
        drop(sets);
        if let Some(handles) = known {
            self.keep_at_hand(version, &handles);
            return handles;
        }
        let handles = self.put(register(recorder));
        registered();
        handles
    }

    /// Registers the series of the label anew with the recorder of this thread. Series that the exporter has dropped
    /// then appear again.
    pub(super) fn renew(&self, label: &str, register: impl FnOnce(usize) -> Handles) {
        self.put(register(recorder()));
        self.rare.renew(label);
    }

    /// Stores a set of handles, and keeps a copy in this thread. The new set replaces an earlier set of the same
    /// recorder, because the exporter may have dropped series of the earlier set. If there are too many recorders,
    /// drops the oldest set.
    fn put(&self, handles: Handles) -> Arc<Handles> {
        let handles = Arc::new(handles);
        let mut sets = self.sets.lock();
        let earlier = match sets.iter().position(|set| set.recorder == handles.recorder) {
            Some(place) => Some(mem::replace(&mut sets[place], Arc::clone(&handles))),
            None => {
                let oldest = (sets.len() == RECORDERS).then(|| sets.remove(0));
                // Reserves room for one set only, because nearly every process has one recorder.
                sets.reserve_exact(1);
                sets.push(Arc::clone(&handles));
                oldest
            }
        };
        // Relaxed for the load, because the version changes only under the lock. Release: pairs with the Acquire in
        // `with`.
        let version = self.version.load(Relaxed) + 1;
        self.version.store(version, Release);
        drop(sets);
        // The handles are dropped after the lock was released, because their drop is foreign code.
        drop(earlier);
        self.keep_at_hand(version, &handles);
        handles
    }

    fn keep_at_hand(&self, version: u64, handles: &Arc<Handles>) {
        let new = AtHand { id: self.id, version, handles: Arc::clone(handles) };
        let before = AT_HAND.try_with(|places| {
            // If a recorder has called a circuit from its own code, the place is borrowed, and no copy is kept.
            self.place(places).try_borrow_mut().ok().and_then(|mut place| place.replace(new))
        });
        // The replaced handles are dropped after the borrow has ended, because their drop is foreign code.
        drop(before);
    }

    fn place<'a>(&self, places: &'a Places) -> &'a RefCell<Option<AtHand>> {
        let place = usize::try_from(self.id % PLACES as u64).expect("smaller than PLACES");
        &places[place]
    }
}

/// Drops this thread's copy of the handles. Another thread drops its copy when that thread needs the place for another
/// label.
impl Drop for Kept {
    fn drop(&mut self) {
        let at_hand = AT_HAND.try_with(|places| {
            let mut place = self.place(places).try_borrow_mut().ok()?;
            place.take_if(|at_hand| at_hand.id == self.id)
        });
        // The handles are dropped after the borrow has ended, because their drop is foreign code.
        drop(at_hand);
    }
}

/// A thread's copy of the handles of a label.
#[derive(Debug)]
struct AtHand {
    id: u64,
    version: u64,
    handles: Arc<Handles>,
}

impl AtHand {
    fn is(&self, id: u64, version: u64, recorder: usize) -> bool {
        self.id == id && self.version == version && self.handles.recorder == recorder
    }
}

/// Returns the address of this thread's recorder.
fn recorder() -> usize {
    metrics::with_recorder(|recorder| ptr::from_ref(recorder).addr())
}

type Places = [RefCell<Option<AtHand>>; PLACES];

/// The number of places for handles in each thread. The place of a label is its `id` modulo this number.
const PLACES: usize = 64;
/// The number of recorders whose handles are kept. Four are enough for the default recorder (which does nothing), the
/// recorder of the application, and two recorders of tests.
const RECORDERS: usize = 4;

thread_local! {
    static AT_HAND: Places = const { [const { RefCell::new(None) }; PLACES] };
}
