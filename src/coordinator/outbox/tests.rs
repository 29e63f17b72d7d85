use super::*;

fn row(action: &str, user: Option<&str>) -> AuditRow {
    AuditRow {
        id: String::new(),
        service: "payments".to_owned(),
        action: action.to_owned(),
        reason: String::new(),
        user: user.map(ToOwned::to_owned),
        timestamp: Timestamp::default(),
        generation: 0,
        instance: "here".to_owned(),
    }
}

/// Creates an outbox with this number of rows of transitions, whose actions are their numbers.
fn outbox(capacity: usize, rows: u64) -> Outbox {
    let mut outbox = Outbox::new("abc", capacity);
    for n in 0..rows {
        outbox.push(Tick::from_nanos(n * 1_000_000_000), row(&n.to_string(), None));
    }
    outbox
}

fn batch(outbox: &mut Outbox) -> Vec<AuditRow> {
    outbox.batch(Tick::ZERO, Timestamp::default()).map(|batch| batch.rows).unwrap_or_default()
}

fn actions(rows: &[AuditRow]) -> Vec<&str> {
    rows.iter().map(|row| row.action.as_str()).collect()
}

/// A store that refuses some rows, and the writes that the outbox needs for it.
struct Table {
    refuses: fn(&AuditRow) -> bool,
    rows: Vec<AuditRow>,
    set_aside: Vec<String>,
    writes: usize,
}

impl Table {
    fn new(refuses: fn(&AuditRow) -> bool) -> Self {
        Self { refuses, rows: Vec::new(), set_aside: Vec::new(), writes: 0 }
    }

    /// Writes until nothing is due. Returns the number of backoffs.
    fn drain(&mut self, outbox: &mut Outbox, backoffs: usize) -> usize {
        let mut waits = 0;
        while let Some(Batch { rows, sent }) = outbox.batch(Tick::ZERO, Timestamp::default()) {
            self.writes += 1;
            if !rows.iter().any(self.refuses) {
                self.rows.extend(rows);
                outbox.stored(&sent);
                continue;
            }
            match outbox.failed(&sent, Failed { is_refused: true, is_up: true }, Tick::ZERO) {
                Next::Now => {}
                Next::SetAside(row) => self.set_aside.push(row.action),
                Next::Later if waits == backoffs => return waits,
                Next::Later => waits += 1,
            }
        }
        waits
    }

    fn actions(&self) -> Vec<&str> {
        actions(&self.rows)
    }
}

#[test]
fn one_row_reports_the_number_of_rows_that_did_not_fit() {
    let mut outbox = outbox(3, 5);
    assert_eq!(outbox.lost(), 2);
    let Batch { rows, sent } =
        outbox.batch(Tick::from_nanos(10_000_000_000), Timestamp::from_millis(100_000)).expect("rows are due");
    assert_eq!(actions(&rows), ["missing", "2", "3", "4"]);
    assert!(rows[0].reason.starts_with("2 rows"), "{}", rows[0].reason);
    assert_eq!(rows[1].timestamp.as_millis(), 92_000, "dated by its age");
    assert_eq!(batch(&mut outbox).len(), 4, "they stay until they are stored");
    outbox.push(Tick::ZERO, row("5", None));
    outbox.stored(&sent);
    assert_eq!(actions(&batch(&mut outbox)), ["missing", "5"], "the report was lost to the later row");
}

#[test]
fn a_lost_row_that_reports_missing_rows_passes_on_its_count() {
    let mut outbox = Outbox::new("abc", 3);
    outbox.push_for(7, Tick::ZERO, row("missing", None));
    for n in 0..5 {
        outbox.push(Tick::ZERO, row(&n.to_string(), None));
        // The rows are not stored, as after a failed write, so they stay in the outbox.
        let rows = batch(&mut outbox);
        assert!(rows.len() <= 4, "{} rows wait, but only 3 rows and the report of the others may", rows.len());
    }
    let rows = batch(&mut outbox);
    let kept = rows.iter().filter(|row| row.action != "missing").count();
    assert_eq!((rows.len(), kept), (4, 3));
    assert!(rows[0].reason.starts_with("9 rows"), "{}", rows[0].reason);
}

#[test]
fn rows_that_were_missing_before_are_counted_with_later_ones() {
    let mut outbox = outbox(3, 7);
    assert!(batch(&mut outbox)[0].reason.starts_with("4 rows"));
    // The write has failed, so the rows stay in the outbox, and more rows follow.
    (0..3).for_each(|_| outbox.push(Tick::ZERO, row("opened", None)));
    let rows = batch(&mut outbox);
    assert!(rows[0].reason.starts_with("7 rows"), "{}", rows[0].reason);
    assert_eq!(rows.len(), 4);
}

#[test]
fn rows_of_machines_never_take_the_room_of_people() {
    let mut outbox = outbox(16, 3);
    (0..16).for_each(|_| outbox.push(Tick::ZERO, row("trip", Some("ana"))));
    (0..5_000).for_each(|_| outbox.push(Tick::ZERO, row("opened", None)));
    assert_eq!((outbox.people(), outbox.len()), (16, 33), "one more row has the number of the lost rows");
}

#[test]
fn acts_of_operators_are_stored_before_a_backlog_of_transitions() {
    let mut outbox = outbox(1_000, 1_000);
    for act in ["trip", "reset", "resume"] {
        outbox.push(Tick::ZERO, row(act, Some("ana")));
    }
    let rows = batch(&mut outbox);
    assert_eq!(rows.len(), BATCH);
    assert_eq!(actions(&rows[BATCH - 3..]), ["trip", "reset", "resume"], "in the order of the acts");
}

#[test]
fn a_refused_row_is_set_aside_and_the_other_rows_are_stored() {
    for bad in [0, 1, 77, 499] {
        let mut outbox = outbox(1_000, bad);
        outbox.push(Tick::ZERO, AuditRow { reason: "poison".to_owned(), ..row("trip", Some("ana")) });
        (bad + 1..500).for_each(|n| outbox.push(Tick::ZERO, row(&n.to_string(), None)));
        let mut table = Table::new(|row| row.reason == "poison");
        assert_eq!(table.drain(&mut outbox, 0), 0, "nothing waits");
        assert_eq!(table.set_aside, ["trip"]);
        assert_eq!((outbox.len(), outbox.refused(), table.rows.len()), (0, 1, 500), "499 rows and a notice");
        let notice = table.rows.iter().find(|row| row.action == "missing").expect("there is a notice");
        assert_eq!(notice.reason, "1 row was refused: trip of payments by ana");
        assert!(table.writes < 40, "{} writes", table.writes);
    }
}

#[test]
fn a_refused_row_is_set_aside_also_if_no_other_row_waits() {
    let mut outbox = outbox(16, 1);
    let mut table = Table::new(|row| row.action == "0");
    assert_eq!(table.drain(&mut outbox, 0), 0);
    assert_eq!((table.actions(), table.set_aside.len(), outbox.len()), (vec!["missing"], 1, 0));
}

#[test]
fn a_thousand_refused_rows_cost_bounded_work_and_few_notices() {
    let mut outbox = outbox(2_000, 1_000);
    outbox.push(Tick::ZERO, row("good", None));
    let mut table = Table::new(|row| row.action.parse::<u32>().is_ok());
    assert_eq!(table.drain(&mut outbox, 0), 0);
    assert_eq!((table.set_aside.len(), outbox.len()), (1_000, 0));
    assert!(table.rows.iter().any(|row| row.action == "good"));
    assert!(table.rows.len() < 30, "{} notices", table.rows.len());
    assert!(table.writes < 2_100, "{} writes", table.writes);
}

#[test]
fn a_table_that_refuses_all_rows_loses_none_and_is_tried_seldom() {
    let mut outbox = outbox(1_000, 500);
    let mut table = Table::new(|_| true);
    assert_eq!(table.drain(&mut outbox, 50), 50);
    assert_eq!((outbox.len(), outbox.refused()), (500, 0));
    assert!(table.writes < 120, "{} writes in 50 attempts", table.writes);
    table.refuses = |_| false;
    table.drain(&mut outbox, 0);
    let expected: Vec<_> = (0..500).map(|n| n.to_string()).collect();
    assert_eq!(table.actions(), expected, "in order, and without a notice");
}

#[test]
fn a_table_that_refuses_notices_sets_rows_aside_all_the_same() {
    let mut outbox = outbox(16, 3);
    let mut table = Table::new(|row| row.action == "1" || row.service.is_empty());
    assert_eq!(table.drain(&mut outbox, 5), 1, "one backoff, because the notice proves nothing");
    assert_eq!((table.actions(), table.set_aside.as_slice()), (vec!["0", "2"], &["1".to_owned()][..]));
}

#[test]
fn a_row_that_was_refused_before_its_right_was_granted_is_stored() {
    let mut outbox = outbox(16, 1);
    let refused = Failed { is_refused: true, is_up: true };
    let alone = outbox.batch(Tick::ZERO, Timestamp::default()).expect("a row is due");
    assert_eq!(outbox.failed(&alone.sent, refused, Tick::ZERO), Next::Now);
    // The store grants the permission between the refusal of the row and the notice.
    let mut table = Table::new(|_| false);
    table.drain(&mut outbox, 0);
    assert_eq!((table.actions(), outbox.len()), (vec!["missing", "0"], 0));
}

#[test]
fn a_row_that_gets_no_answer_does_not_hold_up_the_others() {
    let mut outbox = outbox(16, 4);
    let mut stored = Vec::new();
    let mut now = Tick::ZERO;
    for _ in 0..40 {
        now = now.saturating_add(Duration::from_millis(100));
        let Some(Batch { rows, sent }) = outbox.batch(now, Timestamp::default()) else { continue };
        if rows.iter().any(|row| row.action == "0") {
            assert_eq!(outbox.failed(&sent, Failed { is_refused: false, is_up: true }, now), Next::Later);
        } else {
            stored.extend(rows.into_iter().map(|row| row.action));
            outbox.stored(&sent);
        }
    }
    assert_eq!((stored.as_slice(), outbox.len()), (&["1".to_owned(), "2".to_owned(), "3".to_owned()][..], 1));
}

#[test]
fn a_refused_row_that_then_gets_no_answer_does_not_hold_up_the_others() {
    let mut outbox = outbox(100, 3);
    let (mut stored, mut was_refused, mut attempts) = (0, false, 0);
    for step in 0..300_u64 {
        let now = Tick::from_nanos(step * 100_000_000);
        if step % 10 == 0 {
            outbox.push(now, row("later", None));
        }
        let Some(Batch { rows, sent }) = outbox.batch(now, Timestamp::default()) else { continue };
        if rows.iter().any(|row| row.action == "0") {
            // The store refuses the row once, and does not answer about the row from then on.
            let is_refused = rows.len() > 1 || !was_refused;
            was_refused |= rows.len() == 1;
            attempts += 1;
            outbox.failed(&sent, Failed { is_refused, is_up: true }, now);
        } else {
            stored += rows.iter().filter(|row| row.action != "missing").count();
            outbox.stored(&sent);
        }
    }
    assert_eq!((stored, outbox.len()), (32, 1), "all rows but the refused one are stored");
    assert!((5..15).contains(&attempts), "{attempts} attempts with the refused row in half a minute");
}

#[test]
fn a_row_whose_id_waits_among_the_rows_of_machines_is_not_added() {
    let mut outbox = Outbox::new("abc", 16);
    let act = AuditRow { id: "an act".to_owned(), ..row("trip", Some("ana")) };
    outbox.push_repeated(Tick::ZERO, act.clone());
    outbox.push(Tick::ZERO, act);
    assert_eq!(outbox.len(), 1);
}

#[test]
fn an_outage_of_the_store_changes_neither_the_order_nor_the_length_of_batches() {
    let mut outbox = outbox(1_000, 300);
    for _ in 0..20 {
        let Batch { rows, sent } = outbox.batch(Tick::ZERO, Timestamp::default()).expect("rows are due");
        assert_eq!((rows.len(), rows[0].action.as_str()), (BATCH, "0"));
        assert_eq!(outbox.failed(&sent, Failed { is_refused: false, is_up: false }, Tick::ZERO), Next::Later);
    }
}

#[test]
fn a_notice_keeps_its_id_over_an_outage() {
    let mut outbox = outbox(16, 1);
    let alone = outbox.batch(Tick::ZERO, Timestamp::default()).expect("a row is due");
    assert_eq!(outbox.failed(&alone.sent, Failed { is_refused: true, is_up: true }, Tick::ZERO), Next::Now);
    let first = outbox.batch(Tick::ZERO, Timestamp::default()).expect("a notice is due");
    let lost = Failed { is_refused: false, is_up: false };
    assert_eq!(outbox.failed(&first.sent, lost, Tick::ZERO), Next::Later);
    let second = outbox.batch(Tick::ZERO, Timestamp::default()).expect("the notice is due again");
    assert_eq!(first.rows[0].id, second.rows[0].id);
}

#[test]
fn a_notice_that_never_gets_an_answer_holds_up_no_other_row() {
    let mut outbox = outbox(16, 3);
    let mut stored = Vec::new();
    for step in 0..60 {
        let now = Tick::from_nanos(step * 1_000_000_000);
        let Some(Batch { rows, sent }) = outbox.batch(now, Timestamp::default()) else { continue };
        let is_notice = rows.iter().any(|row| row.action == "missing");
        if is_notice || rows.iter().any(|row| row.action == "0") {
            outbox.failed(&sent, Failed { is_refused: !is_notice, is_up: true }, now);
        } else {
            stored.extend(rows.into_iter().map(|row| row.action));
            outbox.stored(&sent);
        }
    }
    assert_eq!(stored, ["1", "2"]);
}
