//! Who stands in line, and who waits for whom: pure decisions over a list of names.

use super::sequence::Sequence;

/// The number of a contender of this kind; `None` for the name of anything else.
///
/// What counts is the last place where the marker stands, and the number must reach to the end.
pub(crate) fn sequence(name: &str, marker: &str) -> Option<Sequence> {
    Sequence::parse(name.rsplit_once(marker)?.1)
}

/// Where somebody stands in line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Not in line: the own znode is gone.
    Missing,
    /// Nobody is in front who matters.
    First,
    /// Behind this one, the nearest in front who matters.
    Behind(String),
}

/// Finds the place of whoever owns the znodes `own`, all of which must be in the list, the first of
/// them with the number `sequence`, among the contenders with one of the markers, which are those to
/// wait for. Everything else in the list is foreign and does not count.
///
/// Whoever has the same number belongs to the same holder (Curator gives a reader the number of its own
/// writer), and is not waited for.
pub(crate) fn place<M: AsRef<str>>(
    names: &[String],
    own: &[String],
    own_sequence: Sequence,
    markers: &[M],
) -> Place {
    if own.is_empty() || !own.iter().all(|own| names.contains(own)) {
        return Place::Missing;
    }
    let in_front = names
        .iter()
        .filter(|name| !own.contains(name))
        .filter_map(|name| {
            let found = markers
                .iter()
                .find_map(|marker| sequence(name, marker.as_ref()))?;
            found
                .is_before(own_sequence)
                .then(|| (found.distance_to(own_sequence), name))
        });
    match in_front.min() {
        Some((_, name)) => Place::Behind(name.clone()),
        None => Place::First,
    }
}

/// The contenders with one of the markers, in their order.
pub(crate) fn in_order<M: AsRef<str>>(names: &[String], markers: &[M]) -> Vec<(Sequence, String)> {
    let mut found: Vec<_> = names
        .iter()
        .filter_map(|name| {
            let found = markers
                .iter()
                .find_map(|marker| sequence(name, marker.as_ref()))?;
            Some((found, name.clone()))
        })
        .collect();
    // No order is total around the overflow; that of the distance to one of the eldest is, as long as
    // all of them are less than 2³¹ apart.
    let is_eldest =
        |candidate: &Sequence| found.iter().all(|(other, _)| !other.is_before(*candidate));
    let eldest = found.iter().map(|(sequence, _)| *sequence).find(is_eldest);
    match eldest {
        Some(eldest) => found.sort_by(|a, b| {
            let by_age = eldest.distance_to(a.0).cmp(&eldest.distance_to(b.0));
            by_age.then_with(|| a.1.cmp(&b.1))
        }),
        None => found.sort_by(|a, b| a.0.get().cmp(&b.0.get()).then_with(|| a.1.cmp(&b.1))),
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOCK: &[&str] = &["lock-", "__lock__"];

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn name(marker: &str, number: i64) -> String {
        format!("_c_5f2c{marker}{}", Sequence::new(number))
    }

    #[test]
    fn numbers_are_found_behind_the_last_marker_only() {
        let found = |text, marker| sequence(text, marker).map(Sequence::get);
        assert_eq!(found("_c_9a-lock-0000000007", "lock-"), Some(7));
        assert_eq!(found("lock-0000000001-lock-0000000002", "lock-"), Some(2));
        assert_eq!(found("_c_9a-lock--000000001", "lock-"), Some(-1));
        assert_eq!(found("9a__lock__0000000003", "__lock__"), Some(3));
        assert_eq!(found("9a__rlock__0000000003", "__lock__"), None);
        assert_eq!(found("9a__lock__0000000003", "lock-"), None);
        assert_eq!(found("lock-0000000001-backup", "lock-"), None);
        assert_eq!(found("lock-", "lock-"), None);
        assert_eq!(found("ключ-lock-0000000004", "lock-"), Some(4));
        assert_eq!(found("ло", "lock-"), None);
    }

    #[test]
    fn foreign_children_do_not_count() {
        let own = names(&["_c_9a-lock-0000000005"]);
        let mut all = names(&[
            "readme",
            "!first",
            "lock-x",
            "latch-0000000001",
            "ä-0000000001",
            "lock-00000001",
            "__READ__0000000001",
            "x-99-0000000000",
        ]);
        all.extend(own.clone());
        assert_eq!(place(&all, &own, Sequence::new(5), LOCK), Place::First);
    }

    #[test]
    fn own_znode_that_is_gone_is_missing() {
        let own = names(&["lock-0000000005"]);
        assert_eq!(place(&[], &own, Sequence::new(5), LOCK), Place::Missing);
        assert_eq!(place(&own, &[], Sequence::new(5), LOCK), Place::Missing);
        let pair = names(&["lock-0000000005", "f__lock__0000000006"]);
        assert_eq!(place(&own, &pair, Sequence::new(5), LOCK), Place::Missing);
    }

    #[test]
    fn equal_number_belongs_to_the_same_holder() {
        let own = names(&["_c_b-__READ__0000000005"]);
        let mut all = own.clone();
        all.push("_c_a-__WRIT__0000000005".to_owned());
        let place = place(&all, &own, Sequence::new(5), &["__WRIT__"]);
        assert_eq!(place, Place::First);
    }

    /// Every arrangement of up to five contenders, of two families, around zero and the overflow.
    #[test]
    fn one_is_first_and_each_other_waits_for_the_one_before() {
        for base in [
            0,
            i64::from(i32::MAX) - 2,
            i64::from(i32::MAX) + (1 << 33),
            -3,
        ] {
            let wrap = |step: i64| {
                let number = base + step;
                if base > i64::from(i32::MAX) {
                    number
                } else {
                    #[expect(
                        clippy::cast_possible_truncation,
                        reason = "the overflow is the point"
                    )]
                    let wrapped = number as i32;
                    i64::from(wrapped)
                }
            };
            for present in 1_u32..32 {
                let mut line: Vec<_> = (0..5)
                    .filter(|step| present & (1 << step) != 0)
                    .map(|step| {
                        let marker = if step % 2 == 0 { "lock-" } else { "__lock__" };
                        (Sequence::new(wrap(step)), name(marker, wrap(step)))
                    })
                    .collect();
                let in_line = line.clone();
                for _ in 0..line.len() {
                    line.rotate_left(1);
                    let all: Vec<_> = line.iter().map(|(_, name)| name.clone()).collect();
                    assert_eq!(in_order(&all, LOCK), in_line);
                    for (index, (sequence, own)) in in_line.iter().enumerate() {
                        let wanted = match index.checked_sub(1) {
                            None => Place::First,
                            Some(before) => Place::Behind(in_line[before].1.clone()),
                        };
                        let own = std::slice::from_ref(own);
                        assert_eq!(place(&all, own, *sequence, LOCK), wanted);
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_names_are_sorted_without_a_panic(
            mut all in proptest::collection::vec(".{0,60}", 0..20),
            numbers in proptest::collection::vec(any::<i64>(), 0..20),
        ) {
            all.extend(numbers.iter().map(|number| name("lock-", *number)));
            let line = in_order(&all, LOCK);
            prop_assert!(line.len() >= numbers.len().min(1));
            for (sequence, own) in line {
                let place = place(&all, std::slice::from_ref(&own), sequence, LOCK);
                prop_assert_ne!(place, Place::Missing);
            }
        }

        /// Nobody ever waits for itself, for a foreign name, or in a circle.
        #[test]
        fn waits_end_at_the_first(
            base: i32,
            steps in proptest::collection::btree_set(0..1_000_i32, 1..30),
            foreign in proptest::collection::vec("[a-z!-]{0,12}", 0..5),
        ) {
            let line: Vec<_> = steps
                .iter()
                .map(|step| i64::from(base.wrapping_add(*step)))
                .map(|number| (Sequence::new(number), name("lock-", number)))
                .collect();
            let mut all: Vec<_> = line.iter().map(|(_, name)| name.clone()).collect();
            all.extend(foreign);
            let mut firsts = 0;
            for (index, (sequence, own)) in line.iter().enumerate() {
                match place(&all, std::slice::from_ref(own), *sequence, LOCK) {
                    Place::First => firsts += 1,
                    Place::Behind(name) => prop_assert_eq!(&name, &line[index - 1].1),
                    Place::Missing => prop_assert!(false, "it is in the list"),
                }
            }
            prop_assert_eq!(firsts, 1);
        }
    }
}
