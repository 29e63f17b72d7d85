//! Orders that operators give to the circuits of this process, as methods of [`Registry`].

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Done, Kept, Order, Refused};
use crate::circuit::{Circuit, Status, To};
use crate::nearest::nearest;
use crate::registry::Registry;
use crate::state::refused::bounded;
use crate::state::{By, Transition};

#[cfg(feature = "store")]
use crate::coordinator::{Delivery, Fate, NoRoom};
#[cfg(feature = "store")]
use crate::state::Reason;
#[cfg(feature = "store")]
use crate::store::{AuditFilter, AuditRow, StoreError, answer_within};

/// Orders that operators give, and queries about circuits.
impl Registry {
    /// Carries out an order in this process immediately. If the registry has a store, the order is then written to the
    /// store.
    ///
    /// The call waits until the order and its row of the audit are stored, at most for
    /// [`store_timeout`](../coordinator/struct.RegistryBuilder.html#method.store_timeout). If the store is down, the
    /// result is [`Kept::Here`]. The order is then stored later, with the time at which it was carried out. A store
    /// that is down is a reason to refuse the order only if the outbox is full of audit rows of earlier orders
    /// ([`Refused::OutboxFull`]).
    ///
    /// # Errors
    ///
    /// [`Refused`], with one sentence for the operator.
    ///
    /// # Cancel safety
    ///
    /// The first poll of the future carries out the order. If the future is dropped later, only the result is lost, and
    /// the order is still written to the store. The same order can be given again, and takes effect only once.
    pub async fn operate(&self, name: &str, order: &Order) -> Result<Done, Refused> {
        self.begin(name, order)?.end(&mut true).await
    }

    /// Forces a circuit open until a reset, or for the duration `hold` ([`Order::trip`]).
    ///
    /// # Errors
    ///
    /// [`Refused`].
    ///
    /// # Cancel safety
    ///
    /// As for [`operate`](Self::operate).
    pub async fn trip(&self, name: &str, by: &By, hold: Option<Duration>) -> Result<Done, Refused> {
        let mut order = Order::trip(by);
        if let Some(hold) = hold {
            order = order.hold(hold);
        }
        self.operate(name, &order).await
    }

    /// Resets a circuit to half-open or closed, as `to` says, and ends every override of the circuit
    /// ([`Order::reset`]). `force` skips the cooldown.
    ///
    /// # Errors
    ///
    /// [`Refused`]. During the cooldown the error is [`Cooldown`](Refused::Cooldown), with the time until a reset is
    /// allowed.
    ///
    /// # Cancel safety
    ///
    /// As for [`operate`](Self::operate).
    pub async fn reset(&self, name: &str, by: &By, to: To, force: bool) -> Result<Done, Refused> {
        let order = Order::reset(by, to);
        self.operate(name, &if force { order.force() } else { order }).await
    }

    /// Lets every call of a circuit through for the duration `hold`. The calls are counted only in the totals, and do
    /// not change the state of the circuit. [`Order::disable`] also allows an order without an end.
    ///
    /// # Errors
    ///
    /// [`Refused`].
    ///
    /// # Cancel safety
    ///
    /// As for [`operate`](Self::operate).
    pub async fn disable(&self, name: &str, by: &By, hold: Duration) -> Result<Done, Refused> {
        self.operate(name, &Order::disable(by).hold(hold)).await
    }

    /// Removes the override of an operator from a circuit. The circuit then decides by itself again
    /// ([`Order::resume`]).
    ///
    /// # Errors
    ///
    /// [`Refused`], which is [`NothingHeld`](Refused::NothingHeld) if the circuit has no override.
    ///
    /// # Cancel safety
    ///
    /// As for [`operate`](Self::operate).
    pub async fn resume(&self, name: &str, by: &By) -> Result<Done, Refused> {
        self.operate(name, &Order::resume(by)).await
    }

    /// Resets a circuit to its initial state, and deletes its stored record ([`Order::forget`]).
    ///
    /// # Errors
    ///
    /// [`Refused`].
    ///
    /// # Cancel safety
    ///
    /// As for [`operate`](Self::operate).
    pub async fn forget(&self, name: &str, by: &By) -> Result<Done, Refused> {
        self.operate(name, &Order::forget(by)).await
    }

    /// Resets every circuit of this process, as [`reset`](Self::reset) does for one circuit. Returns the result for
    /// each circuit by its name.
    ///
    /// All circuits are reset in this process before the call waits for the store. If the store fails to store one
    /// order in time, the call does not wait for the results of the further orders.
    ///
    /// # Cancel safety
    ///
    /// As for [`operate`](Self::operate).
    pub async fn reset_all(&self, by: &By, to: To, force: bool) -> BTreeMap<String, Result<Done, Refused>> {
        let order = Order::reset(by, to);
        let order = if force { order.force() } else { order };
        // The names are copied first, so that the registry is not locked during the resets. A reset calls observers,
        // and observers may query the registry.
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
    /// [`Refused::NoSuchCircuit`], with the most similar name.
    pub fn status(&self, name: &str) -> Result<Status, Refused> {
        self.find(name).map(|circuit| circuit.status())
    }

    /// Returns true if a circuit is open, half-open or forced open.
    ///
    /// # Errors
    ///
    /// [`Refused::NoSuchCircuit`], with the most similar name.
    pub fn is_tripped(&self, name: &str) -> Result<bool, Refused> {
        self.status(name).map(|status| status.standing().is_tripped())
    }

    /// Returns the circuit with this name. If there is no such circuit, the error contains the most similar name.
    pub(crate) fn find(&self, name: &str) -> Result<Circuit, Refused> {
        self.get(name).ok_or_else(|| Refused::NoSuchCircuit {
            name: bounded(name),
            nearest: nearest(name, self.circuits().iter().map(Circuit::name)),
        })
    }

    /// Carries out the order on the circuit of this process, and passes the order to the coordinator, which writes the
    /// order to the store. Does not wait for the store.
    fn begin(&self, name: &str, order: &Order) -> Result<Begun, Refused> {
        order.check()?;
        let circuit = self.find(name)?;
        #[cfg(feature = "store")]
        let mut on_its_way = None;
        #[cfg(feature = "store")]
        if let Some(delivery) = self.delivery() {
            delivery.admit(name).map_err(refused)?;
            // The receivers are registered before the order is carried out, so that they exist when the result of the
            // order arrives.
            let fate = delivery.expect(name, order.command_id());
            let row = delivery.expect_row(name, order);
            on_its_way = Some(OnItsWay { name: name.to_owned(), delivery, fate, row });
        }
        let done = circuit.act(order);
        #[cfg(feature = "store")]
        if let Some(OnItsWay { delivery, .. }) = &on_its_way {
            match &done {
                Ok(Some(_)) => delivery.hurry(),
                Ok(None) => {
                    delivery.withdraw();
                    delivery.query(name, order);
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
    /// Returns the rows of the audit that match the filter, newest first. Each row describes a change of a circuit,
    /// such as a trip or a reset, with user and reason. The change was made by the circuit itself or by an operator.
    ///
    /// Rows that are not stored yet are not included. A row that another program has written may contain longer texts
    /// than this crate writes. Such texts are cut.
    ///
    /// Without a store, the rows are the latest transitions of the circuits of this process, at most 128 for each
    /// circuit.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store failed or did not answer in time.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        let Some(delivery) = self.delivery() else { return Ok(remembered(&self.circuits(), filter).await) };
        let (store, timeout) = (delivery.store(), delivery.timeout());
        let mut rows = answer_within(timeout, store.audit(filter)).await?;
        rows.reverse();
        rows.iter_mut().for_each(AuditRow::bound);
        Ok(rows)
    }
}

/// An order that was carried out in this process. The order is perhaps not in the store yet.
struct Begun {
    transition: Option<Transition>,
    #[cfg(feature = "store")]
    on_its_way: Option<OnItsWay>,
}

/// An order that the coordinator writes to the store. `fate` receives the result of the write, and `row` receives a
/// message when the row of the audit is stored.
#[cfg(feature = "store")]
struct OnItsWay {
    name: String,
    delivery: Delivery,
    fate: tokio::sync::oneshot::Receiver<Fate>,
    row: tokio::sync::oneshot::Receiver<()>,
}

impl Begun {
    /// Returns the result of the order. If `patient` is true, waits for the result of the order in the store. If the
    /// order or its row of the audit is not stored in time, sets `patient` to false. Thus a caller with many orders
    /// waits only once for a store that is down.
    #[cfg(feature = "store")]
    async fn end(self, patient: &mut bool) -> Result<Done, Refused> {
        let Self { transition, on_its_way } = self;
        let repeated = transition.is_none();
        let Some(OnItsWay { name, delivery, fate, row }) = on_its_way else {
            return Ok(Done { transition, kept: Kept::Nowhere, repeated });
        };
        let kept = match delivery.fate(&name, fate, row, *patient).await {
            Ok((Fate::Stored { generation, lacking }, row)) => {
                *patient &= row.is_ok();
                // If the row of the audit is not stored yet, the durable tier of the store may be down. The record is
                // then perhaps only in the cache, so the durable tier is reported as lacking the record.
                let lacking = lacking.or_else(|| delivery.durable_tier().filter(|_| row.is_err()));
                Kept::of(generation, lacking, row)
            }
            Ok((Fate::Superseded { why }, _)) => return Err(Refused::Superseded { why }),
            Ok((Fate::Expired, _)) => return Err(Refused::Expired),
            Ok((Fate::Unwritable { version }, _)) => {
                let why = Refused::Unwritable { version }.to_string();
                Kept::Here { pending: delivery.pending(), why }
            }
            Err(why) => {
                *patient = false;
                Kept::Here { pending: delivery.pending(), why }
            }
        };
        Ok(Done { transition, kept, repeated })
    }

    #[cfg(not(feature = "store"))]
    async fn end(self, _patient: &mut bool) -> Result<Done, Refused> {
        Ok(Done { repeated: self.transition.is_none(), transition: self.transition, kept: Kept::Nowhere })
    }
}

#[cfg(feature = "store")]
fn refused(why: NoRoom) -> Refused {
    match why {
        NoRoom::Outbox(rows) => Refused::OutboxFull { rows },
        NoRoom::Unwritable(version) => Refused::Unwritable { version },
    }
}

/// Returns the audit of a registry without a store. The rows are the latest transitions of its circuits, newest first.
/// There can be thousands of circuits, so the function yields to other tasks at intervals. Between the yields, only the
/// newest rows are kept.
#[cfg(feature = "store")]
async fn remembered(circuits: &[Circuit], filter: &AuditFilter) -> Vec<AuditRow> {
    let is_meant = |circuit: &&Circuit| filter.service.as_ref().is_none_or(|service| service == circuit.name());
    let circuits: Vec<_> = circuits.iter().filter(is_meant).collect();
    let mut rows: Vec<AuditRow> = Vec::new();
    for some in circuits.chunks(AT_A_TIME) {
        rows.extend(some.iter().flat_map(|circuit| rows_of(circuit)).filter(|row| filter.passes(row)));
        rows.sort_by(|a, b| (b.timestamp, &b.id).cmp(&(a.timestamp, &a.id)));
        rows.truncate(filter.limit);
        if circuits.len() > AT_A_TIME {
            tokio::task::yield_now().await;
        }
    }
    rows
}

/// The number of circuits whose rows are collected before the function yields. Each circuit has at most 128 rows.
#[cfg(feature = "store")]
const AT_A_TIME: usize = 16;

#[cfg(feature = "store")]
fn rows_of(circuit: &Circuit) -> Vec<AuditRow> {
    let status = circuit.status_with(usize::MAX);
    let edges = status.transitions.into_iter().filter(|edge| edge.reason != Reason::KillSwitch);
    let row = |edge: Transition| AuditRow {
        // The era is written with 16 hexadecimal digits, so that the ids of a circuit sort in the order of their eras.
        id: format!("{}-{:016x}", circuit.name(), edge.era),
        ..AuditRow::of_transition(circuit.name(), &edge, "")
    };
    edges.map(row).collect()
}
