//! Orders to the circuits of this process.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Done, Kept, Order, Refused};
use crate::circuit::{Circuit, Status, To};
use crate::nearest::nearest;
use crate::registry::Registry;
use crate::state::{By, Transition};

#[cfg(feature = "store")]
use crate::coordinator::{Delivery, Fate, NoRoom};
#[cfg(feature = "store")]
use crate::state::Reason;
#[cfg(feature = "store")]
use crate::store::{AuditFilter, AuditRow, StoreError, answer_within};

/// What operators do, and ask.
impl Registry {
    /// Carries out an order: in this process at once, and then in the store, if there is one.
    ///
    /// It waits until the store has it, at most for [`store_timeout`](../coordinator/struct.RegistryBuilder.html#method.store_timeout).
    /// A store that is down refuses nothing: the answer is then [`Kept::Here`], and the act goes on its way with its age.
    ///
    /// # Errors
    ///
    /// [`Refused`], with one sentence for the operator.
    ///
    /// # Cancel safety
    ///
    /// The act is done when the future is polled first, before it waits for anything. Dropped later, only the answer is lost: the
    /// act binds here and goes on its way to the store. Given again, the same order is answered as the first time.
    pub async fn operate(&self, name: &str, order: &Order) -> Result<Done, Refused> {
        self.begin(name, order)?.end(&mut true).await
    }

    /// Forces a circuit open, until a reset, or for as long as `hold` says: [`Order::trip`].
    ///
    /// # Errors
    ///
    /// [`Refused`].
    ///
    /// # Cancel safety
    ///
    /// As of [`operate`](Self::operate).
    pub async fn trip(&self, name: &str, by: &By, hold: Option<Duration>) -> Result<Done, Refused> {
        let mut order = Order::trip(by);
        if let Some(hold) = hold {
            order = order.hold(hold);
        }
        self.operate(name, &order).await
    }

    /// Ends every override of a circuit, and lets it probe or closes it: [`Order::reset`]. `force` skips the cooldown.
    ///
    /// # Errors
    ///
    /// [`Refused`]; [`Cooldown`](Refused::Cooldown) says how long it still is.
    ///
    /// # Cancel safety
    ///
    /// As of [`operate`](Self::operate).
    pub async fn reset(&self, name: &str, by: &By, to: To, force: bool) -> Result<Done, Refused> {
        let order = Order::reset(by, to);
        self.operate(name, &if force { order.force() } else { order }).await
    }

    /// Lets every call of a circuit through, uncounted, for so long: [`Order::disable`], which can also be said to have no end.
    ///
    /// # Errors
    ///
    /// [`Refused`].
    ///
    /// # Cancel safety
    ///
    /// As of [`operate`](Self::operate).
    pub async fn disable(&self, name: &str, by: &By, hold: Duration) -> Result<Done, Refused> {
        self.operate(name, &Order::disable(by).hold(hold)).await
    }

    /// Takes an override away: [`Order::resume`].
    ///
    /// # Errors
    ///
    /// [`Refused`]; [`NothingHeld`](Refused::NothingHeld) if there is none.
    ///
    /// # Cancel safety
    ///
    /// As of [`operate`](Self::operate).
    pub async fn resume(&self, name: &str, by: &By) -> Result<Done, Refused> {
        self.operate(name, &Order::resume(by)).await
    }

    /// Lets a circuit begin anew, and deletes what the store keeps of it: [`Order::forget`].
    ///
    /// # Errors
    ///
    /// [`Refused`].
    ///
    /// # Cancel safety
    ///
    /// As of [`operate`](Self::operate).
    pub async fn forget(&self, name: &str, by: &By) -> Result<Done, Refused> {
        self.operate(name, &Order::forget(by)).await
    }

    /// Resets every circuit, each as [`reset`](Self::reset) does, and returns what became of each by name.
    ///
    /// All are reset here before it waits for the store, and it waits for all together no longer than for one.
    ///
    /// # Cancel safety
    ///
    /// As of [`operate`](Self::operate).
    pub async fn reset_all(&self, by: &By, to: To, force: bool) -> BTreeMap<String, Result<Done, Refused>> {
        let order = Order::reset(by, to);
        let order = if force { order.force() } else { order };
        // Outside the lock: observers are told, and may ask the registry.
        let names: Vec<_> = self.circuits().iter().map(|circuit| circuit.name().to_owned()).collect();
        let begun: Vec<_> = names.iter().map(|name| self.begin(name, &order)).collect();
        let mut done = BTreeMap::new();
        let mut patient = true;
        for (name, begun) in names.into_iter().zip(begun) {
            let answer = match begun {
                Ok(begun) => begun.end(&mut patient).await,
                Err(refused) => Err(refused),
            };
            done.insert(name, answer);
        }
        done
    }

    /// Returns the status of a circuit.
    ///
    /// # Errors
    ///
    /// [`Refused::NoSuchCircuit`], with the name that was perhaps meant.
    pub fn status(&self, name: &str) -> Result<Status, Refused> {
        self.find(name).map(|circuit| circuit.status())
    }

    /// Returns whether a circuit has tripped and not closed since: open, half-open or forced open.
    ///
    /// # Errors
    ///
    /// [`Refused::NoSuchCircuit`], with the name that was perhaps meant.
    pub fn is_tripped(&self, name: &str) -> Result<bool, Refused> {
        self.status(name).map(|status| status.standing().is_tripped())
    }

    /// Returns the circuit of that name, or the name that was perhaps meant.
    pub(crate) fn find(&self, name: &str) -> Result<Circuit, Refused> {
        self.get(name).ok_or_else(|| Refused::NoSuchCircuit {
            name: name.to_owned(),
            nearest: nearest(name, self.circuits().iter().map(Circuit::name)),
        })
    }

    /// Does here what was ordered.
    fn begin(&self, name: &str, order: &Order) -> Result<Begun, Refused> {
        order.check()?;
        let circuit = self.find(name)?;
        #[cfg(feature = "store")]
        let mut on_its_way = None;
        #[cfg(feature = "store")]
        if let Some(delivery) = self.delivery() {
            delivery.admit(name).map_err(refused)?;
            // Before it is done, so that its end is not missed.
            let fate = delivery.expect(name, order.command_id());
            on_its_way = Some((delivery, fate));
        }
        let done = circuit.act(order);
        #[cfg(feature = "store")]
        if let Some((delivery, _)) = &on_its_way {
            match &done {
                Ok(Some(_)) => delivery.hurry(),
                Ok(None) => {
                    delivery.withdraw();
                    delivery.ask(name, order);
                }
                Err(_) => delivery.withdraw(),
            }
        }
        Ok(Begun {
            transition: done?,
            #[cfg(feature = "store")]
            on_its_way,
        })
    }
}

#[cfg(feature = "store")]
impl Registry {
    /// Returns the rows of the audit that pass, newest first: trips and resets, automatic or by hand, with who and why.
    ///
    /// Without a store they are what the circuits of this process remember, 128 transitions each.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store could not be asked in time. Rows that wait for it are not among those returned.
    ///
    /// # Cancel safety
    ///
    /// Dropped, nothing has happened.
    pub async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        let Some(delivery) = self.delivery() else { return Ok(remembered(&self.circuits(), filter)) };
        let (store, timeout) = (delivery.store(), delivery.timeout());
        let mut rows = answer_within(timeout, store.audit(filter)).await?;
        rows.reverse();
        Ok(rows)
    }
}

/// An order that was carried out here.
struct Begun {
    transition: Option<Transition>,
    #[cfg(feature = "store")]
    on_its_way: Option<(Delivery, tokio::sync::oneshot::Receiver<Fate>)>,
}

impl Begun {
    /// Waits for the store; no longer if others before have waited in vain.
    #[cfg(feature = "store")]
    async fn end(self, patient: &mut bool) -> Result<Done, Refused> {
        let Self { transition, on_its_way } = self;
        let Some((delivery, fate)) = on_its_way else { return Ok(Done { transition, kept: Kept::Nowhere }) };
        let kept = match delivery.fate(fate, *patient).await {
            Ok(Fate::Stored { generation }) => Kept::Stored { generation },
            Ok(Fate::Superseded { why }) => return Err(Refused::Superseded { why }),
            Ok(Fate::Expired) => return Err(Refused::Expired),
            Ok(Fate::Unwritable { version }) => {
                let why = Refused::Unwritable { version }.to_string();
                Kept::Here { pending: delivery.pending(), why }
            }
            Err(why) => {
                *patient = false;
                Kept::Here { pending: delivery.pending(), why }
            }
        };
        Ok(Done { transition, kept })
    }

    #[cfg(not(feature = "store"))]
    async fn end(self, _patient: &mut bool) -> Result<Done, Refused> {
        Ok(Done { transition: self.transition, kept: Kept::Nowhere })
    }
}

#[cfg(feature = "store")]
fn refused(why: NoRoom) -> Refused {
    match why {
        NoRoom::Outbox(rows) => Refused::OutboxFull { rows },
        NoRoom::Unwritable(version) => Refused::Unwritable { version },
    }
}

/// Returns the audit of a registry without a store, from the transitions that its circuits remember. Newest first.
#[cfg(feature = "store")]
fn remembered(circuits: &[Circuit], filter: &AuditFilter) -> Vec<AuditRow> {
    let mut rows: Vec<_> = circuits.iter().flat_map(rows_of).filter(|row| filter.passes(row)).collect();
    rows.sort_by(|a, b| (b.timestamp, &b.id).cmp(&(a.timestamp, &a.id)));
    rows.truncate(filter.limit);
    rows
}

#[cfg(feature = "store")]
fn rows_of(circuit: &Circuit) -> Vec<AuditRow> {
    let status = circuit.status();
    let edges = status.transitions.into_iter().filter(|edge| edge.reason != Reason::KillSwitch);
    let row = |edge: Transition| AuditRow {
        // Sorts as the eras do.
        id: format!("{}-{:016x}", circuit.name(), edge.era),
        ..AuditRow::of_transition(circuit.name(), &edge, "")
    };
    edges.map(row).collect()
}
