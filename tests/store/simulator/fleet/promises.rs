//! What must hold: of every instance after every step, and of the fleet once the faults are over.

use super::*;

impl Fleet {
    /// What must hold at any time.
    pub(super) fn hold(&mut self, when: &str) -> Result<(), String> {
        for register in &self.registers {
            if let Some(broken) = register.broken() {
                return Err(format!("{when}: {broken}"));
            }
        }
        for instance in &mut self.instances {
            let status = instance.circuit.status();
            let generation = status.generation.get();
            if generation < instance.generation {
                return Err(format!("{when}: {} went back from generation {}", instance.id, instance.generation));
            }
            instance.generation = generation;
            for edge in status.transitions.iter().filter(|edge| edge.era > instance.seen_era) {
                let taken_over = matches!(
                    edge.reason,
                    Reason::Restored | Reason::Followed | Reason::Fleet | Reason::Operator { .. }
                );
                let opened = edge.to.state == State::Open && edge.from.state == State::Closed;
                // In a ramp the success after a failure can be rejected, so that two failures in a row are a relapse.
                let relapsed = matches!(edge.reason, Reason::Relapsed { .. });
                if instance.good && opened && !taken_over && !relapsed {
                    return Err(format!("{when}: {} opened because {}", instance.id, edge.reason));
                }
                let is_foreign = edge.reason == Reason::Followed && self.sharing != Sharing::Follow
                    || edge.reason == Reason::Fleet && self.sharing == Sharing::Advise;
                if is_foreign {
                    return Err(format!("{when}: {} took over because {}", instance.id, edge.reason));
                }
                let closed = edge.to.state == State::Closed && edge.from.state != State::Closed;
                if closed && edge.reason == Reason::Restored {
                    return Err(format!("{when}: {} was closed by a restore", instance.id));
                }
            }
            instance.seen_era = status.era;
        }
        Ok(())
    }

    /// An instance without unsaved changes would be the same after a kill and a restart at this moment, unless the store
    /// has lost data.
    pub(super) async fn restarts_are_the_same(&self, when: &str) -> Result<(), String> {
        // The restarts of all instances after each step take most of the time of a schedule.
        if self.lost_data.is_some() || self.seed >= RESTARTED {
            return Ok(());
        }
        for Instance { id, registry, circuit, born, .. } in &self.instances {
            let saved = registry.store_status().is_some_and(|status| status.unsaved == 0);
            let before = circuit.status();
            let copies: Vec<_> = self.registers.iter().map(Register::copied).collect();
            let records: Vec<_> = copies.iter().filter_map(|copy| copy.record("payments")).collect();
            // An instance that has made no transition and has no entry begins with the published state again. With two
            // registers, the instance may have been restored while only the register without its entry answered.
            let mut edges = before.transitions.iter();
            let is_new = records.iter().any(|record| !record.instances.contains_key(id))
                && edges.all(|edge| matches!(edge.reason, Reason::Restored | Reason::Followed | Reason::Fleet));
            let latest = records.iter().map(CircuitRecord::latest).max();
            // A change of another instance that this instance has not loaded yet is not a change of this instance. The
            // latest number does not show an act that is older than the published state, as in one of two stores.
            let act = records.iter().filter_map(|record| record.operator.as_ref()).max_by_key(|act| act.sequence);
            let is_foreign = act.is_some_and(|act| act.acted_on() != Some(id) && act.mode != before.mode);
            // An instance whose own calls succeed declines an opening, or has closed alone, and does not know of calls before
            // its start.
            let decisions = records.iter().map(|record| decided::decision(record, self.sharing));
            let fleet = decisions.filter(|(_, number)| number.get() > 0).max_by_key(|(_, number)| *number);
            let is_of_fleet = self.sharing != Sharing::Advise;
            let declines = fleet.is_some_and(|(state, _)| state != State::Closed) && before.state == State::Closed;
            // A record without a decision has no number by which an instance that has loaded nothing yet is known.
            let is_early = fleet.is_none() && self.clock.now().saturating_since(*born) < Duration::from_secs(30);
            let may_differ = is_of_fleet && (is_early || declines);
            if !saved || is_new || is_foreign || may_differ || latest.is_some_and(|latest| latest != before.latest) {
                continue;
            }
            let again = Registry::builder().store(Self::store_of(&copies)).instance(id).sharing(self.sharing);
            let again = again.build().expect("valid settings");
            let config = Config::builder("payments").clock(TokioClock::new()).without_shipped_observers();
            let restarted =
                again.circuit(config.without_failure_rate().build().expect("valid")).expect("there is room");
            let report = again.restore(Duration::from_secs(1)).await.expect("there is a runtime");
            let after = restarted.status();
            let left = |status: &Status| status.retry_after.unwrap_or_default();
            let differ = left(&before).abs_diff(left(&after));
            // The state under a hold has no effect, because the end of a trip leaves the circuit half-open.
            // By the clocks of two registers an opening can be over and not be over.
            let is_over = |status: &Status| match status.state {
                State::Open => left(status) <= Registers::APART,
                State::HalfOpen => true,
                State::Closed => false,
            };
            // In a round an open circuit and a half-open one both wait for a lease.
            let is_round = fleet.is_some_and(|(state, _)| state == State::HalfOpen);
            let is_tripped = |status: &Status| status.state != State::Closed;
            let both_wait = is_of_fleet && is_round && is_tripped(&before) && is_tripped(&after);
            let is_like = before.state == after.state || both_wait || (is_over(&before) && is_over(&after));
            let same = before.mode == after.mode && (before.mode != Mode::Automatic || is_like);
            if !report.is_complete() || !same || differ > Duration::from_secs(4) {
                return Err(self.told(&format!(
                    "{when}: {id} has nothing unsaved and is {} for {:?}, and after a restart {} for {:?}, {report:?}",
                    before.standing(),
                    before.retry_after,
                    after.standing(),
                    after.retry_after,
                )));
            }
        }
        Ok(())
    }

    pub(super) fn converged(&self) -> Result<(), String> {
        let Some(record) = self.registers[0].record("payments") else {
            let known = self.instances.iter().any(|instance| {
                let status = instance.circuit.status();
                status.standing().is_tripped() || status.mode != Mode::Automatic
            });
            return if known { Err("the store never got back what an instance knows".to_owned()) } else { Ok(()) };
        };
        // A start that takes a late write of its earlier start for a second instance goes on as `node-2#2`.
        let mut stored: BTreeMap<&str, u64> = BTreeMap::new();
        for (id, entry) in &record.instances {
            *stored.entry(id.split('#').next().unwrap_or(id)).or_default() += entry.total_failures;
        }
        for (id, stored) in stored {
            let failed = self.failures.get(id).copied().unwrap_or_default();
            if stored > failed {
                return Err(format!("{id} has {stored} failures in the store and {failed} in truth"));
            }
        }
        for register in &self.registers[1..] {
            let Some(durable) = register.record("payments") else {
                return Err("the durable store has nothing of it".to_owned());
            };
            if join(&durable, &record) != durable {
                return Err(format!("the durable store has less: {durable:#?}"));
            }
        }
        let mode = record.operator.as_ref().map_or(Mode::Automatic, |operated| operated.mode);
        for Instance { id, circuit, .. } in &self.instances {
            let status = circuit.status();
            if status.mode != mode {
                return Err(format!("{id} is {} and the store says {mode}", status.standing()));
            }
            if status.generation != record.generation {
                return Err(format!("{id} knows {}, the store {}", status.generation, record.generation));
            }
            // A hold keeps the state beneath as it was.
            let is_free = status.mode == Mode::Automatic;
            if self.sharing == Sharing::Follow && is_free && status.state != record.state {
                return Err(format!("{id} is {} and the store says {}", status.state, record.state));
            }
        }
        Ok(())
    }

    /// The last act wins, if it was alone, the instance lived to write it, and nothing was lost since.
    pub(super) fn acts_are_kept(&self, calm: Tick) -> Result<(), String> {
        let near = Duration::from_secs(60);
        let rows = self.registers[self.registers.len() - 1].rows();
        for acted in &self.acts {
            let crashed = self.crashes.iter().any(|(id, at)| *id == acted.on && *at >= acted.at);
            let told = rows.iter().filter(|row| row.user.as_deref() == Some(&acted.user) && row.action != "superseded");
            if !crashed && told.count() != 1 {
                return Err(format!("{acted:?} is not in the audit once"));
            }
        }
        let Some(last) = self.acts.last() else { return Ok(()) };
        let crashed = self.crashes.iter().any(|(id, at)| *id == last.on && *at >= last.at);
        let lost = self.lost_data.is_some_and(|at| at >= last.at);
        let alone = self.acts.iter().rev().nth(1).is_none_or(|before| last.at.saturating_since(before.at) > near);
        let young = self.instances.iter().any(|instance| instance.born > calm);
        if crashed || lost || young || !alone {
            return Ok(());
        }
        for Instance { id, circuit, .. } in &self.instances {
            if circuit.status().mode != last.mode {
                return Err(format!("{last:?} was lost: {id} is {}", circuit.status().standing()));
            }
        }
        Ok(())
    }
}

/// The number of schedules in which every instance is restarted after every step.
const RESTARTED: u64 = 2_000;
